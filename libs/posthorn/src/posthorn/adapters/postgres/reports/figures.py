"""The port ReportFigures on Postgres."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from posthorn.adapters.postgres.access.listing import Listing, Order
from posthorn.adapters.postgres.access.tenant_scope import Scoped, one
from posthorn.adapters.postgres.database import Database, clean_text
from posthorn.ports.listing import Listed, ListQuery
from posthorn.ports.reports import DmarcFigure, Period, StoredComplaint, TlsFigure

_DOMAIN = Scoped("SELECT d.id FROM domains d WHERE {visible} AND d.name = $2")
_DMARC = """
SELECT source, reporter, is_believed, disposition, dkim_aligned, spf_aligned,
       least(sum(messages), 9223372036854775807)::bigint AS messages, min(day) AS first_day, max(day) AS last_day
  FROM dmarc_report_sources
 WHERE domain_id = $1 AND day BETWEEN $2 AND $3
 GROUP BY source, reporter, is_believed, disposition, dkim_aligned, spf_aligned
 ORDER BY sum(messages) DESC, source, reporter, is_believed, disposition, dkim_aligned, spf_aligned
 OFFSET $4 LIMIT $5
"""
_TLS = """
SELECT reporter, is_believed, policy_type, result_type, receiving_host,
       least(sum(sessions), 9223372036854775807)::bigint AS sessions, min(day) AS first_day, max(day) AS last_day
  FROM tls_report_results
 WHERE domain_id = $1 AND day BETWEEN $2 AND $3
 GROUP BY reporter, is_believed, policy_type, result_type, receiving_host
 ORDER BY result_type = '', sum(sessions) DESC, reporter, is_believed, policy_type, result_type, receiving_host
 OFFSET $4 LIMIT $5
"""
_COMPLAINTS = Listing(
    "complaints",
    "c",
    "c.*",
    orders={"created": Order("c.id", UUID)},
    searched=("c.recipient", "c.reporter"),
    owner="c.tenant_id = {}",
    newest_first=True,
)


class PostgresReportFigures:
    """The port ReportFigures."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def dmarc(
        self, tenant: UUID | None, domain: str, period: Period, offset: int, limit: int
    ) -> Sequence[DmarcFigure]:
        """Return figures of DMARC reports."""
        async with self._database.session() as connection:
            number = (await one(connection, tenant, _DOMAIN, clean_text(domain)))["id"]
            rows = await connection.fetch(_DMARC, number, period.first, period.last, offset, limit)
        return [DmarcFigure(**row) for row in rows]

    async def tls(
        self, tenant: UUID | None, domain: str, period: Period, offset: int, limit: int
    ) -> Sequence[TlsFigure]:
        """Return figures of TLS reports."""
        async with self._database.session() as connection:
            number = (await one(connection, tenant, _DOMAIN, clean_text(domain)))["id"]
            rows = await connection.fetch(_TLS, number, period.first, period.last, offset, limit)
        return [TlsFigure(**row) for row in rows]

    async def complaints(
        self, tenant: UUID | None, domain: str | None, asked: ListQuery
    ) -> Listed[StoredComplaint]:
        filters = [] if domain is None else [("c.domain = {}", clean_text(domain))]
        async with self._database.transaction() as connection:
            return await _COMPLAINTS.page(connection, tenant, asked, _as_complaint, filters=filters)


def _as_complaint(row: Any) -> StoredComplaint:
    return StoredComplaint(
        id=row["id"],
        message=row["message_id"],
        recipient=row["recipient"],
        domain=row["domain"],
        feedback_type=row["feedback_type"],
        reporter=row["reporter"],
        is_believed=row["is_believed"],
        is_suppressed=row["is_suppressed"],
        created_at=row["created_at"],
    )
