"""The port Statistics on Postgres."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from posthorn.adapters.postgres.access.tenant_scope import Scoped, found
from posthorn.adapters.postgres.database import Database
from posthorn.ports.statistics import NO_TENANT, Figure, Span
from posthorn.runtime.brakes import Brake

_AT_ONCE = 5000
_BRAKE = Brake("statistics", 0.05, 50_000)  # once an hour

_FORGET_TRIED = """
DELETE FROM statistics WHERE tenant_id = $1 AND domain <> '' AND hour < now() - interval '2 hours'
"""
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
_SERIES = Scoped(
    """
    WITH chosen AS MATERIALIZED (
        SELECT hour, CASE WHEN $6 THEN domain ELSE '' END AS domain, outcome, messages, octets FROM statistics s
         WHERE {visible} AND tenant_id <> '00000000-0000-0000-0000-000000000000' AND hour >= $3 AND hour < $4
           AND ($5::text IS NULL OR domain = $5)
    ), largest AS (
        SELECT domain FROM chosen GROUP BY domain ORDER BY sum(messages) DESC, domain LIMIT $7
    )
    SELECT date_trunc($2, hour, 'UTC') AS at, domain, outcome, sum(messages)::bigint AS messages, sum(octets)::bigint AS octets
      FROM chosen WHERE domain IN (SELECT domain FROM largest)
     GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
    """,
    "s.tenant_id",
)


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

    async def series(
        self, tenant: UUID | None, span: Span, *, by_domain: bool, most_domains: int
    ) -> Sequence[Figure]:
        """Return all figures, by time, domain and outcome."""
        values = (span.by, span.since, span.until, span.domain, by_domain, most_domains)
        async with self._database.session() as connection:
            return [Figure(*row) for row in await found(connection, tenant, _SERIES, *values)]

    async def forget(self, days: int) -> int:
        """Delete older rows, a part at a time, and no more than the brake allows: the next call
        continues."""
        async with self._database.session() as connection:
            await connection.execute(_FORGET_TRIED, NO_TENANT)
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
                    *(days, NO_TENANT, min(_AT_ONCE, most - total)),
                )
            number = int(gone.rpartition(" ")[2])
            total += number
            if number < _AT_ONCE and total < most:
                _BRAKE.holds(0, rows)
                return total
