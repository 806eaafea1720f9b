"""The segment catalog on Postgres: mostly dead segments, and moving their live messages.

Theory: a delivery may add messages to a segment that has its row already (a later transaction of
the same batch, another client whose message was appended with it). It writes them first, then the
segment's row, which it takes back if it is condemned. So who condemns a segment reads its live
messages once more under the lock of the row: what was added before is seen then, and what is added
afterwards takes the segment back.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from uuid import UUID, uuid4

import structlog

from posthorn.adapters.postgres.database import Database
from posthorn.adapters.postgres.leader import Leadership
from posthorn.adapters.postgres.queue.long_senders import forget
from posthorn.model.blob_range import BlobRange
from posthorn.ports.segments import DeadSegment, LiveMessage, Segment

log = structlog.get_logger()

_TASK = "collector"

# the expression is that of segments_live_idx
_MOSTLY_DEAD = """
SELECT id, key, octets, live_octets FROM segments
 WHERE condemned_at IS NULL AND live_octets::float8 / greatest(octets, 1) <= $1
   AND created_at <= now() - make_interval(secs => $2)
 ORDER BY created_at, id LIMIT $3
"""

# the condition is that of segments_partly_live_idx
_PARTLY_DEAD = """
SELECT id, key, octets, live_octets FROM segments
 WHERE condemned_at IS NULL AND live_octets < octets AND created_at <= now() - make_interval(secs => $1)
 ORDER BY created_at, id LIMIT $2
"""

_LIVE = """
SELECT id, offset_octets, stored_octets, encoding FROM messages WHERE segment_id = $1 AND refs > 0 ORDER BY offset_octets, id
"""

_LOCK_LIVE = (
    "SELECT id FROM messages WHERE segment_id = $1 AND refs > 0 ORDER BY id FOR NO KEY UPDATE"
)

_LOCK_SEGMENT = "SELECT true FROM segments WHERE id = $1 AND condemned_at IS NULL FOR NO KEY UPDATE"
_CONDEMN = "UPDATE segments SET live_octets = 0, condemned_at = clock_timestamp() WHERE id = $1"

_REPOINT = """
UPDATE messages m SET segment_id = $1, offset_octets = p.offset_octets, stored_octets = p.stored_octets, encoding = p.encoding
  FROM unnest($2::uuid[], $3::bigint[], $4::bigint[], $5::text[]) AS p (id, offset_octets, stored_octets, encoding)
 WHERE m.id = p.id
"""

_LONG_STANDING = "created_at <= coalesce(condemned_at, now()) - interval '1 day'"

_CONDEMNED = f"""
SELECT id, key FROM segments WHERE condemned_at <= now() - make_interval(secs => $1) AND ($3 OR NOT {_LONG_STANDING})
 ORDER BY condemned_at, id LIMIT $2
"""

_WITH_LIVE = (
    "SELECT DISTINCT segment_id FROM messages WHERE segment_id = ANY ($1::uuid[]) AND refs > 0"
)
_LOCK_LIVE_OF = """
SELECT FROM messages WHERE segment_id = ANY ($1::uuid[]) AND refs > 0 ORDER BY id FOR NO KEY UPDATE
"""
_TAKE_BACK = """
UPDATE segments s SET condemned_at = NULL, live_octets = live.octets
  FROM (
      SELECT segment_id, sum(stored_octets) AS octets FROM messages WHERE segment_id = ANY ($1::uuid[]) AND refs > 0
       GROUP BY segment_id
  ) AS live
 WHERE s.id = live.segment_id AND s.condemned_at IS NOT NULL
