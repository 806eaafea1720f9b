"""What routing, the SMTP client and the workers exchange: remote hosts, mail transactions and their
results.

A *planner* turns a destination into remote hosts to try in order. A *connector* opens a connection
to one of them. A *connection* carries mail transactions, one after another, and returns what the
remote host answered for every recipient.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from posthorn.model.outbound import Notify
from posthorn.ports.queue import Route
from posthorn.ports.resolver import Tlsa


class Tls(Enum):
    """The TLS that a connection to a host must have. Only OPPORTUNISTIC ever continues without."""

    NONE = "none"
    """Plain text, even where STARTTLS is offered: a route demands it."""
    OPPORTUNISTIC = "opportunistic"
    """STARTTLS where offered, unverified; plain text where it is not, or, on a new connection,
    where the handshake fails (RFC 7435)."""
    REQUIRED = "required"
    """STARTTLS, unverified."""
    VERIFIED = "verified"
    """STARTTLS, with a certificate that verifies for one of ``names`` (MTA-STS enforce, or a
    route)."""
    DANE = "dane"
    """STARTTLS, with a certificate that matches ``tlsa`` (RFC 7672)."""
    IMPLICIT = "implicit"
    """TLS from the first byte, verified for ``names`` (RFC 8314)."""


class TlsResult(Enum):
    """The kind of failure when TLS is not established as required (RFC 8460 §4.3)."""

    NO_STARTTLS = "starttls-not-supported"
    WRONG_NAME = "certificate-host-mismatch"
    EXPIRED = "certificate-expired"
    NOT_TRUSTED = "certificate-not-trusted"
    NO_TLSA_MATCH = "tlsa-invalid"
    OTHER = "validation-failure"


@dataclass(frozen=True, slots=True)
class StsRequirement:
    """The MTA-STS policy that a host must satisfy (RFC 8461 §5)."""

    domain: str
    """The domain that publishes the policy."""
    enforced: bool
    """False: the policy is in testing mode; a failure is reported and the mail is sent all the
    same."""


@dataclass(frozen=True, slots=True)
class RemoteHost:
    """One address of one host to connect to."""

    host: str
    """Its name, for logs, SNI and traces."""
    address: str
    """IP address."""
    port: int = 25
    tls: Tls = Tls.OPPORTUNISTIC
    names: tuple[str, ...] = ()
    """The certificate must be for one of these names."""
    tlsa: tuple[Tlsa, ...] = ()
    sts: StsRequirement | None = None
    login: tuple[str, str] | None = field(default=None, repr=False)
    """User name and password for AUTH, sent only under TLS (or to a loopback address)."""

    @property
    def key(self) -> tuple[str, int]:
        """Address and port: one attempt tries each key once."""
        return (self.address, self.port)


@dataclass(eq=False)
class Failed(Exception):
    """An attempt failed. ``code`` is that of the SMTP reply, or 0 without one (network, TLS,
    DNS, timeout)."""

    stage: str
    """``dns``, ``connect``, ``tls``, ``greeting``, ``ehlo``, ``auth``, ``mail``, ``rcpt``,
    ``data``, ``end`` (the final reply)."""
    code: int
    status: str
    """Enhanced status code: the remote host's, or ours (RFC 3463), such as ``4.4.1`` or
    ``5.1.10``."""
    reply: str
    """For people: the remote host's reply with its code in one printable line, or what went
    wrong in our words; never a secret."""
    permanent: bool
    host: str = ""
    """``name (address)`` of the remote host, if one was reached."""
    tls: str = ""
    tls_result: TlsResult | None = None
    """Set where the host offers no TLS, or not the required one."""
    reconnect: bool = False
    """The host has taken nothing, and a new connection to it will be used differently (without
    BDAT)."""

    @property
    def is_about_tls(self) -> bool:
        """Whether the TLS that the destination demands cannot be had, so that only mail that does
        not need it can be sent."""
        return self.tls_result is not None or self.status == "4.7.5"

    @property
    def is_about_host(self) -> bool:
        """Whether it concerns the host as a whole, so that another host may work: every stage
        before MAIL."""
        return self.stage in ("connect", "tls", "greeting", "ehlo", "auth")


@dataclass(frozen=True, slots=True)
class Recipient:
    """One recipient of a mail transaction (RFC 5321 §4.1.1.3)."""

    address: str
    notify: Notify = Notify.UNSAID
    orcpt: str = ""
    """``addr-type;address``, not yet xtext."""


@dataclass(frozen=True, slots=True)
class MailTransaction:
    """One message for one or more recipients at a destination (RFC 5321 §3.3)."""

    reverse_path: str
    recipients: Sequence[Recipient]
    size: int
    """Bytes that ``content`` yields."""
    content: Callable[[], AsyncGenerator[bytes]]
    """Yields the message from its beginning: DKIM fields, then the body, in CRLF form, not
    dot-stuffed. May be called again."""
    has_dot_lines: bool
    eight_bit: bool
    """It may contain bytes above 127."""
    smtputf8: bool
    """It needs SMTPUTF8: an address or the header is not ASCII."""
    ret: str = ""
    envid: str = ""
    signature_at: int = 0
    signature_bytes: int = 0
    """Position and size of our own DKIM fields in ``content``: they do not hold for a converted
    message."""
    seven_bit_signature: bytes = b""
    """Our own DKIM fields for the message in its 7-bit form, to put before it."""
    tls_optional: bool = False
    """It is sent whatever TLS policy the destination publishes (RFC 8689)."""
    forwarded: bool = False
    """The message is forwarded for others: it keeps its bytes, long lines too, where the host
    takes them."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The remote host accepted the message for this recipient."""

    reply: str
    host: str
    tls: str
    """Such as ``TLSv1.3 TLS_AES_256_GCM_SHA384 verified``; empty for plain text."""
    dsn: bool
    """The host supports DSN and reports success itself (RFC 3461 §5.2.1); otherwise a wanted
    SUCCESS is ours to report as relayed."""


