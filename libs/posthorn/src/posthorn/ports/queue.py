"""The outbound queue, from the relay's side and the administrator's.

Words:

- A *destination* is the domain of a recipient. It knows when the earliest of its recipients is due, so that a destination with a
  million waiting rows costs a look at one.
- A *lane* is a next hop as limits see it: the destination itself, or the host and port of the route that serves it. Connections,
  rate and the state of being down belong to a lane, across all relays.
- A *slot* is the right to hold one connection to a lane. It belongs to a relay and dies with it.
- A relay is alive as long as it says so; what a dead one had at hand is queued again.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from posthorn.model.blob_range import BodyLocation
from posthorn.model.outbound import Notice, Notify, QueueState

ALIVE_SECONDS = 20.0
"""How long a relay counts as alive without saying so again."""
RENEW_SECONDS = 5.0
TRANSACTION_RECIPIENTS = 100
"""Recipients of one transaction: as many as every host must take (RFC 5321 §4.5.3.1.8)."""


@dataclass(frozen=True, slots=True)
class Route:
    """How the mail of a destination is to travel. ``*`` as domain stands for every destination without a route of its own."""

    domain: str
    host: str | None = None
    """Smarthost (name or IP address); None: the destination's MX, with the limits below."""
    port: int | None = None
    """None: 25, or what the settings say; 465 for implicit TLS."""
    tls: str = "opportunistic"
    """``none``; ``opportunistic``; ``required`` (STARTTLS, unverified); ``verified`` (STARTTLS, certificate and name verified);
    ``implicit`` (TLS from the first octet, verified)."""
    username: str | None = None
    password: bytes | None = None
    """Sealed by ``runtime.secret_box`` with the context ``route:<domain>``."""
    connections: int | None = None
    """Most connections at a time, all relays together; None: as the settings say."""
    messages_per_minute: int | None = None

    @property
    def lane(self) -> str | None:
        """The lane of a smarthost, None without one."""
        return f"[{self.host}]:{self.port or (465 if self.tls == 'implicit' else 25)}" if self.host else None


@dataclass(frozen=True, slots=True)
class Due:
    """A destination with something due."""

    destination: str
    route: Route | None

    @property
    def lane(self) -> str:
        """The lane it goes by."""
        return (self.route and self.route.lane) or self.destination


