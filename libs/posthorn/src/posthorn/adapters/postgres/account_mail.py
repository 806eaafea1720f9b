"""An account's mail for administrators: listings, places of octets, exact removal.

Theory of removal: the account's row is locked first, so that its entries stand still, since whoever adds or drops entries of an
account holds that lock. Then messages and segments are locked by id, each by a statement of its own, before one statement changes
all of them: within a statement the order of locks would be the planner's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from posthorn.adapters.postgres.database import Connection, Database
from posthorn.adapters.postgres.directory_truth import write_outbox
from posthorn.adapters.postgres.tenancy import Scoped, found
from posthorn.ports.account_mail import Message
from posthorn.ports.administration import Change, Missing
from posthorn.ports.faults import Unavailable
from posthorn.ports.maildrops import Location

LONG_SECONDS = 600
"""How long a statement may take that removes all mail of an account."""

_FIND = Scoped(
    "SELECT a.id, d.tenant_id FROM accounts a JOIN domains d ON d.id = a.domain_id WHERE {visible} AND a.address = $2"
)
_MESSAGE = """
    SELECT m.id, box.name AS mailbox, e.uid, e.size_crlf AS size, m.received_at, m.from_, m.subject, m.date, m.message_id,
           m.reverse_path, e.flags, e.keywords, s.key, m.offset_octets, m.stored_octets, m.encoding, m.has_dot_lines
      FROM mailbox_entries e
      JOIN mailboxes box ON box.account_id = e.account_id AND box.mailbox_id = e.mailbox_id
      JOIN messages m ON m.id = e.message_id
      LEFT JOIN segments s ON s.id = m.segment_id
     WHERE e.account_id = $1
"""

_THESE = "SELECT message_id FROM mailbox_entries WHERE account_id = $1 AND ($2::uuid IS NULL OR message_id = $2)"
_LOCK_MESSAGES = f"""
    SELECT count(*) FROM (SELECT id FROM messages WHERE id IN ({_THESE}) ORDER BY id FOR NO KEY UPDATE) AS locked
"""  # noqa: S608
_LOCK_SEGMENTS = f"""
    SELECT count(*) FROM (
        SELECT id FROM segments WHERE id IN (SELECT segment_id FROM messages WHERE id IN ({_THESE})) ORDER BY id FOR NO KEY UPDATE
    ) AS locked
"""  # noqa: S608
_DROP = """
    WITH gone AS (
        DELETE FROM mailbox_entries WHERE account_id = $1 AND ($2::uuid IS NULL OR message_id = $2)
        RETURNING mailbox_id, message_id, size_crlf
    ), dropped AS (
        UPDATE messages m SET refs = m.refs - n.entries
          FROM (SELECT message_id, count(*) AS entries FROM gone GROUP BY message_id) AS n
         WHERE m.id = n.message_id
        RETURNING m.segment_id, m.stored_octets, m.refs
    ), emptied AS (
        UPDATE segments s SET live_octets = s.live_octets - n.octets
          FROM (SELECT segment_id, sum(stored_octets) AS octets FROM dropped WHERE refs = 0 GROUP BY segment_id) AS n
         WHERE s.id = n.segment_id
    ), boxes AS (
        UPDATE mailboxes box SET modseq = box.modseq + 1
         WHERE box.account_id = $1 AND box.mailbox_id IN (SELECT mailbox_id FROM gone)
    ), account AS (
        UPDATE accounts a SET used_bytes = a.used_bytes - n.octets, used_messages = a.used_messages - n.entries
          FROM (SELECT coalesce(sum(size_crlf), 0) AS octets, count(*) AS entries FROM gone) AS n
         WHERE a.id = $1 AND n.entries > 0
        RETURNING a.address, a.used_bytes < a.quota_bytes AND a.used_bytes + n.octets >= a.quota_bytes AS room
    )
    SELECT (SELECT count(*) FROM gone) AS entries, (SELECT address FROM account WHERE room) AS roomy
"""


class PostgresAccountMail:
    """The port AccountMail over Postgres."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def messages(
        self, tenant: UUID | None, address: str, mailbox: str, before: int | None, limit: int
    ) -> Sequence[Message]:
        """List a mailbox, newest uid first."""
        async with self._database.session() as connection:
            account = await _account(connection, tenant, address)
            number = await connection.fetchval(
                "SELECT mailbox_id FROM mailboxes WHERE account_id = $1 AND name = $2", account, mailbox
            )
            if number is None:
                raise Missing(f"{address} has no mailbox of this name")
            rows = await connection.fetch(
                f"{_MESSAGE} AND e.mailbox_id = $2 AND ($3::bigint IS NULL OR e.uid < $3) ORDER BY e.uid DESC LIMIT $4",
                account,
                number,
                before,
                limit,
            )
        return [_as_message(row) for row in rows]

    async def message(self, tenant: UUID | None, address: str, message: UUID) -> tuple[Message, Location]:
        """Give one with the place of its octets."""
        async with self._database.session() as connection:
            account = await _account(connection, tenant, address)
            query = f"{_MESSAGE} AND e.message_id = $2 ORDER BY e.mailbox_id, e.uid LIMIT 1"
            row = await connection.fetchrow(query, account, message)
        if row is None:
            raise Missing(f"{address} has no such message")
        if row["key"] is None:
            raise Unavailable("postgres", f"the message {message} is referred to but has no segment")
        return _as_message(row), Location(
            message=message,
            key=row["key"],
            offset=row["offset_octets"],
            length=row["stored_octets"],
            encoding=row["encoding"],
            size=row["size"],
            has_dot_lines=row["has_dot_lines"],
        )

    async def delete_message(self, tenant: UUID | None, address: str, message: UUID) -> Change[None]:
        """Take the message out of every mailbox of the account."""
        async with self._database.transaction() as connection:
            account = await _account(connection, tenant, address, "FOR NO KEY UPDATE OF a")
            entries, roomy = await drop_entries(connection, account, message)
            if not entries:
                raise Missing(f"{address} has no such message")
            return Change(None, await write_outbox(connection, address) if roomy else ())


async def drop_entries(connection: Connection, account: int, message: UUID | None = None) -> tuple[int, bool]:
    """Remove an account's entries of one message, or all its entries, with references, live octets and quota.

    The caller holds the lock of the account's row. Gives how many entries went, and whether the account takes mail again.
    """
    for lock in (_LOCK_MESSAGES, _LOCK_SEGMENTS):
        await connection.fetchval(lock, account, message, timeout=LONG_SECONDS)
    row: Any = await connection.fetchrow(_DROP, account, message, timeout=LONG_SECONDS)
    return row["entries"], row["roomy"] is not None


async def _account(connection: Connection, tenant: UUID | None, address: str, lock: str = "") -> int:
    rows = await found(connection, tenant, _FIND + lock, address)
    if not rows:
        raise Missing(f"there is no account {address}")
    account: int = rows[0]["id"]
    return account


def _as_message(row: Any) -> Message:
    names = (
        "id",
        "mailbox",
        "uid",
        "size",
        "received_at",
        "from_",
        "subject",
        "date",
        "message_id",
        "reverse_path",
        "flags",
    )
    return Message(**{name: row[name] for name in names}, keywords=tuple(row["keywords"]))
