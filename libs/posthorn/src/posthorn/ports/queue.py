"""The outbound queue, as the relay uses it.

Words:

- A *destination* is the domain of a recipient. Its row knows when the earliest of its recipients is
  due, so that a destination with a million waiting recipients costs one row to look at.
- A *next hop* is what limits apply to: the destination itself, or the host and port of the smart
  host that its route names. Connections, message rate and the closed state belong to a next hop
  and are shared by all relays.
- A *slot* is the right to hold one connection to a next hop. It belongs to one relay and is freed
  when that relay is reaped.
- A relay lives as long as it sends heartbeats. What a dead relay had claimed is queued again.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol
from uuid import UUID

from posthorn.model.blob_range import BodyLocation
from posthorn.model.outbound import Notify, QueueState
from posthorn.ports.managers import ManagedBy
from posthorn.wire.message.dsn import Action

ALIVE_SECONDS = 20.0
"""How long a relay counts as alive after a heartbeat."""
RENEW_SECONDS = 5.0
"""Interval between two heartbeats."""
TRANSACTION_RECIPIENTS = 100
"""Recipients of one transaction: the number every host must accept (RFC 5321 §4.5.3.1.8)."""


@dataclass(frozen=True, slots=True)
class Attempts:
    """Numbers of recipients tried, by the result."""

    delivered: int = 0
    deferred: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True)
class Route:
    """How mail for a destination is sent. The domain ``*`` covers all without their own route."""

    domain: str
    host: str | None = None
    """Smart host (name or IP address); None: the destination's MX, with the limits below."""
    port: int | None = None
    """None: 25 or the port of the settings; 465 for implicit TLS."""
    tls: str = "opportunistic"
    """``none``; ``opportunistic``; ``required`` (STARTTLS, unverified); ``verified`` (STARTTLS with
    certificate and name verified); ``implicit`` (TLS from the first byte, verified)."""
    username: str | None = None
    password: bytes | None = None
    """Encrypted by ``runtime.secret_box`` with the context ``route:<domain>``."""
    connections: int | None = None
    """Limit of concurrent connections of all relays; None: the limit of the settings."""
    messages_per_minute: int | None = None
    managed_by: ManagedBy | None = None
    last_hour: Attempts = Attempts()
    """Attempts by this route; none in a route that was just created, or that the relay reads."""
    version: str = field(default="", compare=False)
    """Empty in a route that the relay reads."""

    @property
    def next_hop(self) -> str | None:
        """Key of the smart host as next hop; None without a smart host."""
        return (
            f"[{self.host}]:{self.port or (465 if self.tls == 'implicit' else 25)}"
            if self.host
            else None
        )


@dataclass(frozen=True, slots=True)
class Due:
    """A destination with recipients that are due."""

    destination: str
    route: Route | None

    @property
    def next_hop(self) -> str:
        """Key of the next hop that serves the destination."""
        return (self.route and self.route.next_hop) or self.destination


