"""The source of the directory in Postgres: outbox, and status of accounts and aliases.

Theory:

- The outbox names subjects, not states. The state is read at publication, so that entries may be
  processed in any order and any number of times.
- An outbox row is visible only with the change that wrote it, and the state is read by a later
  statement than the row: the newest row of a subject is therefore always published with its state.
- The publisher holds an advisory lock in the transaction of ``pending``: two publishers could
  otherwise overwrite a newer state by an older one.
- ``directory.entries`` reads the state: with each named subject also those whose entries change
  with it.
- Two lanes: single changes go before bulk changes, which still get an eighth of each round. In
  both, tenants take turns (ADR 22). Rows of one lane and tenant keep their order.
- A subject that takes too long is skipped, so that those after it are published, and retried with
  growing delays; its row stays.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from enum import IntEnum
from uuid import UUID

import structlog
from asyncpg import QueryCanceledError, Record

from posthorn.adapters.postgres.database import Connection, Database
from posthorn.adapters.postgres.directory.entries import (
    ACCOUNTS,
    ALIASES,
    ALIASES_AT_ONCE,
    DOMAINS,
    TooSlow,
    alias_entries,
    entries_of,
    entry_of_row,
)
from posthorn.adapters.postgres.directory.published_policies import (
    SYSTEM_POLICY,
)
from posthorn.model.directory_entry import Entry
from posthorn.model.unpublished import MOST_NAMED, Unpublished, of_subjects

log = structlog.get_logger()

PUBLISHER_LOCK = 0x706F7374_0001
"""Advisory lock of the publisher."""
_DOUBTS_AT_ONCE = 5000
_PREFETCH = 1000
_MOST_SECONDS = 3.0
"""Seconds to read the state of some subjects; for one statement, as far as the pool's own limit
allows."""
_ROUND_SECONDS = 10.0
_RETRY_SECONDS = (60.0, 3600.0)
_MOST_SLOW = 10_000
_MOST_INTERACTIVE = 100
"""Most subjects of a change that counts as interactive."""
_MOST_NAMED_SUBJECTS = 5000
_NO_TENANT = UUID(int=0)


_LEADING_OUT = """
    SELECT a.address FROM aliases a JOIN domains d ON d.id = a.domain_id
     WHERE d.tenant_id = $1
       AND EXISTS (SELECT FROM unnest(a.targets) AS target
                    WHERE NOT EXISTS (SELECT FROM domains o
                                       WHERE o.name = split_part(target, '@', -1) AND o.tenant_id = $1))
     ORDER BY a.address
"""
_LIFT = """
    UPDATE aliases a SET limited_until = NULL
     WHERE a.id = ANY (ARRAY (
               SELECT l.id FROM aliases l JOIN domains d ON d.id = l.domain_id
                WHERE d.tenant_id = $1 AND ($2::bigint IS NULL OR d.id = $2) AND l.limited_until IS NOT NULL
                ORDER BY l.id FOR NO KEY UPDATE OF l))
    RETURNING a.address
"""
_WRITE = """
    INSERT INTO directory_outbox (subject, lane, tenant_id)
    SELECT subject, $2, coalesce((SELECT d.tenant_id FROM domains d WHERE d.name = split_part(subject, '@', -1)), $3)
      FROM unnest($1::text[]) AS subject
    RETURNING id
"""

_DONE = """
    DELETE FROM directory_outbox WHERE id = ANY($1)
    RETURNING lane, extract(epoch FROM clock_timestamp() - created_at)::float8 AS seconds
"""
_BOUND = """
    SELECT set_config('statement_timeout',
                      CASE WHEN reset_val = '0' THEN $1::int ELSE least($1, reset_val::int / 2) END::text, true)
      FROM pg_settings WHERE name = 'statement_timeout'
