"""The port Quarantine on Postgres, and what removes copies from it.

Theory:

- A copy counts as one of the references of its message. A release hands the reference on: to the
  mailbox entry, or to the open rows of the outbound queue, which have one together. Where these
  have theirs already, the copy's is dropped.
- Locks are taken in the order of ``tables``: the account, the copy, outbound_messages, messages,
  segments, destinations. Two releases of a copy wait for each other at its row; the second finds
  nothing.
- A copy of an account is removed with the account (``expunge.remove_everything``), never by the
  foreign key alone, which would not count.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any
from uuid import UUID

from posthorn.adapters.postgres.access.audit import write_audit
from posthorn.adapters.postgres.access.listing import Condition, Listing, Order
from posthorn.adapters.postgres.access.tenant_scope import Scoped, found, one
from posthorn.adapters.postgres.body_location import as_location
from posthorn.adapters.postgres.conditions import Conditions
from posthorn.adapters.postgres.database import Connection, Database
from posthorn.adapters.postgres.mailboxes.changes import changing
from posthorn.adapters.postgres.mailboxes.classifications import classify
from posthorn.adapters.postgres.mailboxes.delivery import make_entries
from posthorn.adapters.postgres.mailboxes.expunge import DROPPED, LOCK_SEGMENTS, LOCK_THESE
from posthorn.adapters.postgres.queue import enqueue as outbound
from posthorn.adapters.postgres.queue.closing import make_due_or_now
from posthorn.model.blob_range import BlobRange, BodyLocation
from posthorn.model.classification import Classification
from posthorn.model.withheld import decode_withheld
from posthorn.ports.errors import Conflict, NotFound, Unavailable
from posthorn.ports.listing import Listed, ListQuery
from posthorn.ports.mailbox_hints import Announce, Changed, announce_nothing
from posthorn.ports.quarantine import QuarantinedCopy, QuarantineFilter, Restored
from posthorn.ports.segments import SegmentMessage

_COLUMNS = """q.id, q.message_id AS message, q.tenant_id AS tenant, a.address AS account, q.recipient, q.reason, q.detail,
           q.score, q.size_crlf AS size, q.created_at, q.expires_at, m.received_at, m.reverse_path, m.from_, m.subject,
           m.date, m.message_id, m.verdict::text AS verdict, q.account_id, s.key, m.offset_octets, m.stored_octets,
           m.encoding, m.has_dot_lines"""
_JOINS = """
      JOIN messages m ON m.id = q.message_id
      LEFT JOIN accounts a ON a.id = q.account_id
      LEFT JOIN segments s ON s.id = m.segment_id"""
_COPY = f"SELECT {_COLUMNS} FROM quarantine q {_JOINS} WHERE {{visible}}"
_HEADER = "(SELECT h.from_ || ' ' || h.subject FROM messages h WHERE h.id = q.message_id)"
_LIST = Listing(
    "quarantine",
    "q",
    _COLUMNS,
    _JOINS,
    orders={"created": Order("q.id", UUID), "score": Order("q.score", float, "q.id", UUID)},
    searched=("q.recipient", "q.detail", _HEADER),
    owner="q.tenant_id = {}",
    newest_first=True,
)
_ONE = Scoped(f"{_COPY} AND q.id = $2", "q.tenant_id")
_ACCOUNT = Scoped(
    "SELECT a.id FROM accounts a JOIN domains d ON d.id = a.domain_id WHERE {visible} AND a.address = $2"
)
_LOCK_ACCOUNT = "SELECT quota_bytes, used_bytes FROM accounts WHERE id = $1 FOR NO KEY UPDATE"
_LOCK_COPY = "SELECT envelope FROM quarantine WHERE id = $1 FOR UPDATE"
_LOCK_COPIES = (
    "SELECT id, message_id FROM quarantine WHERE {where} ORDER BY {order} {limit} FOR UPDATE {skip}"
)
_HANDED_ON = "DELETE FROM quarantine WHERE id = $1"
_OPEN = "SELECT open FROM outbound_messages WHERE message_id = $1 FOR NO KEY UPDATE"
_COUNT_ROWS = "UPDATE outbound_messages SET open = open + $2 WHERE message_id = $1"
_DROP = f"""
    WITH freed AS (
        DELETE FROM quarantine WHERE id = ANY ($1::uuid[]) RETURNING message_id
    ), {DROPPED.format(freed="freed")}
    SELECT count(*) FROM freed
