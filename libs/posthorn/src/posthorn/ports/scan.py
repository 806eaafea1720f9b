"""The scanning tier, as the inbound tier asks it.

smtp-in works without it: every fault is ScanUnavailable, and the message goes on unscanned
(promise 2, promise 3). The tier keeps no state of a session; what it found at the first question
comes back with the second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from posthorn.model.verdict import Verdict
from posthorn.ports.errors import Unavailable
from posthorn.wire.auth.results import Iprev, Spf


class ScanUnavailable(Unavailable):
    """Nobody scans now, or not in time."""

    def __init__(self, detail: str) -> None:
        super().__init__("scan", detail)


@dataclass(frozen=True, slots=True)
class Listing:
    """A blocklist that holds an address or a domain (RFC 5782)."""

    zone: str
    subject: str
    """The address or domain that is listed."""
    code: str
    """The answer, such as ``127.0.0.4``."""
    points: float
    """Negative for an allow list."""
    reason: str = ""
    """The zone's TXT record, cleaned."""


@dataclass(frozen=True, slots=True)
class SenderQuestion:
    """The first question: who is this client?"""

    client: str
    """IP address."""
    helo: str
    reverse_path: str
    greylist: bool = False
    """Whether a suspicious stranger is to be asked to come again."""
    recipient: str = ""
    """The first recipient; for greylisting."""


@dataclass(frozen=True, slots=True)
class SenderFacts:
    """What is known of a client before its message."""

    iprev: Iprev = field(default_factory=Iprev)
    spf: tuple[Spf, ...] = ()
    listings: tuple[Listing, ...] = ()
    greylist_seconds: int = 0
    """Seconds after which the client may come again; 0: accept now."""


@dataclass(frozen=True, slots=True)
class MessageQuestion:
    """The second question: what is this message? Exactly one of ``content`` and ``blob``."""

    message_id: str
    client: str
    helo: str
    reverse_path: str
    recipients: Sequence[str]
    received_at: float
    hostname: str
    """The authserv-id."""
    content: bytes | None = None
    """The message as it came, without our trace fields."""
    blob: str | None = None
    """Key of the blob that holds our trace fields and then the message."""
    skip_bytes: int = 0
    """Bytes of our trace fields at the start of the blob."""
    size: int = 0
    """Bytes of the message without them."""
    facts: SenderFacts | None = None
    """The answer to the first question; None if there was none: it is asked anew."""
    engines: frozenset[str] = frozenset({"rspamd", "clamav"})
    """Engines that the recipients' policies permit, of those that are configured."""
    smtputf8: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """What a client did, for the counters that all pods share."""

    client: str
    kind: str
    """``connection``, ``unknown-recipient``, ``refused``, ``protocol``, ``login``."""
    count: int = 1


@dataclass(frozen=True, slots=True)
class StateQuestion:
    """Asks for the state of the tier, and whether names of ours are on its blocklists."""

    addresses: tuple[str, ...] = ()
    """Our outgoing IP addresses."""
    domains: tuple[str, ...] = ()
    """Domains that we send from or sign with."""


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """An engine that is configured, as the process that answered sees it."""

    name: str
    is_up: bool
    detail: str = ""
    """Its version, or why it is away."""


@dataclass(frozen=True, slots=True)
class ZoneStatus:
    """A zone of the settings."""

    zone: str
    is_healthy: bool
    detail: str = ""
    """Why it is not in use."""


@dataclass(frozen=True, slots=True)
class ScanState:
    """State of the tier, for health and the API."""

    engines: tuple[EngineStatus, ...] = ()
    zones: tuple[ZoneStatus, ...] = ()
    is_dns_away: bool = False
    listings: tuple[Listing, ...] = ()
    """Blocklists that hold an address or a domain of the question."""


class ScanStates(Protocol):
    """The tier, as the API asks it."""

    async def state(self, question: StateQuestion) -> ScanState:
        """Return the state of one process of the tier. Raises ScanUnavailable."""
        ...


class Scanner(Protocol):
    """The tier. Every method but ``report`` raises ScanUnavailable."""

    async def sender(self, question: SenderQuestion) -> SenderFacts:
        """Return what is known of the client, within two seconds."""
        ...

    async def message(self, question: MessageQuestion) -> Verdict:
        """Return the verdict, within the deadline of the settings."""
        ...

    def report(self, report: Report) -> None:
        """Count what a client did. Never fails, never waits."""
        ...


class Bans(Protocol):
    """Networks that are banned now, as every pod knows them."""

    def until(self, client: str) -> float:
        """Return the second since the epoch until which the client's network is banned; 0: it is
        not. Without a connection the last known state counts."""
        ...