type SmtpResult = Accepted | Failed
"""The result of a mail transaction for one recipient."""


class Connection(Protocol):
    """An open connection after EHLO, TLS and AUTH; used by one worker at a time."""

    remote: RemoteHost
    tls: str
    """Version, cipher and verification; empty without TLS."""

    @property
    def usable(self) -> bool:
        """Whether another transaction may be sent by it: the one that was announced, if any."""
        ...

    @property
    def announced(self) -> MailTransaction | None:
        """The transaction whose commands it has sent already; no other may be sent by it."""
        ...

    async def send(
        self, transaction: MailTransaction, following: MailTransaction | None = None
    ) -> Sequence[SmtpResult]:
        """Carry out a transaction: one result per recipient, in their order. ``following`` is
        likely to be the next one; whether it was announced to the host, ``announced`` tells.

        Raises only the errors of ``content`` (and cancellation), after which the connection may not
        be usable; Unavailable also when there is no space to convert the content in. Where the
        connection broke after the end of data, the result is a transient Failed at stage ``end``.
        """
        ...

    async def close(self) -> None:
        """Send QUIT and close, within a second or two. Never raises."""
        ...


class Connector(Protocol):
    """Opens connections."""

    async def connect(self, remote: RemoteHost) -> Connection:
        """Open a connection: greeting, EHLO, TLS as required, AUTH. Raises Failed."""
        ...


class Planner(Protocol):
    """Finds the hosts of a destination."""

    async def plan(
        self, destination: str, route: Route | None, *, without_policies: bool = False
    ) -> Sequence[RemoteHost]:
        """Return the hosts of a destination in the order to try them; at least one.
        ``without_policies``: what the destination demands by MTA-STS and DANE does not count; what
        the route demands does.

        Raises Failed at stage ``dns`` (or ``connect`` with 4.4.4 where direct delivery is off and
        there is no route).
        """
        ...
