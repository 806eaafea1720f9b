"""The port ReportInbox on Postgres."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg

from posthorn.adapters.postgres.body_location import as_location
from posthorn.adapters.postgres.database import Connection, Database, clean_text
from posthorn.adapters.postgres.leader import Leadership
from posthorn.adapters.postgres.reports.forgetting import forget
from posthorn.model.verdict import ReportKind
from posthorn.ports.reports import KEPT_DAYS, MOST_ROWS, Complained, ReceivedReport, Stored
from posthorn.wire.foreign_address import canonical
from posthorn.wire.reports.abuse import Complaint
from posthorn.wire.reports.dmarc import DmarcReport
from posthorn.wire.reports.tls import TlsReport

_WAITING = """
SELECT r.message_id, r.tenant_id, r.kind, r.author, r.attempts, r.created_at,
       s.key, m.offset_octets, m.stored_octets, m.encoding, m.size_crlf, m.has_dot_lines
  FROM received_reports r
  LEFT JOIN messages m ON m.id = r.message_id
  LEFT JOIN segments s ON s.id = m.segment_id
 WHERE r.due_at <= now() ORDER BY r.due_at LIMIT $1
"""
_CLOSE = """
UPDATE received_reports SET state = $3, domain = $4, report_id = $5, detail = $6, due_at = NULL
 WHERE message_id = $1 AND tenant_id = $2 AND due_at IS NOT NULL
RETURNING 1
"""
_PUT_OFF = """
UPDATE received_reports SET attempts = attempts + 1, due_at = now() + make_interval(secs => $3)
 WHERE message_id = $1 AND tenant_id = $2
"""
# the operator's tenant receives the reports about everybody's domains
_OWN_DOMAINS = """
SELECT name, id FROM domains
 WHERE name = ANY ($2::text[])
   AND (tenant_id = $1 OR EXISTS (SELECT FROM domains c WHERE c.name = $3 AND c.tenant_id = $1))
"""
_ADD_SOURCES = """
INSERT INTO dmarc_report_sources AS f
       (domain_id, day, reporter, is_believed, source, disposition, dkim_aligned, spf_aligned, messages)
SELECT $1, $2, n.reporter, $3, n.source, n.disposition, n.dkim, n.spf, n.messages
  FROM unnest($4::text[], $5::text[], $6::text[], $7::boolean[], $8::boolean[], $9::bigint[])
       AS n (reporter, source, disposition, dkim, spf, messages)
ON CONFLICT ON CONSTRAINT dmarc_report_sources_pkey DO UPDATE SET messages = f.messages + excluded.messages
"""
_ADD_RESULTS = """
INSERT INTO tls_report_results AS f
       (domain_id, day, reporter, is_believed, policy_type, result_type, receiving_host, sessions)
SELECT $1, $2, n.reporter, $3, n.policy, n.result, n.host, n.sessions
  FROM unnest($4::text[], $5::text[], $6::text[], $7::text[], $8::bigint[])
       AS n (reporter, policy, result, host, sessions)
ON CONFLICT ON CONSTRAINT tls_report_results_pkey DO UPDATE SET sessions = f.sessions + excluded.sessions
"""
_ROOM = """
SELECT $3 - count(*) FROM (SELECT FROM {table} WHERE domain_id = $1 AND day = $2 LIMIT $3) AS kept
"""
# the message complained of is known by an id that its recipients and we alone know
_SENT = """
SELECT message_id, tenant_id, recipient, address, original, sender FROM outbound_recipients
 WHERE message_id = ANY ($1::uuid[]) AND tenant_id IS NOT NULL ORDER BY id LIMIT 1000
