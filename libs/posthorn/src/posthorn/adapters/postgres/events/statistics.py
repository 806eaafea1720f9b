"""The ports Statistics and EventBook on Postgres.

The position in the stream is stored among the statistics, in a row without a tenant: ``hour`` is
when the stream was created, ``messages`` the sequence number reached. Writing a batch moves it from
its value when the batch was read, which only one of two readers can do.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from uuid import UUID, uuid4

from posthorn.adapters.postgres.access.tenant_scope import Scoped, found
from posthorn.adapters.postgres.database import Connection, Database, clean_text
from posthorn.adapters.postgres.events.webhooks import LISTENING, as_webhook, enter
from posthorn.adapters.postgres.leader import Leadership
from posthorn.adapters.postgres.reports.noting import count_evaluations
from posthorn.model.dmarc_evaluation import DmarcEvaluation
from posthorn.ports.statistics import Count, Facts, Figure, Row, Slot, Span
from posthorn.ports.webhooks import NewDelivery, Webhook
from posthorn.runtime.brakes import Brake

_NO_TENANT = UUID(int=0)
_POSITION = "place"
_OURS = "tenant_id = $1 AND domain = '' AND hour = $2 AND outcome = $3"
_AT_ONCE = 5000
_BRAKE = Brake("statistics", 0.05, 50_000)  # once an hour

_FIGURES = Scoped(
    """
    SELECT date_trunc($2, hour, 'UTC') AS at, domain, outcome, sum(messages)::bigint AS messages, sum(octets)::bigint AS octets
      FROM statistics s
     WHERE {visible} AND tenant_id <> '00000000-0000-0000-0000-000000000000' AND hour >= $3 AND hour < $4
       AND ($5::text IS NULL OR domain = $5)
     GROUP BY 1, 2, 3
    HAVING $6::timestamptz IS NULL OR (date_trunc($2, hour, 'UTC'), domain, outcome) > ($6, $7::text, $8::text)
     ORDER BY 1, 2, 3 LIMIT $9
    """,
    "s.tenant_id",
)
_ADD = """
INSERT INTO statistics AS s (tenant_id, domain, hour, outcome, messages, octets)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::text[], $5::bigint[], $6::bigint[])
ON CONFLICT (tenant_id, domain, hour, outcome)
   DO UPDATE SET messages = s.messages + excluded.messages, octets = s.octets + excluded.octets
"""


class PostgresStatistics:
    """The port Statistics over Postgres."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def figures(
        self, tenant: UUID | None, span: Span, after: tuple[datetime, str, str] | None, limit: int
    ) -> Sequence[Figure]:
        """List by time, domain and outcome."""
        values = (
            span.by,
            span.since,
            span.until,
            span.domain,
            *(after or (None, None, None)),
            limit,
        )
        async with self._database.session() as connection:
            return [Figure(*row) for row in await found(connection, tenant, _FIGURES, *values)]

    async def forget(self, days: int) -> int:
        """Delete older rows, a part at a time, and no more than the brake allows: the next call
        continues."""
        async with self._database.session() as connection:
            rows = int(await connection.fetchval("SELECT count(*) FROM statistics"))
        total, most = 0, _BRAKE.most(rows)
        while True:
            if total >= most:
                _BRAKE.holds(most + 1, rows)
                return total
            async with self._database.session() as connection:
                gone = await connection.execute(
                    "DELETE FROM statistics WHERE ctid = ANY (ARRAY(SELECT ctid FROM statistics"
                    " WHERE hour < now() - make_interval(days => $1) AND tenant_id <> $2 LIMIT $3))",
                    *(days, _NO_TENANT, min(_AT_ONCE, most - total)),
                )
            number = int(gone.rpartition(" ")[2])
            total += number
            if number < _AT_ONCE and total < most:
                _BRAKE.holds(0, rows)
                return total


class PostgresEventCheckpoint:
    """The port EventBook over Postgres. Each instance is a separate candidate for being the
    reader."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._leadership = Leadership(database, "events", uuid4())

    async def lead(self, seconds: float) -> bool:
        """Become or stay the only reader."""
        return await self._leadership.lead(seconds)

    async def resign(self) -> None:
        """Resign as the reader."""
        await self._leadership.resign()

    async def position(self, stream: datetime) -> int:
        """Return the position reached in the stream."""
        async with self._database.session() as connection:
            query = f"SELECT messages FROM statistics WHERE {_OURS}"
            return int(await connection.fetchval(query, _NO_TENANT, stream, _POSITION) or 0)

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
                query = "SELECT name, tenant_id FROM domains WHERE name = ANY($1)"
                found = await connection.fetch(query, [clean_text(name) for name in domains])
                owners = {row["name"]: row["tenant_id"] for row in found}
        return Facts(rows, sizes, owners)

    async def write(
        self,
        stream: datetime,
        before: int,
        reached: int,
        counts: Mapping[Slot, Count],
        deliveries: Sequence[NewDelivery],
        evaluations: Mapping[DmarcEvaluation, int] = MappingProxyType({}),
    ) -> bool:
        """Write a batch and the position at its end."""
        async with self._database.transaction() as connection:
            if not await _move(connection, stream, before, reached):
                return False
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


async def _move(connection: Connection, stream: datetime, before: int, reached: int) -> bool:
    """Move the position. That of a deleted stream is dropped with the first batch of its
    successor."""
    if not before:
        await connection.execute(
            "DELETE FROM statistics WHERE tenant_id = $1 AND domain = '' AND hour <> $2 AND outcome = $3",
            *(_NO_TENANT, stream, _POSITION),
        )
        await connection.execute(
            "INSERT INTO statistics (tenant_id, domain, hour, outcome) VALUES ($1, '', $2, $3) ON CONFLICT DO NOTHING",
            *(_NO_TENANT, stream, _POSITION),
        )
    query = f"UPDATE statistics SET messages = $5 WHERE {_OURS} AND messages = $4"
    return bool(
        await connection.execute(query, _NO_TENANT, stream, _POSITION, before, reached)
        == "UPDATE 1"
    )
