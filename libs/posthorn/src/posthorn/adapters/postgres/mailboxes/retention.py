"""Retention on Postgres: mail that is older than its domain keeps it, and deleted mail whose time is over.

Theory:

- A round goes over the domains that keep mail for a time, and over their accounts, by id. Entries are looked at by account:
  there is no index over their dates, so that a round reads every entry of these domains once. Both are left where a batch
  ended, and taken up there by the next.
- What is removed is removed as its owner would (``removal``): with an undelete window it can be brought back.
- The age of mail is that of its internal date (when it was received, here or where it was imported from) or of its placing, by
  Postgres' clock, whichever is later: the clock of a door may be wrong, and mail just imported is kept for the whole time.
"""

from __future__ import annotations

from datetime import datetime
from uuid import uuid4

from posthorn.adapters.postgres.database import Database
from posthorn.adapters.postgres.directory.outbox import write_outbox
from posthorn.adapters.postgres.leader import lead
from posthorn.adapters.postgres.mailboxes.expunge import LOCK_ACCOUNT, past, purge, remove
from posthorn.ports.retention import Step

_TASK = "retention"
_ACCOUNTS_AT_ONCE = 200

_OLD = """
    SELECT account.id,
           EXISTS (
               SELECT FROM mailbox_entries e JOIN messages m ON m.id = e.message_id
                WHERE e.account_id = account.id AND e.internal_date < now() - make_interval(days => account.retention_days)
                  AND m.placed_at < now() - make_interval(days => account.retention_days)
           ) AS has_old
      FROM (
          SELECT a.id, d.retention_days FROM accounts a JOIN domains d ON d.id = a.domain_id
           WHERE a.id > $1 AND d.retention_days IS NOT NULL ORDER BY a.id LIMIT $2
      ) AS account
     ORDER BY account.id
"""
_ENTRIES = """
    SELECT (SELECT coalesce(sum(used_messages), 0) FROM accounts) + (SELECT count(*) FROM deleted_entries)
"""
_WHERE = """
    SELECT e.mailbox_id, e.uid
      FROM accounts a JOIN domains d ON d.id = a.domain_id JOIN mailbox_entries e ON e.account_id = a.id
      JOIN messages m ON m.id = e.message_id
     WHERE a.id = $1 AND e.internal_date < now() - make_interval(days => d.retention_days)
       AND m.placed_at < now() - make_interval(days => d.retention_days)
     ORDER BY e.mailbox_id, e.uid LIMIT $2
"""


class PostgresRetention:
    """The port Retention over Postgres. Each instance is a candidate of its own for doing it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._holder = uuid4()
        self._account = 0
        self._deleted: datetime | None = None

    async def lead(self, seconds: float) -> bool:
        """Become or stay the one that does this."""
        async with self._database.session() as connection:
            return await lead(connection, _TASK, self._holder, seconds)

    async def entries(self) -> int:
        """About how many entries there are; see the port."""
        async with self._database.session() as connection:
            return int(await connection.fetchval(_ENTRIES))

    async def expire(self, limit: int) -> Step:
        """Delete some of what is too old, of some accounts."""
        async with self._database.session() as connection:
            rows = await connection.fetch(_OLD, self._account, _ACCOUNTS_AT_ONCE)
        gone = 0
        for row in rows:
            while row["has_old"] and (some := await self._expire(row["id"], limit - gone)):
                gone += some
                if gone >= limit:
                    return Step(gone, is_over=False)  # this account may have more
            self._account = row["id"]
        is_over = len(rows) < _ACCOUNTS_AT_ONCE
        if is_over:
            self._account = 0
        return Step(gone, is_over)

    async def _expire(self, account: int, limit: int) -> int:
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(LOCK_ACCOUNT, account)
            if row is None:
                return 0
            where = [(old["mailbox_id"], old["uid"]) for old in await connection.fetch(_WHERE, account, limit)]
            removed = await remove(connection, account, where, keep=row["undelete_days"] > 0)
            if removed.below_quota:
                await write_outbox(connection, row["address"])
            return removed.entries

    async def purge(self, limit: int) -> Step:
        """Drop some of what cannot be brought back any more."""
        async with self._database.transaction() as connection:
            found = await past(connection, self._deleted, limit)
            gone = await purge(connection, found.rows) if found.rows else 0
        self._deleted = found.last
        return Step(gone, is_over=found.last is None)