@dataclass(frozen=True, slots=True)
class Job:
    """One recipient at hand. Jobs of one message at one destination with one reverse-path share a transaction."""

    id: int
    message: UUID
    recipient: str
    reverse_path: str
    sender: str
    """The reverse-path the message came with: who is told of its fate; empty: nobody."""
    original: str
    orcpt: str
    notify: Notify
    attempts: int
    """Attempts made before this one."""
    created_at: datetime
    expires_at: datetime
    suppressed: bool
    """The address is on its tenant's suppression list: not to be sent to."""
    smtputf8: bool
    ret: str
    """RFC 3461 RET: ``FULL``, ``HDRS`` or empty."""
    envid: str
    signature: str
    """DKIM fields, with their line ends, to stand before the message; may be empty."""
    location: BodyLocation
    return_path_octets: int
    """Octets at the start of the body that are left out (the Return-Path line)."""
    tenant: UUID | None
    header: str = ""
    """Fields, with their line ends, that stand before everything else: those of the alias that forwards (``wire.passed``)."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a claim gave."""

    slot: UUID | None
    """The slot held; None: the lane is full, closed, or nothing is due, and no slot is held."""
    jobs: Sequence[Job]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a job."""

    job: int
    state: QueueState
    """DELIVERED, BOUNCED, DEFERRED (``retry_in`` says when), or QUEUED (given back: no attempt is counted; with
    ``retry_in`` it is due only then, and ``status`` and a ``reply`` say why)."""
    retry_in: float = 0.0
    """Seconds from now."""
    host: str = ""
    status: str = ""
    reply: str = ""
    tls: str = ""
    notice: Notice | None = None
    suppress: str = ""
    """Not empty: put the address on the suppression list, for this reason."""


SUSPENDED_REPLY = "the tenant or the account it is sent for is suspended; it goes on when that is active again"
"""What a recipient shows that a suspension holds."""


EXPIRED = "4.4.7"
"""Status of a recipient whose time was over (RFC 3463 §3.5)."""


@dataclass(frozen=True, slots=True)
class Expired:
    """A recipient whose time was over."""

    message: UUID
    recipient: str
    original: str
    host: str
    """Of the last attempt, as its reply."""
    reply: str


@dataclass(frozen=True, slots=True)
class Swept:
    """What a look for what is overdue did."""

    count: int
    """Recipients ended or marked."""
    expired: Sequence[Expired]
    """Those that have ended."""


@dataclass(frozen=True, slots=True)
class NoticeDue:
    """A recipient whose sender is to be told of its fate."""

    id: int
    recipient: str
    original: str
    orcpt: str
    notice: Notice
    attempts: int
    last_attempt_at: datetime | None
    last_host: str
    last_status: str
    last_reply: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Report:
    """The notices due for one message and sender."""

    message: UUID
    sender: str
    ret: str
    envid: str
    smtputf8: bool
    received_at: datetime
    tenant: UUID | None
    location: BodyLocation
    return_path_octets: int
    recipients: Sequence[NoticeDue]
    is_known: bool = True
    """The message was handed in by somebody who logged in."""
    network: str = ""
    """The network it came from, where it was not."""


class Queue(Protocol):
    """What the relay asks. Every method raises Unavailable for faults of the store."""

    async def alive(self, relay: UUID) -> bool:
        """Say that the relay lives. False: it had been taken for dead and what it had at hand is queued again; it must drop
        all of it and go on under a new id."""
        ...

    async def leave(self, relay: UUID) -> None:
        """Give back all that the relay has at hand, and its slots."""
        ...

    async def bury(self) -> int:
        """Queue again what dead relays had at hand, and free their slots; returns how many recipients."""
        ...

    async def due(self, limit: int) -> Sequence[Due]:
        """Destinations with something due whose lanes are not closed, the longest waiting first."""
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
        """Take what is due at the destination, oldest first: at most ``limit`` recipients, those of one message together as
        far as the limit goes; and, beyond the limit, others of these messages as long as it is fewer than ``together`` in all. A
        lane that has failed gives no such others.

        Without a ``slot`` one is taken first, if the lane has fewer than ``connections`` and is not closed. With nothing due
        the slot is
        given back and the destination learns when it is due next. ``per_minute`` bounds the messages that the lane gets.
        """
        ...

    async def free(self, relay: UUID, slot: UUID) -> None:
        """Give a slot back."""
        ...

    async def record(self, relay: UUID, outcomes: Sequence[Outcome]) -> set[int]:
        """Write outcomes in one transaction; returns the ids of those that were still this relay's. The message's octets are
        let go of with its last open recipient."""
        ...

    async def close_lane(self, lane: str, seconds: float, host: str, reply: str) -> int:
        """Nothing goes by this lane for so long, since its host is down; returns how many times in a row that is."""
        ...

    async def open_lane(self, lane: str) -> None:
        """It works again."""
        ...

    async def sweep_overdue(self, delay_notices: bool, limit: int) -> Swept:
        """End recipients that have expired (BOUNCED, EXPIRED, notice FAILED) and mark those that wait long (notice DELAYED).
        Never both for one recipient at a time; a null sender gets no notice."""
        ...

    async def resume(self, limit: int) -> int:
        """Let go on what a suspension held whose tenant and account are active again; returns how many recipients. They get as
        much time as they had left when they were held."""
        ...

    async def reports(self, limit: int) -> Sequence[Report]:
        """Notices that are due, by message and sender, the oldest first."""
        ...

    async def reported(self, recipients: Collection[int]) -> None:
        """The notices of these recipients are on their way (or not wanted); closes those that have come to their end."""
        ...

    async def purge(self, older_than: float, limit: int) -> int:
        """Forget recipients that were closed so many seconds ago, and messages without any; returns how many recipients."""
        ...

    async def measure(self) -> dict[str, float]:
        """Figures for gauges: ``queued``, ``deferred``, ``sending``, ``held`` (recipients) and ``oldest`` (seconds)."""
        ...

    async def probe(self) -> None:
        """A cheap real query that also checks the schema version."""
        ...


@dataclass(frozen=True, slots=True)
class LaneClosed:
    """Why nothing goes by a lane for the time being."""

    until: datetime
    host: str
    """``name (address)`` of the host that failed last; empty where none was found."""
    reply: str
    """What it answered, or what else went wrong."""


@dataclass(frozen=True, slots=True)
class QueueItem:
    """One recipient of the queue, as an administrator sees it."""

    id: int
    message: UUID
    state: QueueState
    sender: str
    recipient: str
    destination: str
    attempts: int
    due_at: datetime | None
    """None when it has come to its end, or is held."""
    expires_at: datetime
    created_at: datetime
    last_attempt_at: datetime | None
    last_host: str
    last_status: str
    last_reply: str
    last_tls: str
    original: str
    subject: str
    size: int
    lane: LaneClosed | None = None
    """Set while it waits and its next hop is left alone."""


@dataclass(frozen=True, slots=True)
class QueueFilter:
    """Which recipients; an empty one means all."""

    domain: str | None = None
    state: QueueState | None = None
    sender: str | None = None
    recipient: str | None = None
    message: UUID | None = None
    older_than: float | None = None
    """Seconds in the queue at least."""
    younger_than: float | None = None
    tenant: str | None = None
    """Name or id of the tenant whose they are."""


class QueueAdministration(Protocol):
    """What the API asks; ``tenant`` as in ``ports.administration``. Raises Unavailable."""

    async def items(
        self, tenant: UUID | None, which: QueueFilter, before: int | None, limit: int
    ) -> Sequence[QueueItem]:
        """List, newest id first, below ``before``."""
        ...

    async def item(self, tenant: UUID | None, item: int) -> QueueItem:
        """Return one. Raises NotFound."""
        ...

    async def act(self, tenant: UUID | None, action: str, item: int) -> QueueItem:
        """``retry`` (queued or deferred: due now), ``hold`` (queued or deferred), ``release`` (held: due now) or ``cancel``
        (queued, deferred or held; no notice is sent). After ``retry`` and ``release`` a closed lane is open for one try. Raises
        NotFound, and Conflict when its state does not allow it (it is being sent, or has
        ended)."""
        ...

    async def act_on_all(
        self, tenant: UUID | None, action: str, which: QueueFilter, limit: int
    ) -> Sequence[tuple[int, UUID, str, str]]:
        """The same for all that match and whose state allows it, at most ``limit``; returns (id, message, recipient, original) of
        each.

        What is due already is left out of ``retry``, so that asking again goes on where it ended; its closed lane is opened for
        one try all the same.
        """
        ...

    async def route_changed(self, domain: str, limit: int) -> None:
        """The route of ``domain``, or ``*``, is another one: open the lane for one try, and make what is deferred there due, at
        most ``limit`` recipients. Platform only."""
        ...