"""
_ADD_COMPLAINT = """
INSERT INTO complaints (id, tenant_id, message_id, recipient, domain, feedback_type, reporter, is_believed, is_suppressed)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING RETURNING 1
"""
_SUPPRESS = """
INSERT INTO suppressions (tenant_id, address, reason, source, message_id, complaint_id)
VALUES ($1, $2, $3, 'api', $4, $5) ON CONFLICT DO NOTHING
"""
_FORGET = (
    "dmarc_report_sources WHERE day < current_date - $1::integer",
    "tls_report_results WHERE day < current_date - $1::integer",
    "complaints WHERE created_at < now() - make_interval(days => $1)",
    "received_reports WHERE created_at < now() - make_interval(days => $1)",
)
_MOST_SHOWN = 200


class PostgresReportInbox:
    """The port ReportInbox. Each instance is a separate candidate for leadership.

    ``collector``: address that the operator has all domains name for reports, if there is one; its
    tenant may receive reports about every domain. ``sources``: domains of feedback loops whose
    complaints count for recipients of any domain.
    """

    def __init__(
        self, database: Database, collector: str | None = None, sources: Collection[str] = ()
    ) -> None:
        self._database = database
        self._sources = sources
        self._collector = (collector or "").rpartition("@")[2]
        self._leadership = Leadership(database, "report inbox", uuid4())

    async def lead(self, seconds: float) -> bool:
        """Become or stay the only worker."""
        return await self._leadership.lead(seconds)

    async def waiting(self, limit: int) -> Sequence[ReceivedReport]:
        """Return reports that are due, the oldest first."""
        async with self._database.session() as connection:
            return [_received(row) for row in await connection.fetch(_WAITING, limit)]

    async def store_dmarc(self, received: ReceivedReport, report: DmarcReport) -> Stored:
        """Add the figures of an aggregate report."""
        domain, day = report.policy.domain, _day(report.begin, received.received_at)
        if day is None:
            return await self._failed(received, "the report is about days long past")
        counts: Counter[tuple[str, str, str, bool, bool]] = Counter()
        reporter = _reporter(received, report.reporter)
        for record in report.records:
            key = (
                reporter,
                record.source,
                record.disposition,
                record.dkim == "pass",
                record.spf == "pass",
            )
            counts[key] += record.count
        try:
            async with self._database.transaction() as connection:
                owned = await self._owned(connection, received.tenant, [domain])
                if domain not in owned:
                    return await self._close_failed(
                        connection, received, f"{domain[:100]} is not a domain of this tenant"
                    )
                if not await _close(connection, received, Stored.READ, domain, report.report_id):
                    return Stored.DUPLICATE
                room = await _room(connection, "dmarc_report_sources", owned[domain], day)
                rows = _folded(counts, room, lambda key: ("", "", *key[2:]))
                await connection.execute(
                    _ADD_SOURCES, owned[domain], day, bool(received.author), *_columns(rows, 6)
                )
        except asyncpg.UniqueViolationError:
            return await self._duplicate(received)
        return Stored.READ

    async def store_tls(self, received: ReceivedReport, report: TlsReport) -> Stored:
        """Add the figures of a TLS report."""
        day = _day(report.begin, received.received_at)
        if day is None:
            return await self._failed(received, "the report is about days long past")
        reporter = _reporter(received, report.organization)
        counts: dict[str, Counter[tuple[str, str, str, str]]] = {}
        for policy in report.policies:
            found = counts.setdefault(policy.domain, Counter())
            kind = policy.type[:50]
            if policy.successes:
                found[reporter, kind, "", ""] += policy.successes
            known = 0
            for detail in policy.details:
                result = (detail.result_type or "unknown")[:100]
                found[reporter, kind, result, detail.receiving_host[:255].lower()] += (
                    detail.sessions
                )
                known += detail.sessions
            if policy.failures > known:
                found[reporter, kind, "unknown", ""] += policy.failures - known
        try:
            async with self._database.transaction() as connection:
                owned = await self._owned(connection, received.tenant, list(counts))
                if not owned:
                    return await self._close_failed(
                        connection, received, "it is about no domain of this tenant"
                    )
                names = " ".join(sorted(owned))[:500]
                if not await _close(connection, received, Stored.READ, names, report.report_id):
                    return Stored.DUPLICATE
                for name in sorted(owned):
                    room = await _room(connection, "tls_report_results", owned[name], day)
                    rows = _folded(
                        counts[name],
                        room,
                        lambda key: ("", "", "unknown" if key[2] else "", ""),
                    )
                    await connection.execute(
                        _ADD_RESULTS, owned[name], day, bool(received.author), *_columns(rows, 5)
                    )
        except asyncpg.UniqueViolationError:
            return await self._duplicate(received)
        return Stored.READ

    async def store_complaint(
        self, received: ReceivedReport, complaint: Complaint
    ) -> Complained | None:
        """Store a complaint, and suppress its recipient if that is sure."""
        named = [clean_text(canonical(each)) for each in complaint.recipients]
        async with self._database.transaction() as connection:
            sent = await connection.fetch(_SENT, list(complaint.messages))
            row = _complained_of(sent, named) if received.author else None
            is_sure = row is not None and self._speaks_for(received.author, row["address"], sent)
            tenant = received.tenant if row is None else row["tenant_id"]
            shown = (named[0] if named else "") if row is None else row["address"]
            sender = complaint.reverse_path if row is None else row["sender"]
            message = None if row is None else row["message_id"]
            made = await connection.fetchval(
                _ADD_COMPLAINT,
                received.message,
                tenant,
                message,
                shown[:_MOST_SHOWN],
                clean_text(sender.rpartition("@")[2].lower() or complaint.reported_domain)[:255],
                clean_text(complaint.feedback_type)[:50],
                clean_text(_reporter(received, complaint.user_agent)),
                bool(received.author),
                is_sure,
            )
            await _close(connection, received, Stored.READ, "", "")
            if not made:
                return None
            if is_sure:
                reason = f"a complaint ({complaint.feedback_type[:50]}) from {received.author}"
                await connection.execute(
                    _SUPPRESS, tenant, shown, clean_text(reason), message, received.message
                )
        original = "" if row is None else row["original"]
        recipient = shown if row is None else row["recipient"]
        return Complained(message, tenant, recipient, original, is_sure)

    def _speaks_for(self, author: str, address: str, sent: Sequence[Any]) -> bool:
        """Return whether a complaint of an author may come of a recipient: of the only one, or one of
        its domain. Others who got the message know its id too."""
        domain = address.rpartition("@")[2]
        return (
            len({row["address"] for row in sent}) == 1
            or author in self._sources
            or f".{author}".endswith(f".{domain}")
            or f".{domain}".endswith(f".{author}")
        )

    async def fail(self, received: ReceivedReport, detail: str) -> None:
        """Record why the report cannot be read."""
        await self._failed(received, detail)

    async def put_off(self, received: ReceivedReport, seconds: float) -> None:
        """Try again later."""
        async with self._database.session() as connection:
            await connection.execute(_PUT_OFF, received.message, received.tenant, seconds)

    async def forget(self, days: int, limit: int) -> int:
        """Delete some of what is old."""
        return await forget(self._database, _FORGET, days, limit)

    async def _owned(
        self, connection: Connection, tenant: UUID, names: Sequence[str]
    ) -> dict[str, int]:
        cleaned = [clean_text(name) for name in names]
        rows = await connection.fetch(_OWN_DOMAINS, tenant, cleaned, self._collector)
        return {row["name"]: row["id"] for row in rows}

    async def _failed(self, received: ReceivedReport, detail: str) -> Stored:
        async with self._database.session() as connection:
            return await self._close_failed(connection, received, detail)

    async def _close_failed(
        self, connection: Connection, received: ReceivedReport, detail: str
    ) -> Stored:
        await _close(connection, received, Stored.FAILED, "", "", detail)
        return Stored.FAILED

    async def _duplicate(self, received: ReceivedReport) -> Stored:
        async with self._database.session() as connection:
            await _close(connection, received, Stored.DUPLICATE, "", "")
        return Stored.DUPLICATE


def _received(row: Any) -> ReceivedReport:
    return ReceivedReport(
        message=row["message_id"],
        tenant=row["tenant_id"],
        kind=ReportKind(row["kind"]),
        author=row["author"],
        attempts=row["attempts"],
        received_at=row["created_at"],
        location=None if row["key"] is None else as_location(row),
    )


async def _close(
    connection: Connection,
    received: ReceivedReport,
    state: Stored,
    domain: str,
    report_id: str,
    detail: str = "",
) -> bool:
    """Finish a report; False if that was done before."""
    return bool(
        await connection.fetchval(
            _CLOSE,
            received.message,
            received.tenant,
            state.value,
            clean_text(domain)[:500],
            clean_text(report_id)[:500],
            clean_text(detail)[:500],
        )
    )


async def _room(connection: Connection, table: str, domain: int, day: date) -> int:
    room = await connection.fetchval(_ROOM.format(table=table), domain, day, MOST_ROWS)
    return max(0, int(room))


def _folded[Key: Hashable](
    counts: Mapping[Key, int], room: int, rest_of: Any
) -> list[tuple[Any, ...]]:
    """Return rows of keys and counts, the largest first; those beyond the room are added up."""
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    folded: Counter[Any] = Counter(dict(ordered[:room]))
    for key, number in ordered[room:]:
        folded[rest_of(key)] += number
    return [(*key, min(number, 2**62)) for key, number in folded.items()]


def _columns(rows: Sequence[tuple[Any, ...]], width: int) -> list[list[Any]]:
    cleaned = [
        tuple(clean_text(value) if isinstance(value, str) else value for value in row)
        for row in rows
    ]
    return [list(column) for column in zip(*cleaned, strict=True)] or [[] for _ in range(width)]


def _reporter(received: ReceivedReport, named: str) -> str:
    """Return the author's domain if it is known; else the name that the report gives itself."""
    return (received.author or clean_text(named))[:100]


def _day(begin: int, received_at: datetime) -> date | None:
    """Return the day (UTC) that a report is about, not later than its arrival; None if it is too
    long ago to be kept."""
    arrived = received_at.astimezone(UTC)
    if begin <= 0 or begin > arrived.timestamp():
        return arrived.date()
    day = datetime.fromtimestamp(begin, UTC).date()
    return day if day > arrived.date() - timedelta(days=KEPT_DAYS) else None


def _complained_of(sent: Sequence[Any], named: Sequence[str]) -> Any | None:
    """Return the row of the message that was complained of: of a recipient that is named; or the
    only one, if nobody is named, or an address at its domain that may be disguised."""
    for address in named:
        for row in sent:
            if row["address"] == address or row["original"] == address:
                return row
    if len({row["address"] for row in sent}) != 1:
        return None
    domain = sent[0]["address"].rpartition("@")[2]
    is_there = any(each.rpartition("@")[2] == domain for each in named)
    return sent[0] if is_there or not named else None
