"""The port EventCheckpoint on Postgres.

The positions in the stream are stored among the statistics, in a row for each share and without a
tenant: ``hour`` is when the stream was created, ``messages`` the sequence number reached. Writing a
batch moves them from their values when the batch was read, which only one of two readers can do.

Releases before shares know the row of share 0 alone, which is also that of the whole stream, and
leave its ``octets`` as they are. This release sets both columns: where they differ, an earlier
release has read on, and that row's position holds for all shares (ADR 41). Rows of the same kind say
how far the message index is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from uuid import UUID, uuid4

from posthorn.adapters.postgres.database import Connection, Database, clean_text
from posthorn.adapters.postgres.events.webhooks import LISTENING, as_webhook, enter
from posthorn.adapters.postgres.reports.noting import count_evaluations
from posthorn.model.dmarc_evaluation import DmarcEvaluation
from posthorn.model.events import SHARES
from posthorn.ports.statistics import NO_TENANT, Count, Facts, Row, Slot
from posthorn.ports.webhooks import NewDelivery, Webhook

_OUTCOMES = ("place", *(f"place/{share}" for share in range(1, SHARES)))
"""``outcome`` of the rows with the positions, by share."""
_INDEXED = tuple(f"index/{share}" for share in range(SHARES))
"""The same of the rows with the positions that the message index has reached."""
_TASKS = ("events", *(f"events/{share}" for share in range(1, SHARES)))
"""Tasks of ``leaderships``, by share."""
_ROWS = "tenant_id = $1 AND domain = '' AND hour = $2 AND outcome = ANY($3)"
_LEAD = """
INSERT INTO leaderships AS l (task, holder, expires_at)
SELECT task, $2, clock_timestamp() + make_interval(secs => $3) FROM unnest($1::text[]) AS task ORDER BY task
ON CONFLICT (task) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at
  WHERE l.holder = excluded.holder OR l.expires_at < clock_timestamp()
RETURNING task
"""
_LED_BY_OTHERS = """
SELECT task FROM leaderships WHERE task = ANY($1) AND holder <> $2 AND expires_at >= clock_timestamp()
"""
_LOCK = (
    f"SELECT outcome, messages, octets FROM statistics WHERE {_ROWS} ORDER BY outcome FOR UPDATE"
)
_BEGIN = """
INSERT INTO statistics (tenant_id, domain, hour, outcome) VALUES ($1, '', $2, $3) ON CONFLICT DO NOTHING
"""
_SET = """
INSERT INTO statistics (tenant_id, domain, hour, outcome, messages, octets)
SELECT $1, '', $2, outcome, reached, reached FROM unnest($3::text[], $4::bigint[]) AS new (outcome, reached)
ON CONFLICT (tenant_id, domain, hour, outcome)
   DO UPDATE SET messages = excluded.messages, octets = excluded.octets
"""
_ADD = """
INSERT INTO statistics AS s (tenant_id, domain, hour, outcome, messages, octets)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::text[], $5::bigint[], $6::bigint[])
ON CONFLICT (tenant_id, domain, hour, outcome)
   DO UPDATE SET messages = s.messages + excluded.messages, octets = s.octets + excluded.octets
