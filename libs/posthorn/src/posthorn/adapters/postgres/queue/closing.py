"""Effects of changed queue rows, in the same transaction: bodies are released, destinations become
due.

Both take locks, in the order of ``tables``: outbound_messages, messages, segments, and destinations
at the very end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from uuid import UUID

from posthorn.adapters.postgres.database import Connection

RELEASE_BODIES = """
counted_messages AS MATERIALIZED (
    SELECT message_id FROM outbound_messages WHERE message_id = ANY (ARRAY (SELECT message_id FROM closed))
     ORDER BY message_id FOR NO KEY UPDATE
), counted AS (
    UPDATE outbound_messages o SET open = o.open - closed.recipients
      FROM counted_messages JOIN closed USING (message_id)
     WHERE o.message_id = counted_messages.message_id
    RETURNING o.message_id, o.open
), finished AS MATERIALIZED (
    SELECT id FROM messages WHERE id = ANY (ARRAY (SELECT message_id FROM counted WHERE open = 0)) ORDER BY id FOR NO KEY UPDATE
), dropped AS (
    UPDATE messages m SET refs = m.refs - 1 FROM finished WHERE m.id = finished.id
    RETURNING m.segment_id, m.stored_octets, m.refs
), dead AS MATERIALIZED (
    SELECT segment_id, sum(stored_octets) AS octets FROM dropped WHERE refs = 0 AND segment_id IS NOT NULL GROUP BY segment_id
), emptied AS MATERIALIZED (
    SELECT id FROM segments WHERE id = ANY (ARRAY (SELECT segment_id FROM dead)) ORDER BY id FOR NO KEY UPDATE
), shrunk AS (
    UPDATE segments s SET live_octets = s.live_octets - dead.octets
      FROM emptied JOIN dead ON dead.segment_id = emptied.id
     WHERE s.id = emptied.id
)
"""
"""Parts of a statement after one named ``closed`` (message_id, recipients): what
``release_bodies`` does. In lock order: each changes only what the previous one returns."""
_LET_GO = f"""
WITH closed AS MATERIALIZED (
    SELECT * FROM unnest($1::uuid[], $2::integer[]) AS c (message_id, recipients)
), {RELEASE_BODIES}
SELECT
"""
_MAKE_DUE = """
INSERT INTO outbound_destinations (name, due_at)
SELECT name, coalesce(due_at, now()) FROM unnest($1::text[], $2::timestamptz[]) AS d (name, due_at) ORDER BY name
ON CONFLICT (name) DO UPDATE SET due_at = excluded.due_at WHERE outbound_destinations.due_at > excluded.due_at
"""


async def release_bodies(connection: Connection, closed: Iterable[UUID]) -> None:
    """Subtract closed recipients, given by the ids of their messages; the last one drops the
    message's reference."""
    counts = Counter(closed)
    if counts:
        await connection.execute(_LET_GO, list(counts), list(counts.values()))


async def make_due(connection: Connection, rows: Iterable[tuple[str, datetime]]) -> None:
    """Make destinations due at these times for rows written before. To be called last in a
    transaction."""
    earliest: dict[str, datetime] = {}
    for name, due_at in rows:
        earliest[name] = min(due_at, earliest.get(name, due_at))
    if earliest:
        names = sorted(earliest)
        await connection.execute(_MAKE_DUE, names, [earliest[name] for name in names])


async def make_due_or_now(connection: Connection, due: Mapping[str, datetime | None]) -> None:
    """Like ``make_due``, for destinations of which some rows are due with this transaction
    (None)."""
    if due:
        names = sorted(due)
        await connection.execute(_MAKE_DUE, names, [due[name] for name in names])