"""


# The tenants that have rows in a lane ($1), those after $2 first: found by jumps in the index,
# however many rows each has. Then of each tenant its first row, then of each its second, up to $4.
_NEXT = """
    WITH RECURSIVE waiting (part, tenant_id, place) AS (
        (
            SELECT 1, (SELECT tenant_id FROM directory_outbox WHERE lane = $1 AND tenant_id > $2 ORDER BY tenant_id LIMIT 1), 1
          UNION ALL
            SELECT 2, (SELECT tenant_id FROM directory_outbox WHERE lane = $1 ORDER BY tenant_id LIMIT 1), 1
        )
      UNION ALL
        SELECT part, (SELECT o.tenant_id FROM directory_outbox o
                       WHERE o.lane = $1 AND o.tenant_id > waiting.tenant_id ORDER BY o.tenant_id LIMIT 1), place + 1
          FROM waiting WHERE tenant_id IS NOT NULL AND place < 1000
    ), tenants AS (
        SELECT part, tenant_id, least($4::bigint, 1 + 4096 / count(*) OVER ()) AS most
          FROM waiting WHERE tenant_id IS NOT NULL AND (part = 1 OR tenant_id <= $2)
    )
    SELECT id, subject, tenant_id, turn
      FROM (
          SELECT first.id, first.subject, tenants.part, tenants.tenant_id,
                 row_number() OVER (PARTITION BY tenants.tenant_id ORDER BY first.id) AS turn
            FROM tenants
            CROSS JOIN LATERAL (
                SELECT o.id, o.subject FROM directory_outbox o
                 WHERE o.lane = $1 AND o.tenant_id = tenants.tenant_id AND o.subject <> ALL($3::text[])
                 ORDER BY o.id LIMIT tenants.most
            ) AS first
      ) AS ranked
     ORDER BY turn, part, tenant_id LIMIT $4