"""

_FORGET = """
WITH old AS (
    SELECT id FROM messages WHERE refs = 0 AND placed_at <= now() - make_interval(secs => $1)
     ORDER BY placed_at LIMIT $2 FOR UPDATE SKIP LOCKED
), forgotten AS (
    DELETE FROM messages m USING old WHERE m.id = old.id RETURNING 1
), headers AS (
    DELETE FROM message_headers h USING old WHERE h.message_id = old.id
), structures AS (
    DELETE FROM message_structures s USING old WHERE s.message_id = old.id
)
SELECT count(*) FROM forgotten
"""


class PostgresSegmentCatalog:
    """The port SegmentCatalog on Postgres. Each instance is a separate candidate for being the
    collector."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._leadership = Leadership(database, _TASK, uuid4())

    async def lead(self, seconds: float) -> bool:
        """Become or stay the only collector for so many seconds; False while another is. Raises
        Unavailable."""
        return await self._leadership.lead(seconds)

    async def mostly_dead(
        self, live_share: float, older_than: float, limit: int
    ) -> Sequence[DeadSegment]:
        """Return segments of at least that age in seconds with at most that share of live bytes,
        oldest first. Raises Unavailable."""
        async with self._database.session() as connection:
            rows = await connection.fetch(_MOSTLY_DEAD, live_share, older_than, limit)
        return [DeadSegment(*row) for row in rows]

    async def partly_dead(self, older_than: float, limit: int) -> Sequence[DeadSegment]:
        """Return segments of at least that age in seconds with any dead bytes, oldest first. Raises
        Unavailable."""
        async with self._database.session() as connection:
            rows = await connection.fetch(_PARTLY_DEAD, older_than, limit)
        return [DeadSegment(*row) for row in rows]

    async def live_messages(self, segment: UUID) -> Sequence[LiveMessage]:
        """Return the live messages of a segment, by offset. Raises Unavailable."""
        async with self._database.session() as connection:
            rows = await connection.fetch(_LIVE, segment)
        return [
            LiveMessage(
                row["id"], BlobRange(row["offset_octets"], row["stored_octets"], row["encoding"])
            )
            for row in rows
        ]

    async def move(self, old: UUID, new: Segment | None, moved: Mapping[UUID, BlobRange]) -> bool:
        """Redirect the moved messages to the new segment and condemn the old one, in one
        transaction.

        False, with nothing done, when the live messages have changed, or the old segment is
        condemned already. Raises Unavailable.
        """
        if moved and new is None:
            raise ValueError("messages cannot be moved without a segment to move to")
        async with self._database.transaction() as connection:
            live = {row["id"] for row in await connection.fetch(_LOCK_LIVE, old)}
            # before anything is written: returning from here commits
            if live != set(moved) or not await connection.fetchval(_LOCK_SEGMENT, old):
                return False
            if {row["id"] for row in await connection.fetch(_LIVE, old)} != live:
                return False
            await connection.execute(_CONDEMN, old)
            if new is not None:
                size = sum(blob_range.length for blob_range in moved.values())
                await connection.execute(
                    "INSERT INTO segments (id, key, octets, live_octets) VALUES ($1, $2, $3, $4)",
                    *(new.id, new.key, new.octets, size),
                )
                await connection.execute(
                    _REPOINT,
                    new.id,
                    list(moved),
                    [blob_range.offset for blob_range in moved.values()],
                    [blob_range.length for blob_range in moved.values()],
                    [blob_range.encoding for blob_range in moved.values()],
                )
        return True

    async def condemned(
        self, older_than: float, limit: int, *, long_standing: bool = True
    ) -> Sequence[tuple[UUID, str]]:
        """Return segments (id, key) condemned at least that many seconds ago, oldest first; see
        the port."""
        async with self._database.session() as connection:
            rows = await connection.fetch(_CONDEMNED, older_than, limit, long_standing)
            found = {row["id"]: row["key"] for row in rows}
            live = await connection.fetch(_WITH_LIVE, list(found))
        if live:
            await self._take_back({row["segment_id"]: found.pop(row["segment_id"]) for row in live})
        return list(found.items())

    async def _take_back(self, segments: Mapping[UUID, str]) -> None:
        """Take back condemned segments that have live messages all the same: after a fault of a
        release before, or where rows were changed by hand."""
        log.error("condemned segments have live messages and stay", keys=sorted(segments.values()))
        async with self._database.transaction() as connection:
            await connection.execute(_LOCK_LIVE_OF, list(segments))
            await connection.execute(_TAKE_BACK, list(segments))

    async def long_standing_condemned(self, older_than: float) -> int:
        """Return how many of those were older than a day when they were condemned. Raises
        Unavailable."""
        query = f"SELECT count(*) FROM segments WHERE condemned_at <= now() - make_interval(secs => $1) AND {_LONG_STANDING}"
        async with self._database.session() as connection:
            return int(await connection.fetchval(query, older_than))

    async def long_standing(self) -> int:
        """Return how many segments are older than a day. Raises Unavailable."""
        async with self._database.session() as connection:
            return int(
                await connection.fetchval(f"SELECT count(*) FROM segments WHERE {_LONG_STANDING}")
            )

    async def removed(self, segments: Collection[UUID]) -> None:
        """Delete the rows of condemned segments whose blobs are deleted. Raises Unavailable."""
        async with self._database.session() as connection:
            await connection.execute(
                "DELETE FROM segments WHERE id = ANY ($1::uuid[]) AND condemned_at IS NOT NULL",
                list(segments),
            )

    async def unknown_keys(self, keys: Collection[str]) -> set[str]:
        """Return those of the blob keys that no segment row names. Raises Unavailable."""
        async with self._database.session() as connection:
            rows = await connection.fetch(
                "SELECT key FROM unnest($1::text[]) AS asked (key)"
                " WHERE NOT EXISTS (SELECT FROM segments WHERE segments.key = asked.key)",
                list(keys),
            )
        return {row["key"] for row in rows}

    async def forget_long_senders(self, days: int, limit: int) -> int:
        """Delete long senders not used for more than that many days; returns how many. Raises
        Unavailable."""
        async with self._database.session() as connection:
            return await forget(connection, days, limit)

    async def forget_messages(self, older_than: float, limit: int) -> int:
        """Delete rows of unreferenced messages placed at least that many seconds ago, with what
        is kept of their content; returns how many. Raises Unavailable."""
        async with self._database.session() as connection:
            return int(await connection.fetchval(_FORGET, older_than, limit))
