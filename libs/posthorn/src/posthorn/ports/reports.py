"""Automatic reports: those that mailboxes received, the figures that come of them, and those that
are sent.

A report is believed only if the message that brought it passed DMARC: then its reporter is the
author's domain. Others are kept with that mark, under the name that they give themselves.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Any, Protocol
from uuid import UUID

from posthorn.model.blob_range import BodyLocation
from posthorn.model.verdict import ReportKind
from posthorn.ports.listing import Listed, ListQuery
from posthorn.wire.reports.abuse import Complaint
from posthorn.wire.reports.dmarc import DmarcReport
from posthorn.wire.reports.tls import TlsReport

KEPT_DAYS = 400
"""Days that figures and complaints are kept."""
MOST_ROWS = 5000
"""Rows of figures of a domain and day; what goes beyond is added to rows without source and
reporter."""


class Stored(StrEnum):
    """What became of a report."""

    READ = "read"
    DUPLICATE = "duplicate"
    """A report with this id was read before."""
    FAILED = "failed"
    """It cannot be read, or is about nothing of ours."""


@dataclass(frozen=True, slots=True)
class ReceivedReport:
    """A message with a report that waits to be read."""

    message: UUID
    tenant: UUID
    """Tenant of the mailbox that received it."""
    kind: ReportKind
    author: str
    """Domain that the message is shown to be from; empty: it is not believed."""
    attempts: int
    received_at: datetime
    location: BodyLocation | None
    """None when the body does not exist any more."""


@dataclass(frozen=True, slots=True)
class Complained:
    """A complaint that was stored."""

    message: UUID | None
    """The message complained of, if it is one that we sent."""
    tenant: UUID
    recipient: str
    original: str
    """The alias that forwarded it, if one did."""
    is_suppressed: bool
    """The recipient is on the suppression list now."""


class ReportInbox(Protocol):
    """Received reports, as the worker uses them. Every method raises Unavailable."""

    async def lead(self, seconds: float) -> bool:
        """Become or stay the only worker for so many seconds; False while another is."""
        ...

    async def waiting(self, limit: int) -> Sequence[ReceivedReport]:
        """Return reports that are due, the oldest first."""
        ...

    async def store_dmarc(self, received: ReceivedReport, report: DmarcReport) -> Stored:
        """Add the figures of an aggregate report to those of its domain, if it is one of the
        tenant's."""
        ...

    async def store_tls(self, received: ReceivedReport, report: TlsReport) -> Stored:
        """Add the figures of a TLS report to those of its domains that are the tenant's."""
        ...

    async def store_complaint(
        self, received: ReceivedReport, complaint: Complaint
    ) -> Complained | None:
        """Store a complaint; None when it was stored before.

        If it is believed, and names a message that was sent to a recipient for whom its author may
        speak, that recipient is suppressed for the tenant that sent it.
        """
        ...

    async def fail(self, received: ReceivedReport, detail: str) -> None:
        """Record that the report cannot be read, and why."""
        ...

    async def put_off(self, received: ReceivedReport, seconds: float) -> None:
        """Try again later: the body cannot be read now."""
        ...

    async def forget(self, days: int, limit: int) -> int:
        """Delete some of what is older than that many days; return the number of rows."""
        ...


@dataclass(frozen=True, slots=True)
class DmarcFigure:
    """What DMARC reports of a period say of one source."""

    source: str
    """IP address; empty: the rest, beyond the limit of rows."""
    reporter: str
    is_believed: bool
    disposition: str
    dkim_aligned: bool
    spf_aligned: bool
    messages: int
    first_day: date
    last_day: date


@dataclass(frozen=True, slots=True)
class TlsFigure:
    """What TLS reports of a period say of one kind of result."""

    reporter: str
    is_believed: bool
    policy_type: str
    result_type: str
    """Empty: sessions that succeeded."""
    receiving_host: str
    sessions: int
    first_day: date
    last_day: date


@dataclass(frozen=True, slots=True)
class StoredComplaint:
    """A complaint, as the API shows it."""

    id: UUID
    message: UUID | None
    recipient: str
    domain: str
    feedback_type: str
    reporter: str
    is_believed: bool
    is_suppressed: bool
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Period:
    """Days, both included."""

    first: date
    last: date


class ReportFigures(Protocol):
    """Figures for the API; ``tenant`` as in ``ports.administration``. Raises NotFound for a domain
    that is not the tenant's, and Unavailable."""

    async def dmarc(
        self, tenant: UUID | None, domain: str, period: Period, offset: int, limit: int
    ) -> Sequence[DmarcFigure]:
        """Return figures, those with the most messages first."""
        ...

    async def tls(
        self, tenant: UUID | None, domain: str, period: Period, offset: int, limit: int
    ) -> Sequence[TlsFigure]:
        """Return figures, failures first, then those with the most sessions."""
        ...

    async def complaints(
        self, tenant: UUID | None, domain: str | None, asked: ListQuery
    ) -> Listed[StoredComplaint]:
        """Return a page of complaints, about senders of one domain or of all, the newest first.
        Orders: ``created``. Searched: recipient and reporter. Raises ValidationFailed."""
        ...


@dataclass(frozen=True, slots=True)
class DmarcDay:
    """What was counted on a day for one domain: (record, facts, messages), those with the most
    messages first."""

    domain: str
    rows: Sequence[tuple[str, dict[str, Any], int]]


@dataclass(frozen=True, slots=True)
class TlsDay:
    """What was counted on a day for one destination: (policy type, result type, host, sessions)."""

    domain: str
    rows: Sequence[tuple[str, str, str, int]]


@dataclass(frozen=True, slots=True)
class TlsOutcome:
    """How a session with a host of a destination was secured."""

    domain: str
    """The destination."""
    policy_type: str
    """``sts``, ``tlsa`` or ``no-policy-found`` (RFC 8460 §4.3)."""
    result_type: str
    """Empty: as the policy demands; else why not."""
    receiving_host: str


class TlsOutcomes(Protocol):
    """Where relays count outcomes of TLS."""

    async def add(self, counts: Mapping[TlsOutcome, int]) -> None:
        """Add to the counts of today. Raises Unavailable."""
        ...


class ReportOutbox(Protocol):
    """What is sent in reports. Every method raises Unavailable."""

    async def lead(self, seconds: float) -> bool:
        """Become or stay the only sender for so many seconds; False while another is."""
        ...

    async def signing_domain(self, hostname: str) -> tuple[str, UUID] | None:
        """Return the verified domain with DKIM keys that the host's name is, or is under, and its
        tenant."""
        ...

    async def due_domains(self, kind: ReportKind, day: date, limit: int) -> Sequence[str]:
        """Return domains with figures of that day for which nothing was done yet."""
        ...

    async def dmarc_day(self, day: date, domain: str) -> DmarcDay:
        """Return what was counted for a domain."""
        ...

    async def tls_day(self, day: date, domain: str) -> TlsDay:
        """Return what was counted for a destination."""
        ...

    async def suppressed(self, tenant: UUID, addresses: Collection[str]) -> set[str]:
        """Return those of the addresses that mail was refused for, or that are on the list for
        another reason."""
        ...

    async def done(
        self,
        kind: ReportKind,
        day: date,
        domain: str,
        outcomes: Sequence[tuple[str, str, UUID | None]],
    ) -> None:
        """Record (destination, outcome, message) of a domain's day; without a destination it is
        empty."""
        ...

    async def forget(self, before: date, limit: int) -> int:
        """Delete some counts of days before that, and records of reports sent 30 days earlier;
        return the number of rows."""
        ...
