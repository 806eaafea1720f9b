"""The port ReportOutbox on Postgres."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date
from uuid import UUID, uuid4

from posthorn.adapters.postgres.database import Database, clean_text
from posthorn.adapters.postgres.leader import Leadership
from posthorn.adapters.postgres.reports.forgetting import forget
from posthorn.model.verdict import ReportKind
from posthorn.ports.reports import DmarcDay, TlsDay
from posthorn.wire.foreign_address import canonical

_SIGNING = """
SELECT d.name, d.tenant_id FROM domains d
 WHERE d.name = ANY ($1::text[]) AND d.verified_at IS NOT NULL
   AND EXISTS (
       SELECT FROM dkim_keys k
        WHERE k.domain_id = d.id AND k.signs_from <= now() AND (k.signs_until IS NULL OR k.signs_until > now())
   )
 ORDER BY length(d.name) DESC LIMIT 1
"""
_TABLES = {ReportKind.DMARC: "dmarc_evaluations", ReportKind.TLS: "tls_outcomes"}
# a domain after the other by the primary key, however many rows each has
_DUE = """
WITH RECURSIVE named AS (
    (SELECT domain FROM {table} WHERE day = $1 ORDER BY domain LIMIT 1)
    UNION ALL
    SELECT (SELECT t.domain FROM {table} t WHERE t.day = $1 AND t.domain > named.domain ORDER BY t.domain LIMIT 1)
      FROM named WHERE named.domain IS NOT NULL
)
SELECT domain FROM named
 WHERE domain IS NOT NULL
   AND NOT EXISTS (SELECT FROM sent_reports s WHERE s.day = $1 AND s.kind = $2 AND s.domain = named.domain)
 LIMIT $3
"""
_DMARC_DAY = """
SELECT record, facts, sum(messages)::bigint AS messages FROM dmarc_evaluations
 WHERE day = $1 AND domain = $2 GROUP BY record, facts ORDER BY sum(messages) DESC, record, facts
"""
_TLS_DAY = """
SELECT policy_type, result_type, receiving_host, sessions FROM tls_outcomes
 WHERE day = $1 AND domain = $2 ORDER BY sessions DESC, policy_type, result_type, receiving_host
"""
_SUPPRESSED = "SELECT address FROM suppressions WHERE tenant_id = $1 AND address = ANY ($2::text[])"
_DONE = """
INSERT INTO sent_reports (day, kind, domain, destination, outcome, message_id)
SELECT $1, $2, $3, done.* FROM unnest($4::text[], $5::text[], $6::uuid[]) AS done
ON CONFLICT DO NOTHING
"""
_FORGET = (
    "dmarc_evaluations WHERE day < $1::date",
    "tls_outcomes WHERE day < $1::date",
    "sent_reports WHERE day < $1::date - 30",
)


class PostgresReportOutbox:
    """The port ReportOutbox. Each instance is a separate candidate for leadership."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._leadership = Leadership(database, "report outbox", uuid4())

    async def lead(self, seconds: float) -> bool:
        """Become or stay the only sender."""
        return await self._leadership.lead(seconds)

    async def signing_domain(self, hostname: str) -> tuple[str, UUID] | None:
        """Return the domain with DKIM keys that the host is in."""
        labels = hostname.lower().rstrip(".").split(".")
        names = [".".join(labels[place:]) for place in range(len(labels))]
        async with self._database.session() as connection:
            row = await connection.fetchrow(_SIGNING, names)
        return None if row is None else (row["name"], row["tenant_id"])

    async def due_domains(self, kind: ReportKind, day: date, limit: int) -> Sequence[str]:
        """Return domains for which nothing was done yet."""
        query = _DUE.format(table=_TABLES[kind])
        async with self._database.session() as connection:
            return [row["domain"] for row in await connection.fetch(query, day, kind.value, limit)]

    async def dmarc_day(self, day: date, domain: str) -> DmarcDay:
        """Return what was counted for a domain."""
        async with self._database.session() as connection:
            rows = await connection.fetch(_DMARC_DAY, day, domain)
        return DmarcDay(domain, [(row["record"], row["facts"], row["messages"]) for row in rows])

    async def tls_day(self, day: date, domain: str) -> TlsDay:
        """Return what was counted for a destination."""
        async with self._database.session() as connection:
            rows = await connection.fetch(_TLS_DAY, day, domain)
        return TlsDay(domain, [tuple(row) for row in rows])

    async def suppressed(self, tenant: UUID, addresses: Collection[str]) -> set[str]:
        """Return those of the addresses that are suppressed."""
        names = {clean_text(canonical(each)): each for each in addresses}
        async with self._database.session() as connection:
            rows = await connection.fetch(_SUPPRESSED, tenant, list(names))
        return {names[row["address"]] for row in rows}

    async def done(
        self,
        kind: ReportKind,
        day: date,
        domain: str,
        outcomes: Sequence[tuple[str, str, UUID | None]],
    ) -> None:
        """Record what was done."""
        columns = [list(column) for column in zip(*outcomes, strict=True)]
        async with self._database.session() as connection:
            await connection.execute(_DONE, day, kind.value, domain, *columns)

    async def forget(self, before: date, limit: int) -> int:
        """Delete some of what is old."""
        return await forget(self._database, _FORGET, before, limit)