@dataclass(frozen=True, slots=True)
class Job:
    """One claimed recipient.

    Jobs of one message at one destination with one reverse-path share a transaction.
    """

    id: int
    message: UUID
    recipient: str
    reverse_path: str
    sender: str
    """The reverse-path the message arrived with: who receives DSNs; empty: nobody."""
    original: str
    orcpt: str
    notify: Notify
    attempts: int
    """Attempts made before this one."""
    created_at: datetime
    expires_at: datetime
    suppressed: bool
    """The address is on its tenant's suppression list and is not tried."""
    smtputf8: bool
    ret: str
    """RFC 3461 RET: ``FULL``, ``HDRS`` or empty."""
    envid: str
    signature: str
    """DKIM fields, with their line ends, to put before the message; may be empty."""
    location: BodyLocation
    return_path_octets: int
    """Bytes at the start of the body to leave out (the Return-Path line)."""
    tenant: UUID | None
    header: str = ""
    """Fields, with line ends, to put before everything else: those of the alias that forwards
    (``wire.passed``)."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The result of a claim."""

    slot: UUID | None
    """The slot held; None: the next hop is closed or has no free slot, or nothing is due."""
    jobs: Sequence[Job]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the queue records for a job."""

    job: int
    state: QueueState
    """DELIVERED, BOUNCED, DEFERRED (due after ``retry_in``), or QUEUED: released without
    counting an attempt; with ``retry_in`` it is due only then, and ``status`` and ``reply`` say
    why."""
    retry_in: float = 0.0
    """Seconds from now."""
    host: str = ""
    status: str = ""
    reply: str = ""
    tls: str = ""
    notice: Action | None = None
    """The DSN to send; None: none."""
    suppress: str = ""
    """Not empty: put the address on the suppression list, for this reason."""


SUSPENDED_REPLY = (
    "the tenant or the account it is sent for is suspended; it goes on when that is active again"
)
"""Reply shown for a recipient that a suspension holds."""


EXPIRED = "4.4.7"
"""Status of an expired recipient: delivery time expired (RFC 3463 §3.5)."""


@dataclass(frozen=True, slots=True)
class Expired:
    """A recipient that expired."""

    message: UUID
    recipient: str
    original: str
    host: str
    """Remote host of the last attempt, whose reply follows."""
    reply: str


@dataclass(frozen=True, slots=True)
class Swept:
    """Result of a sweep for overdue recipients."""

    count: int
    """Recipients expired or marked as delayed."""
    expired: Sequence[Expired]


@dataclass(frozen=True, slots=True)
class PendingRecipient:
    """A recipient that a pending DSN reports."""

    id: int
    recipient: str
    original: str
    orcpt: str
    notice: Action
    attempts: int
    last_attempt_at: datetime | None
    last_host: str
    last_status: str
    last_reply: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class PendingDsn:
    """The delivery status notification due for one message and sender."""

    message: UUID
    sender: str
    ret: str
    envid: str
    smtputf8: bool
    received_at: datetime
    tenant: UUID | None
    location: BodyLocation
    return_path_octets: int
    recipients: Sequence[PendingRecipient]
    is_known: bool = True
    """The message was submitted by an authenticated account."""
    network: str = ""
    """Client network of a message that was not."""


class Queue(Protocol):
    """The queue as the relay uses it. Every method raises Unavailable for faults of the store."""

    async def heartbeat(self, relay: UUID) -> bool:
        """Record that the relay is alive.

        False: the relay was reaped and what it had claimed is queued again; it must drop all of it
        and continue under a new id.
        """
        ...

    async def leave(self, relay: UUID) -> None:
        """Release everything the relay has claimed, and its slots. Its id is used up."""
        ...

    async def reap(self) -> int:
        """Queue again what dead relays had claimed and free their slots; return the number of
        recipients."""
        ...

    async def due(self, limit: int) -> Sequence[Due]:
        """Return destinations with something due whose next hop is not closed, the longest
        waiting first."""
        ...

    async def claim(
        self,
        relay: UUID,
        due: Due,
        slot: UUID | None,
        connections: int,
        per_minute: int | None,
        limit: int,
        together: int = 0,
    ) -> Claim:
        """Claim what is due at the destination, oldest first.

        At most ``limit`` recipients, those of one message together as far as the limit goes; beyond
        it further recipients of these messages while there are fewer than ``together`` in all. A
        next hop that has failed gives none of these further ones.

        Without a ``slot`` one is taken first, if the next hop is not closed and has fewer than
        ``connections``. When nothing is due the slot is freed and the destination learns when it is
        due next. ``per_minute`` limits the messages to the next hop.
        """
        ...

    async def free_slot(self, relay: UUID, slot: UUID) -> None:
        """Free a slot."""
        ...

    async def record(self, relay: UUID, outcomes: Sequence[Outcome]) -> set[int]:
        """Record outcomes in one transaction; return the ids of the jobs that this relay still
        held.

        The reference to the message's body is released with its last open recipient.
        """
        ...

    async def close_next_hop(self, next_hop: str, seconds: float, host: str, reply: str) -> int:
        """Send nothing to this next hop for so many seconds, since its host is down.

        Return how many times in a row it has been closed.
        """
        ...

    async def open_next_hop(self, next_hop: str) -> None:
        """Record that the next hop works again."""
        ...

    async def sweep_overdue(self, delay_notices: bool, limit: int) -> Swept:
        """End expired recipients (BOUNCED, 4.4.7, DSN failed) and mark late ones (DSN delayed).

        Never both for one recipient at the same time; a null reverse-path gets no DSN.
        """
        ...

    async def resume(self, limit: int) -> int:
        """Queue again what was held by a suspension that is over; return the number of recipients.

        They keep as much time until they expire as they had when they were held.
        """
        ...

    async def pending_dsns(self, limit: int) -> Sequence[PendingDsn]:
        """Return DSNs that are due, by message and sender, the oldest first."""
        ...

    async def dsns_sent(self, recipients: Collection[int]) -> None:
        """Record that the DSNs of these recipients were sent, or are not wanted; close finished
        recipients."""
        ...

    async def purge(self, older_than: float, limit: int) -> int:
        """Delete recipients closed so many seconds ago, and messages without any; return the
        number of recipients."""
        ...

    async def measure(self) -> dict[str, float]:
        """Return gauges: ``queued``, ``deferred``, ``sending``, ``held`` (recipients); the age in
        seconds of the oldest one that is queued or deferred (``oldest``), queued
        (``oldest_queued``) or held (``oldest_held``)."""
        ...

    async def probe(self) -> None:
        """Check the store by a cheap query, and the schema version."""
        ...
