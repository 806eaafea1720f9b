"""The ports Vacations and VacationReplies on Postgres."""

from __future__ import annotations

from uuid import UUID

import asyncpg

from posthorn.adapters.postgres.access.audit import former, write_audit
from posthorn.adapters.postgres.access.tenant_scope import Scoped, one
from posthorn.adapters.postgres.database import Database, clean_text
from posthorn.ports.vacations import REPLY_DAYS, DueReply, Vacation

_ACCOUNT = Scoped(
    "SELECT a.id, d.tenant_id FROM accounts a JOIN domains d ON d.id = a.domain_id WHERE {visible} AND a.address = $2"
)
_GET = "SELECT enabled, subject, body, starts_at, ends_at FROM vacations WHERE account_id = $1"
_PUT = """
INSERT INTO vacations (account_id, enabled, subject, body, starts_at, ends_at)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (account_id) DO UPDATE
   SET enabled = excluded.enabled, subject = excluded.subject, body = excluded.body,
       starts_at = excluded.starts_at, ends_at = excluded.ends_at, updated_at = now()
"""


class PostgresVacations:
    """See the port."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, tenant: UUID | None, address: str) -> Vacation:
        """Return what an account replies."""
        async with self._database.session() as connection:
            account = await one(connection, tenant, _ACCOUNT, address)
            row = await connection.fetchrow(_GET, account["id"])
        return Vacation() if row is None else Vacation(*row)

    async def put(self, tenant: UUID | None, address: str, vacation: Vacation) -> Vacation:
        """Set what an account replies."""
        values = (vacation.subject, vacation.text, vacation.starts_at, vacation.ends_at)
        async with self._database.transaction() as connection:
            account = await one(connection, tenant, _ACCOUNT + "FOR NO KEY UPDATE OF a", address)
            former_reply = await connection.fetchrow(_GET, account["id"])
            if former_reply is None or Vacation(*former_reply) != vacation:
                # what was replied to the former text says nothing of this one
                await connection.execute(
                    "DELETE FROM vacation_replies WHERE account_id = $1", account["id"]
                )
            await connection.execute(_PUT, account["id"], vacation.enabled, *values)
            details = {
                "enabled": vacation.enabled,
                "starts_at": vacation.starts_at,
                "ends_at": vacation.ends_at,
            }
            replaced = {} if former_reply is None else former(former_reply, details)
            await write_audit(connection, account["tenant_id"], address, details, before=replaced)
        return vacation


_REPLIES = "v.enabled AND (v.starts_at IS NULL OR v.starts_at <= now()) AND (v.ends_at IS NULL OR v.ends_at > now())"
_REPLYING = f"SELECT v.account_id FROM vacations v WHERE {_REPLIES}"
# the account must be able to send, as by submission
_CLAIM = f"""
WITH due AS (
    SELECT a.id, a.address, d.tenant_id, v.subject, v.body, d.max_messages_per_hour AS domain_limit,
           t.max_messages_per_hour AS tenant_limit, a.max_messages_per_hour AS account_limit
      FROM vacations v JOIN accounts a ON a.id = v.account_id
      JOIN domains d ON d.id = a.domain_id JOIN tenants t ON t.id = d.tenant_id
     WHERE a.id = $1 AND {_REPLIES} AND a.state = 'active' AND t.state = 'active' AND d.verified_at IS NOT NULL
), claimed AS (
    INSERT INTO vacation_replies AS r (account_id, sender, replied_at)
    SELECT id, sha256(convert_to(lower($2), 'UTF8')), now() FROM due
    ON CONFLICT (account_id, sender) DO UPDATE SET replied_at = now()
     WHERE r.replied_at < now() - interval '{REPLY_DAYS} days'
    RETURNING account_id
)
SELECT due.* FROM due JOIN claimed ON claimed.account_id = due.id
"""
_GIVE_BACK = """
DELETE FROM vacation_replies WHERE account_id = $1 AND sender = sha256(convert_to(lower($2), 'UTF8'))
"""
_FORGET = f"DELETE FROM vacation_replies WHERE replied_at < now() - interval '{REPLY_DAYS} days'"


class PostgresVacationReplies:
    """The port VacationReplies over Postgres."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def replying(self) -> frozenset[int]:
        """Return the accounts that reply now."""
        async with self._database.session() as connection:
            return frozenset(row[0] for row in await connection.fetch(_REPLYING))

    async def claim(self, account: int, sender: str) -> DueReply | None:
        """Return the reply to a sender that is due."""
        if clean_text(sender) != sender:
            return None
        async with self._database.session() as connection:
            try:
                row = await connection.fetchrow(_CLAIM, account, sender)
            except asyncpg.ForeignKeyViolationError:
                return None  # the account was deleted just now
        return None if row is None else DueReply(*row)

    async def give_back(self, account: int, sender: str) -> None:
        """Forget a claim."""
        async with self._database.session() as connection:
            await connection.execute(_GIVE_BACK, account, sender)

    async def forget(self) -> int:
        """Delete what is too old."""
        async with self._database.session() as connection:
            gone = await connection.execute(_FORGET)
        return int(gone.rpartition(" ")[2])
