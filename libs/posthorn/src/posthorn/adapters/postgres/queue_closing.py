"""What follows from a change to rows of the queue, in the same transaction: octets are let go of, destinations become due.

Both take locks, in the order of ``tables``: outbound_messages, messages, segments, and destinations at the very end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from posthorn.adapters.postgres.database import Connection

_COUNT_DOWN = """
WITH held AS MATERIALIZED (
    SELECT message_id FROM outbound_messages WHERE message_id = ANY ($1::uuid[]) ORDER BY message_id FOR NO KEY UPDATE
)
UPDATE outbound_messages o SET open = o.open - closed.recipients
  FROM held JOIN unnest($1::uuid[], $2::integer[]) AS closed (message_id, recipients) USING (message_id)
 WHERE o.message_id = held.message_id
RETURNING o.message_id, o.open
"""
_DROP_REFERENCES = """
WITH held AS MATERIALIZED (
    SELECT id FROM messages WHERE id = ANY ($1::uuid[]) ORDER BY id FOR NO KEY UPDATE
)
UPDATE messages m SET refs = m.refs - 1 FROM held WHERE m.id = held.id RETURNING m.segment_id, m.stored_octets, m.refs
"""
_DROP_OCTETS = """
WITH held AS MATERIALIZED (
    SELECT id FROM segments WHERE id = ANY ($1::uuid[]) ORDER BY id FOR NO KEY UPDATE
)
UPDATE segments s SET live_octets = s.live_octets - dead.octets
  FROM held JOIN unnest($1::uuid[], $2::bigint[]) AS dead (id, octets) USING (id)
 WHERE s.id = held.id
"""
_MAKE_DUE = """
INSERT INTO outbound_destinations (name, due_at)
SELECT name, coalesce(due_at, now()) FROM unnest($1::text[], $2::timestamptz[]) AS d (name, due_at) ORDER BY name
ON CONFLICT (name) DO UPDATE SET due_at = excluded.due_at WHERE outbound_destinations.due_at > excluded.due_at
"""


async def let_go(connection: Connection, closed: Iterable[UUID]) -> None:
    """Count closed recipients, given by the ids of their messages, off; the last one gives the message's reference back."""
    counts = Counter(closed)
    if not counts:
        return
    rows: list[Any] = await connection.fetch(_COUNT_DOWN, list(counts), list(counts.values()))
    finished = [row["message_id"] for row in rows if row["open"] == 0]
    if not finished:
        return
    dead: Counter[UUID] = Counter()
    for row in await connection.fetch(_DROP_REFERENCES, finished):
        if row["refs"] == 0 and row["segment_id"] is not None:
            dead[row["segment_id"]] += row["stored_octets"]
    if dead:
        await connection.execute(_DROP_OCTETS, list(dead), list(dead.values()))


async def make_due(connection: Connection, rows: Iterable[tuple[str, datetime]]) -> None:
    """Tell destinations that rows of theirs, written before this, are due at these times. The last thing in a transaction."""
    earliest: dict[str, datetime] = {}
    for name, due_at in rows:
        earliest[name] = min(due_at, earliest.get(name, due_at))
    if earliest:
        names = sorted(earliest)
        await connection.execute(_MAKE_DUE, names, [earliest[name] for name in names])


async def make_due_now(connection: Connection, names: Collection[str]) -> None:
    """The same for rows that are due with this transaction."""
    if names:
        await connection.execute(_MAKE_DUE, sorted(names), [None] * len(names))