"""


class PostgresEventCheckpoint:
    """The port EventCheckpoint over Postgres. Each instance is a separate candidate."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._holder = uuid4()

    async def lead(self, shares: Collection[int], seconds: float) -> frozenset[int]:
        """Become or stay the reader of shares; return those for which this was possible."""
        tasks = [_TASKS[share] for share in sorted(shares)]
        async with self._database.session() as connection:
            rows = await connection.fetch(_LEAD, tasks, self._holder, seconds)
        return frozenset(_TASKS.index(row["task"]) for row in rows)

    async def unled(self) -> frozenset[int]:
        """Return the shares that no other process reads."""
        async with self._database.session() as connection:
            rows = await connection.fetch(_LED_BY_OTHERS, _TASKS, self._holder)
        return frozenset(range(SHARES)) - {_TASKS.index(row["task"]) for row in rows}

    async def resign(self) -> None:
        """Resign from all shares."""
        async with self._database.session() as connection:
            await connection.execute(
                "DELETE FROM leaderships WHERE task = ANY($1) AND holder = $2", _TASKS, self._holder
            )

    async def positions(self, stream: datetime) -> Sequence[int]:
        """Return the positions reached in the stream, by share."""
        async with self._database.transaction() as connection:
            # one process at a time: that the rows are there is seen by the statement after the lock
            await connection.execute(_BEGIN, NO_TENANT, stream, _OUTCOMES[0])
            await connection.fetch(_LOCK, NO_TENANT, stream, _OUTCOMES[:1])
            rows = await connection.fetch(_LOCK, NO_TENANT, stream, _OUTCOMES)
            found = {row["outcome"]: row["messages"] for row in rows}
            whole = found[_OUTCOMES[0]]
            if len(found) == SHARES and all(row["messages"] == row["octets"] for row in rows):
                return [found[outcome] for outcome in _OUTCOMES]
            positions = [whole] * SHARES
            await connection.execute(
                "DELETE FROM statistics WHERE tenant_id = $1 AND domain = '' AND hour <> $2"
                " AND outcome = ANY($3)",
                *(NO_TENANT, stream, (*_OUTCOMES, *_INDEXED)),
            )
            await connection.execute(_SET, NO_TENANT, stream, _OUTCOMES, positions)
            return positions

    async def indexed(self, stream: datetime) -> Mapping[int, int]:
        """Return the positions that the message index has reached, by share."""
        query = f"SELECT outcome, messages FROM statistics WHERE {_ROWS}"
        async with self._database.session() as connection:
            rows = await connection.fetch(query, NO_TENANT, stream, _INDEXED)
        return {_INDEXED.index(row["outcome"]): row["messages"] for row in rows}

    async def listeners(self) -> Sequence[Webhook]:
        """Return the webhooks that receive events."""
        async with self._database.session() as connection:
            return [as_webhook(row) for row in await connection.fetch(LISTENING)]

    async def facts(
        self, queued: Sequence[UUID], sized: Sequence[UUID], domains: Sequence[str]
    ) -> Facts:
        """Return the requested facts only."""
        rows: defaultdict[UUID, list[Row]] = defaultdict(list)
        sizes: dict[UUID, int] = {}
        owners: dict[str, UUID] = {}
        since: dict[str, float] = {}
        async with self._database.session() as connection:
            if queued:
                query = (
                    "SELECT message_id, tenant_id, recipient, original, sender FROM outbound_recipients"
                    " WHERE message_id = ANY($1)"
                )
                for row in await connection.fetch(query, list(queued)):
                    rows[row["message_id"]].append(
                        Row(row["tenant_id"], row["recipient"], row["original"], row["sender"])
                    )
            if sized:
                query = "SELECT id, size_crlf FROM messages WHERE id = ANY($1)"
                sizes = {
                    row["id"]: row["size_crlf"]
                    for row in await connection.fetch(query, list(sized))
                }
            if domains:
                query = "SELECT name, tenant_id, verified_at FROM domains WHERE name = ANY($1) AND verified_at IS NOT NULL"
                found = await connection.fetch(query, [clean_text(name) for name in domains])
                owners = {row["name"]: row["tenant_id"] for row in found}
                since = {row["name"]: row["verified_at"].timestamp() for row in found}
        return Facts(rows, sizes, owners, since)

    async def write(
        self,
        stream: datetime,
        before: Mapping[int, int],
        after: Mapping[int, int],
        counts: Mapping[Slot, Count],
        deliveries: Sequence[NewDelivery],
        evaluations: Mapping[DmarcEvaluation, int] = MappingProxyType({}),
        indexed: Mapping[int, int] = MappingProxyType({}),
    ) -> bool:
        """Write a batch and the positions at its end."""
        async with self._database.transaction() as connection:
            if not await _move(connection, stream, before, after):
                return False
            if indexed:
                outcomes = [_INDEXED[share] for share in indexed]
                await connection.execute(_SET, NO_TENANT, stream, outcomes, list(indexed.values()))
            if counts:
                ordered = sorted(counts.items())
                await connection.execute(
                    _ADD,
                    [slot.tenant for slot, _ in ordered],
                    [clean_text(slot.domain) for slot, _ in ordered],
                    [slot.hour for slot, _ in ordered],
                    [slot.outcome for slot, _ in ordered],
                    [count.messages for _, count in ordered],
                    [count.octets for _, count in ordered],
                )
            if deliveries:
                await enter(connection, deliveries)
            await count_evaluations(connection, evaluations)
        return True


async def _move(
    connection: Connection, stream: datetime, before: Mapping[int, int], after: Mapping[int, int]
) -> bool:
    """Move the positions; False, with nothing moved, if one is not as it was."""
    outcomes = [_OUTCOMES[share] for share in before]
    rows = await connection.fetch(_LOCK, NO_TENANT, stream, outcomes)
    found = {row["outcome"]: (row["messages"], row["octets"]) for row in rows}
    if found != {_OUTCOMES[share]: (place, place) for share, place in before.items()}:
        return False
    places = [after[share] for share in before]
    await connection.execute(_SET, NO_TENANT, stream, outcomes, places)
    return True