"""


class PostgresQuarantine:
    """The port Quarantine over Postgres. ``policy``: of the outbound queue."""

    def __init__(
        self,
        database: Database,
        policy: outbound.QueuePolicy = outbound.DEFAULT_POLICY,
        announce: Announce = announce_nothing,
    ) -> None:
        self._database = database
        self._announce = announce
        self._policy = policy

    async def items(
        self, tenant: UUID | None, which: QuarantineFilter, asked: ListQuery
    ) -> Listed[QuarantinedCopy]:
        scope = Conditions()
        filters: list[Condition] = []
        async with self._database.transaction() as connection:
            if which.account is not None:
                rows = await found(connection, tenant, _ACCOUNT, which.account)
                if not rows:
                    raise NotFound(f"there is no account {which.account}")
                # and what the account would have forwarded
                either = "(q.account_id = {} OR (q.account_id IS NULL AND q.recipient = {}))"
                scope.add(either, rows[0]["id"], which.account)
            if which.message is not None:
                scope.add("q.message_id = {}", which.message)
            if which.domain is not None:
                filters.append(("split_part(q.recipient, '@', -1) = {}", which.domain))
            if which.reason is not None:
                filters.append(("q.reason = {}", which.reason))
            if which.since is not None:
                filters.append(("q.created_at >= {}", which.since))
            return await _LIST.page(
                connection, tenant, asked, _as_copy, scope=scope, filters=filters
            )

    async def item(self, tenant: UUID | None, number: UUID) -> QuarantinedCopy:
        """Return one."""
        async with self._database.session() as connection:
            return _as_copy(await _one(connection, tenant, number))

    async def body(self, tenant: UUID | None, number: UUID) -> tuple[QuarantinedCopy, BodyLocation]:
        """Return one with the location of its body."""
        async with self._database.session() as connection:
            row = await _one(connection, tenant, number)
        if row["key"] is None:
            raise Unavailable("postgres", f"the copy {number} is referenced but has no segment")
        return _as_copy(row), as_location(row, message=row["message"], size=row["size"])

    async def release(
        self, tenant: UUID | None, number: UUID, *, is_ham: bool = False, viruses: bool = True
    ) -> Restored:
        """Release one, in one transaction."""
        async with changing(self._database, self._announce) as (connection, changed):
            row = await _one(connection, tenant, number)
            if row["reason"] == "virus" and not viruses:
                raise NotFound(_MISSING.format(number))
            room = None
            if row["account_id"] is not None:
                room = await connection.fetchrow(_LOCK_ACCOUNT, row["account_id"])
            encoded = await connection.fetchval(_LOCK_COPY, number)
            if encoded is None:
                raise NotFound(_MISSING.format(number))
            copy = _as_copy(row)
            restored = Restored(copy)
            if room is not None:
                await self._to_inbox(connection, row, room, encoded, changed, is_ham=is_ham)
            else:
                restored = await self._send_on(connection, row, encoded)
            about = {"quarantine": number, "message": copy.message}
            await write_audit(connection, copy.tenant, copy.recipient, about)
            return restored

    async def _to_inbox(
        self,
        connection: Connection,
        row: Any,
        room: Any,
        encoded: bytes,
        changed: list[Changed],
        *,
        is_ham: bool,
    ) -> None:
        quota, size = room["quota_bytes"], row["size"]
        if quota is not None and room["used_bytes"] + size > quota:
            raise Conflict(f"{row['account']} has no room for the {size} bytes of the message")
        envelope, _ = decode_withheld(encoded)
        account = row["account_id"]
        await connection.execute(_HANDED_ON, row["id"])
        message = SegmentMessage(envelope, BlobRange(0, 0), (account,))
        await make_entries(connection, [message], changed)
        if is_ham:
            await classify(connection, account, row["message"], Classification.HAM)

    async def _send_on(self, connection: Connection, row: Any, encoded: bytes) -> Restored:
        envelope, copies = decode_withheld(encoded)
        message = SegmentMessage(envelope, BlobRange(0, 0), (), copies, row["tenant"])
        number = envelope.id
        there = await connection.fetchval(_OPEN, number)
        if there is None:
            await connection.execute(_HANDED_ON, row["id"])
            await outbound.enter(connection, [message], self._policy)
        else:
            await connection.execute(_COUNT_ROWS, number, outbound.open_rows(message))
            if there:
                await _drop(connection, [row])
            else:
                await connection.execute(_HANDED_ON, row["id"])
            due = await outbound.enter_more(connection, message, self._policy)
            await make_due_or_now(connection, due)
        destinations = frozenset(each.destination for each in copies)
        return Restored(_as_copy(row), destinations, len(copies))

    async def delete(self, tenant: UUID | None, number: UUID) -> QuarantinedCopy:
        """Delete one with its reference."""
        async with self._database.transaction() as connection:
            copy = _as_copy(await _one(connection, tenant, number))
            if not await discard(connection, "id = $1", number):
                raise NotFound(_MISSING.format(number))
            about = {"quarantine": number, "message": copy.message}
            await write_audit(connection, copy.tenant, copy.recipient, about)
            return copy


_MISSING = "there is no copy {} in quarantine"


async def discard(
    connection: Connection,
    where: str,
    *values: Any,
    limit: int | None = None,
    skip: bool = False,
    order: str = "id",
) -> int:
    """Delete copies with their references, in the caller's transaction; return how many. With
    ``skip``, without those that somebody else is changing."""
    lock = _LOCK_COPIES.format(
        where=where,
        order=order,
        limit="" if limit is None else f"LIMIT {limit}",
        skip="SKIP LOCKED" if skip else "",
    )
    rows = await connection.fetch(lock, *values)
    return await _drop(
        connection, [{"id": row["id"], "message": row["message_id"]} for row in rows]
    )


async def _drop(connection: Connection, rows: Collection[Any]) -> int:
    if not rows:
        return 0
    locked = await connection.fetch(LOCK_THESE, sorted({row["message"] for row in rows}))
    await connection.execute(
        LOCK_SEGMENTS, list({row["segment_id"] for row in locked if row["segment_id"]})
    )
    return int(await connection.fetchval(_DROP, [row["id"] for row in rows]))


async def _one(connection: Connection, tenant: UUID | None, number: UUID) -> Any:
    try:
        return await one(connection, tenant, _ONE, number)
    except NotFound:
        raise NotFound(_MISSING.format(number)) from None


def _as_copy(row: Any) -> QuarantinedCopy:
    names = (
        "id",
        "message",
        "tenant",
        "account",
        "recipient",
        "reason",
        "detail",
        "score",
        "size",
        "created_at",
        "expires_at",
        "received_at",
        "reverse_path",
        "from_",
        "subject",
        "date",
        "message_id",
    )
    verdict = None if row["verdict"] is None else json.loads(row["verdict"])
    return QuarantinedCopy(**{name: row[name] for name in names}, verdict=verdict)
