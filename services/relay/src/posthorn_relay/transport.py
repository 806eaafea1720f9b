"""What the relay's parts say to each other: hops, parcels and verdicts.

A *plan* turns a destination into hops to try in order. A *connector* opens a connection to a hop. A *connection* carries
parcels, one transaction each, and says of every recipient what the remote host answered.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from posthorn.model.outbound import Notify
from posthorn.ports.queue import Route
from posthorn.ports.resolver import Tlsa


class Tls(Enum):
    """What a hop must be given of TLS. Only OPPORTUNISTIC ever goes on without."""

    NONE = "none"
    """Plain, even where STARTTLS is offered: a route says so."""
    OPPORTUNISTIC = "opportunistic"
    """STARTTLS where offered, unverified; plain where it is not, or, on a new connection, where the handshake fails (RFC 7435)."""
    REQUIRED = "required"
    """STARTTLS, unverified."""
    VERIFIED = "verified"
    """STARTTLS, with a certificate that verifies for one of ``names`` (MTA-STS enforce, or a route)."""
    DANE = "dane"
    """STARTTLS, with a certificate that matches ``tlsa`` (RFC 7672)."""
    IMPLICIT = "implicit"
    """TLS from the first octet, verified for ``names`` (RFC 8314)."""


class TlsResult(Enum):
    """What kind of failure it is when TLS does not come about as demanded (RFC 8460 §4.3)."""

    NO_STARTTLS = "starttls-not-supported"
    WRONG_NAME = "certificate-host-mismatch"
    EXPIRED = "certificate-expired"
    NOT_TRUSTED = "certificate-not-trusted"
    NO_TLSA_MATCH = "tlsa-invalid"
    OTHER = "validation-failure"


@dataclass(frozen=True, slots=True)
class Sts:
    """An MTA-STS policy that a host is to satisfy (RFC 8461 §5)."""

    domain: str
    """Whose it is."""
    enforced: bool
    """Else it is being tested: a failure is noted, and the mail sent all the same."""


@dataclass(frozen=True, slots=True)
class Hop:
    """One address of one host to try."""

    host: str
    """Its name, for logs, SNI and traces."""
    address: str
    """IP address."""
    port: int = 25
    tls: Tls = Tls.OPPORTUNISTIC
    names: tuple[str, ...] = ()
    """Names of which the certificate must have one."""
    tlsa: tuple[Tlsa, ...] = ()
    sts: Sts | None = None
    """A policy that names this host."""
    login: tuple[str, str] | None = field(default=None, repr=False)
    """User name and password for AUTH, given only under TLS (or to a loopback address)."""

    @property
    def key(self) -> tuple[str, int]:
        """The address and port: what one attempt tries only once."""
        return (self.address, self.port)


@dataclass(eq=False)
class Failed(Exception):
    """Something did not work. ``code`` is the SMTP reply's, or 0 when there was none (network, TLS, DNS, time)."""

    stage: str
    """``dns``, ``connect``, ``tls``, ``greeting``, ``ehlo``, ``auth``, ``mail``, ``rcpt``, ``data``, ``end`` (the final reply)."""
    code: int
    status: str
    """Enhanced code: the remote's when it gave one, else ours (RFC 3463), such as ``4.4.1`` or ``5.1.10``."""
    reply: str
    """For people: the remote's reply in one printable line with its code, or what went wrong in our words; never a secret."""
    permanent: bool
    host: str = ""
    """``name (address)`` of the hop, where one was reached."""
    tls: str = ""
    tls_result: TlsResult | None = None
    """Set where the host gave no TLS, or none that is demanded."""
    anew: bool = False
    """The host has taken nothing, and a new connection to it will be used in another way (without BDAT)."""

    @property
    def is_hosts(self) -> bool:
        """Whether it concerns the host as a whole, so that the next hop may do better: everything before MAIL."""
        return self.stage in ("connect", "tls", "greeting", "ehlo", "auth")


@dataclass(frozen=True, slots=True)
class To:
    """One recipient of a parcel."""

    recipient: str
    notify: Notify = Notify.UNSAID
    orcpt: str = ""
    """``addr-type;address``, not yet xtext."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """One message for one or more recipients at a destination."""

    reverse_path: str
    recipients: Sequence[To]
    size: int
    """Octets that ``content`` gives."""
    content: Callable[[], AsyncIterator[bytes]]
    """Gives the message from its beginning: DKIM fields, then the body, CRLF form, not dot-stuffed. May be called again."""
    has_dot_lines: bool
    eight_bit: bool
    """It may hold octets above 127."""
    smtputf8: bool
    """It needs SMTPUTF8: an address or the header is not ASCII."""
    ret: str = ""
    envid: str = ""
    signature_at: int = 0
    signature_bytes: int = 0
    """Where in ``content`` our own DKIM fields stand, and their size: they do not hold for what is converted."""
    seven_bit_signature: bytes = b""
    """Our own DKIM fields for the message in its 7-bit form, to stand before it."""
    forwarded: bool = False
    """It is others' mail: it keeps its octets, long lines too, where the host takes them."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The remote host took the message for this recipient."""

    reply: str
    host: str
    tls: str
    """``TLSv1.3 TLS_AES_256_GCM_SHA384 verified`` or the like; empty for plain."""
    dsn: bool
    """It knows DSN, and so reports success itself (RFC 3461 §5.2.1); else a wanted SUCCESS is ours to report as relayed."""


type Verdict = Accepted | Failed


class Connection(Protocol):
    """An open connection after EHLO, TLS and AUTH; used by one worker at a time."""

    hop: Hop

    @property
    def usable(self) -> bool:
        """Whether another parcel may be sent by it."""
        ...

    async def send(self, parcel: Parcel) -> Sequence[Verdict]:
        """Carry a parcel: one verdict per recipient, in their order. Never raises but for faults of ``content`` (and
        cancellation), after which it may not be usable; Unavailable also for want of room to convert the content in. Where the
        connection broke after the end of data, the verdict is a transient Failed at stage ``end``."""
        ...

    async def close(self) -> None:
        """QUIT, within a second or two. Never raises."""
        ...


class Connector(Protocol):
    """Opens connections."""

    async def connect(self, hop: Hop) -> Connection:
        """Open a connection: greeting, EHLO, TLS as the hop demands, AUTH. Raises Failed."""
        ...


class Planner(Protocol):
    """Finds hops."""

    async def plan(self, destination: str, route: Route | None) -> Sequence[Hop]:
        """Give the hops of a destination in the order they are to be tried; at least one. Raises Failed at stage ``dns`` (or
        ``connect`` with 4.4.1 where direct delivery is off and there is no route)."""
        ...