"""


class Lane(IntEnum):
    """Priority of directory changes."""

    INTERACTIVE = 0
    """Interactive: a client waits for it."""
    BULK = 1
    """Bulk: one of many."""


class PostgresDirectorySource:
    """The port DirectorySource over Postgres. ``seconds``: time to read the state of some
    subjects before they are skipped; ``on_published`` is told how many seconds after it was made each
    interactive change was published."""

    def __init__(
        self,
        database: Database,
        seconds: float = _MOST_SECONDS,
        *,
        on_published: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._database = database
        self._seconds = seconds
        self._on_published = on_published
        self._slow: dict[str, tuple[float, float]] = {}
        """Subjects that took too long: when each is retried, and its last delay."""
        self._turns = dict.fromkeys(Lane, _NO_TENANT)
        """The tenant after which the next round of a lane begins."""

    @asynccontextmanager
    async def pending(self, limit: int) -> AsyncIterator[Mapping[str, Entry | None] | None]:
        """Open the next outbox entries; see the port."""
        async with self._database.transaction() as connection:
            if not await connection.fetchval(
                "SELECT pg_try_advisory_xact_lock($1)", PUBLISHER_LOCK
            ):
                yield None
                return
            found: dict[str, Entry | None] = {}
            told: set[str] = set()
            rows: list[Record] = []
            end = time.monotonic() + _ROUND_SECONDS
            while not told and (now := time.monotonic()) < end:
                waiting = [subject for subject, (again, _) in self._slow.items() if again > now]
                rows = await self._next(connection, Lane.INTERACTIVE, waiting, limit - limit // 8)
                rows += await self._next(connection, Lane.BULK, waiting, limit - len(rows))
                if not rows:
                    break
                found, told = await self._read(connection, {row["subject"] for row in rows}, end)
            yield found
            if told:
                done = [row["id"] for row in rows if row["subject"] in told]
                for row in await connection.fetch(_DONE, done):
                    if row["lane"] == Lane.INTERACTIVE:
                        self._on_published(max(0.0, row["seconds"]))

    async def _next(
        self, connection: Connection, lane: Lane, waiting: list[str], most: int
    ) -> list[Record]:
        if most <= 0:
            return []
        rows: list[Record] = await connection.fetch(_NEXT, lane, self._turns[lane], waiting, most)
        for row in rows:
            if row["turn"] == 1:
                self._turns[lane] = row["tenant_id"]
        return rows

    async def everything(self) -> AsyncIterator[tuple[str, Entry]]:
        async with self._database.transaction() as connection:
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            system = await connection.fetchval(SYSTEM_POLICY)
            for query in (DOMAINS, ACCOUNTS):
                async for row in connection.cursor(query, prefetch=_PREFETCH):
                    yield row["subject"], entry_of_row(row, system)
            cursor = await connection.cursor(ALIASES)
            while rows := await cursor.fetch(ALIASES_AT_ONCE):
                for subject, entry in (
                    await alias_entries(connection, [row["address"] for row in rows])
                ).items():
                    yield subject, entry

    async def recheck(self, subjects: Collection[str]) -> None:
        """Queue the subjects for publication again."""
        ordered = sorted(subjects)
        lane = lane_of(len(ordered))
        for start in range(0, len(ordered), _DOUBTS_AT_ONCE):
            async with self._database.transaction() as connection:
                await write_outbox(connection, *ordered[start : start + _DOUBTS_AT_ONCE], lane=lane)

    async def published(self, outbox_ids: Sequence[int]) -> bool:
        """Return whether none of the outbox entries is still waiting."""
        async with self._database.session() as connection:
            return not await connection.fetchval(
                "SELECT EXISTS (SELECT FROM directory_outbox WHERE id = ANY($1))", list(outbox_ids)
            )

    async def unpublished(self, outbox_ids: Sequence[int] | None = None) -> Unpublished:
        """Beyond some thousand rows only their domains are named."""
        async with self._database.session() as connection:
            if outbox_ids is not None:
                query = "SELECT subject FROM directory_outbox WHERE id = ANY($1)"
                return of_subjects(
                    [row["subject"] for row in await connection.fetch(query, list(outbox_ids))]
                )
            rows = await connection.fetch(
                "SELECT subject FROM directory_outbox LIMIT $1", _MOST_NAMED_SUBJECTS + 1
            )
            if len(rows) <= _MOST_NAMED_SUBJECTS:
                return of_subjects([row["subject"] for row in rows])
            query = "SELECT DISTINCT split_part(subject, '@', -1) AS domain FROM directory_outbox LIMIT $1"
            domains = await connection.fetch(query, MOST_NAMED + 1)
            return of_subjects((), [row["domain"] for row in domains])

    async def _read(
        self, connection: Connection, subjects: set[str], end: float
    ) -> tuple[dict[str, Entry | None], set[str]]:
        """Return the entries of the subjects, and which were read; those that take too long are
        skipped."""
        known_slow = subjects & self._slow.keys()
        together = subjects - known_slow
        if together and (found := await self._in_time(connection, together)) is not None:
            return found, together
        found, told = {}, set[str]()
        for subject in (*sorted(together), *sorted(known_slow)):
            entries = await self._in_time(connection, {subject})
            if entries is None:
                self._step_over(subject)
            else:
                self._slow.pop(subject, None)
                found |= entries
                told.add(subject)
            if time.monotonic() > end:
                break
        return found, told

    async def _in_time(
        self, connection: Connection, subjects: set[str]
    ) -> dict[str, Entry | None] | None:
        """Return the entries of the subjects; None when that takes too long."""
        # a savepoint, always rolled back: a cancelled statement undoes only this, and the limit ends with it
        savepoint = connection.transaction()
        await savepoint.start()
        try:
            await connection.execute(_BOUND, round(self._seconds * 1000))
            return await entries_of(connection, subjects, time.monotonic() + self._seconds)
        except (QueryCanceledError, TooSlow):
            return None
        finally:
            await savepoint.rollback()

    def _step_over(self, subject: str) -> None:
        first, last = _RETRY_SECONDS
        _, before = self._slow.pop(subject, (0.0, 0.0))
        pause = min(last, before * 2) or first
        if len(self._slow) >= _MOST_SLOW:
            self._slow.pop(next(iter(self._slow)))
        self._slow[subject] = time.monotonic() + pause, pause
        log.error(
            "the directory entry of a subject takes too long to read",
            subject=subject,
            again_in_seconds=pause,
        )


def lane_of(subjects: int) -> Lane:
    """Return the lane of a change that names so many subjects."""
    return Lane.INTERACTIVE if subjects <= _MOST_INTERACTIVE else Lane.BULK


async def write_outbox(
    connection: Connection, *subjects: str, lane: Lane | None = None
) -> tuple[int, ...]:
    """Add subjects whose directory entries have changed to the outbox, in the transaction of the
    change; return the rows' ids.

    ``lane``: None: by the number of subjects.
    """
    rows = await connection.fetch(
        _WRITE, list(subjects), lane_of(len(subjects)) if lane is None else lane, _NO_TENANT
    )
    return tuple(row["id"] for row in rows)


async def write_aliases(connection: Connection, tenant: UUID) -> tuple[int, ...]:
    """Publish the aliases of a tenant with targets elsewhere again: its suspension began or
    ended."""
    rows = await connection.fetch(_LEADING_OUT, tenant)
    return await write_outbox(connection, *(row["address"] for row in rows))


async def lift_limits(
    connection: Connection, tenant: UUID, domain: int | None = None
) -> tuple[int, ...]:
    """Let limited aliases of a tenant, or of one of its domains, accept mail again: the limit
    has changed."""
    rows = await connection.fetch(_LIFT, tenant, domain)
    return await write_outbox(connection, *sorted(row["address"] for row in rows))
