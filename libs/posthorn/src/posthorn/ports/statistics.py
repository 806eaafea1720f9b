"""Statistics: numbers of messages, by hour, domain and outcome; attempts by route; and the
checkpoint of the event stream.

Each share of the stream's events is read by one process at a time. The results of a batch, counts
and deliveries of webhooks, are written in one transaction with the positions reached in the stream:
a batch counts once, even when a reader is killed or two read concurrently.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol
from uuid import UUID

from posthorn.model.dmarc_evaluation import DmarcEvaluation
from posthorn.ports.webhooks import NewDelivery, Webhook

ACCEPTED, DELIVERED, RELAYED, DEFERRED, BOUNCED, CANCELLED = (
    "accepted",
    "delivered",
    "relayed",
    "deferred",
    "bounced",
    "cancelled",
)
"""accepted: submitted by accounts; delivered: into mailboxes here; relayed: accepted by a remote
host; deferred: attempts that failed transiently; bounced and cancelled: recipients given up."""
REFUSED, QUARANTINED, JUNK = "refused", "quarantined", "junk"
"""refused: at SMTP, permanently; quarantined: withheld; junk: filed in Junk. Each with its reason."""
BY = "/"
"""Stands between one of these and its reason in an outcome, as in ``refused/dmarc``."""
KEPT_DAYS = 400
"""Days for which statistics are kept."""
NO_TENANT = UUID(int=0)
"""Of counters that are no statistics of a tenant: attempts by route, and positions in the stream."""
TRIED_DELIVERED, TRIED_DEFERRED, TRIED_REFUSED = (
    "tried/delivered",
    "tried/deferred",
    "tried/refused",
)
"""Recipients tried by a route: slots of ``NO_TENANT`` with the domain of the route, which begin every
``TRIED_SECONDS``. They are kept for two hours."""
TRIED_SECONDS = 300


@dataclass(frozen=True, slots=True, order=True)
class Slot:
    """Key of a counter."""

    tenant: UUID
    domain: str
    """Local domain of the tenant; empty where no local address is named."""
    hour: datetime
    """Its start (UTC)."""
    outcome: str


@dataclass(frozen=True, slots=True)
class Count:
    """How much."""

    messages: int
    """Messages; for all but accepted, recipients of messages."""
    octets: int


@dataclass(frozen=True, slots=True)
class Figure:
    """A line of the statistics."""

    at: datetime
    """When the hour or day begins."""
    domain: str
    outcome: str
    messages: int
    octets: int


@dataclass(frozen=True, slots=True)
class Span:
    """Which figures."""

    domain: str | None
    """None: of all."""
    since: datetime
    until: datetime
    """Not included."""
    by: str
    """``hour`` or ``day`` (UTC)."""


class Statistics(Protocol):
    """``tenant`` is the caller's, as in ``ports.administration``. Every method raises
    Unavailable."""

    async def figures(
        self, tenant: UUID | None, span: Span, after: tuple[datetime, str, str] | None, limit: int
    ) -> Sequence[Figure]:
        """List by time, domain and outcome, those after ``after``."""
        ...

    async def series(
        self, tenant: UUID | None, span: Span, *, by_domain: bool, most_domains: int
    ) -> Sequence[Figure]:
        """Return all figures, by time, domain and outcome; the domain is empty unless
        ``by_domain``: then those of the domains with the most messages."""
        ...

    async def forget(self, days: int) -> int:
        """Delete older rows; return how many."""
        ...


@dataclass(frozen=True, slots=True)
class Row:
    """A recipient in the outbound queue, with what identifies the owner of an event."""

    tenant: UUID | None
    recipient: str
    original: str
    sender: str


@dataclass(frozen=True, slots=True)
class Facts:
    """Facts from the store about a batch of events."""

    rows: Mapping[UUID, Sequence[Row]]
    """Recipients elsewhere, by message."""
    sizes: Mapping[UUID, int]
    """Sizes of messages in bytes."""
    owners: Mapping[str, UUID]
    """Tenants of domains whose ownership is verified: to name a domain shows nobody's mail."""
    owned_since: Mapping[str, float] = field(default_factory=dict)
    """When it was verified, in seconds since the epoch: what was before is of an owner before."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A part of the stream."""

    messages: Sequence[tuple[int, bytes]]
    """Sequence numbers and contents, in their order."""
    reached: int
    """The last sequence number that was read."""
    more: bool = False
    """Whether others wait behind it."""


class EventLog(Protocol):
    """The stream of events, in order. Every method raises Unavailable."""

    async def extent(self) -> tuple[datetime, int]:
        """Return when the stream was created, which identifies it, and its last sequence number."""
        ...

    async def after(self, position: int, seconds: float) -> Reading:
        """Return the events after the position; wait for them for so many seconds, then return
        none."""
        ...


class EventCheckpoint(Protocol):
    """The checkpoint in the stream, for each share of its events (``model.events.share_of``).
    Every method raises Unavailable."""

    async def lead(self, shares: Collection[int], seconds: float) -> frozenset[int]:
        """Become or stay the only reader of shares for so many seconds; return those for which
        no other process is."""
        ...

    async def unled(self) -> frozenset[int]:
        """Return the shares that no other process reads."""
        ...

    async def resign(self) -> None:
        """Resign as the reader of all shares."""
        ...

    async def positions(self, stream: datetime) -> Sequence[int]:
        """Return the positions reached in the stream, by share; 0: none."""
        ...

    async def listeners(self) -> Sequence[Webhook]:
        """Return the webhooks that receive events now."""
        ...

    async def indexed(self, stream: datetime) -> Mapping[int, int]:
        """Return up to where the message index holds the events, by share; none of a share that was
        not written yet."""
        ...

    async def facts(
        self, queued: Sequence[UUID], sized: Sequence[UUID], domains: Sequence[str]
    ) -> Facts:
        """Return recipients of messages, sizes of messages, and tenants of domains."""
        ...

    async def write(
        self,
        stream: datetime,
        before: Mapping[int, int],
        after: Mapping[int, int],
        counts: Mapping[Slot, Count],
        deliveries: Sequence[NewDelivery],
        evaluations: Mapping[DmarcEvaluation, int] = ...,
        indexed: Mapping[int, int] = ...,
    ) -> bool:
        """Write the results of a batch, all in one transaction. False, with nothing written, when
        another reader has moved one of the shares on from ``before``. ``after``: the positions of
        the same shares at the end of the batch. ``evaluations``: numbers of refused messages that
        are counted for DMARC reports. ``indexed``: up to where the message index holds the events of
        shares.

        Existing deliveries, and those of deleted webhooks, are left out.
        """
        ...
