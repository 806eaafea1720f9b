"""Statistics: how many messages, by hour, domain and outcome; and the book that is kept of the stream of events.

The stream is read by one process at a time. What a batch of it comes to, counts and deliveries of webhooks, is written in one
transaction with the place in the stream that was reached: a batch counts once, whoever is killed, and whoever reads beside.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from posthorn.ports.webhooks import NewDelivery, Webhook

ACCEPTED, DELIVERED, RELAYED, DEFERRED, BOUNCED, CANCELLED = (
    "accepted",
    "delivered",
    "relayed",
    "deferred",
    "bounced",
    "cancelled",
)
"""accepted: handed in by accounts; delivered: into mailboxes here; relayed: taken by a remote host; deferred: attempts that failed
for now; bounced and cancelled: recipients given up."""
KEPT_DAYS = 400
"""Days that statistics are kept."""


@dataclass(frozen=True, slots=True, order=True)
class Slot:
    """What is counted together."""

    tenant: UUID
    domain: str
    """Of the tenant; empty where no address of ours is named."""
    hour: datetime
    """UTC."""
    outcome: str


@dataclass(frozen=True, slots=True)
class Count:
    """How much."""

    messages: int
    """Messages; of all but accepted, recipients of messages."""
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
    """``tenant`` is the caller's, as in ``ports.administration``. Every method raises Unavailable."""

    async def figures(
        self, tenant: UUID | None, span: Span, after: tuple[datetime, str, str] | None, limit: int
    ) -> Sequence[Figure]:
        """List by time, domain and outcome, those after ``after``."""
        ...

    async def forget(self, days: int) -> int:
        """Remove what is older; returns how many rows."""
        ...


@dataclass(frozen=True, slots=True)
class Row:
    """A recipient in the outbound queue, as far as it tells whose an event is."""

    tenant: UUID | None
    recipient: str
    original: str
    sender: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What the store knows of a batch of events."""

    rows: Mapping[UUID, Sequence[Row]]
    """Recipients elsewhere, by message."""
    sizes: Mapping[UUID, int]
    """Octets of messages."""
    owners: Mapping[str, UUID]
    """Tenants of domains."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A part of the stream."""

    messages: Sequence[tuple[int, bytes]]
    """Sequence numbers and contents, in their order."""
    reached: int
    """The last sequence number that was read."""


class EventLog(Protocol):
    """The stream of events, in order. Every method raises Unavailable."""

    async def extent(self) -> tuple[datetime, int]:
        """Return when the stream was made, which tells one from another, and the last number on it."""
        ...

    async def after(self, place: int, seconds: float) -> Reading:
        """Return what comes after the place; wait for it that long, and then give nothing."""
        ...


class EventCheckpoint(Protocol):
    """What has been made of the stream. Every method raises Unavailable."""

    async def lead(self, seconds: float) -> bool:
        """Become or stay the one reader for that long; False while another is."""
        ...

    async def resign(self) -> None:
        """Let another one read from now on."""
        ...

    async def place(self, stream: datetime) -> int:
        """Return how far the stream has been read; 0: not at all."""
        ...

    async def listeners(self) -> Sequence[Webhook]:
        """Return the webhooks that are to be told of events now."""
        ...

    async def facts(self, queued: Sequence[UUID], sized: Sequence[UUID], domains: Sequence[str]) -> Facts:
        """Look up recipients of messages, sizes of messages, and whose domains are."""
        ...

    async def write(
        self,
        stream: datetime,
        before: int,
        reached: int,
        counts: Mapping[Slot, Count],
        deliveries: Sequence[NewDelivery],
    ) -> bool:
        """Write down a batch, all in one transaction. False, and nothing written, when another has read on from ``before``.

        Deliveries that are there already, and those of webhooks that are gone, are left out.
        """
        ...
