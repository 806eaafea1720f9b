"""Probes of routes: a connection as the relay makes it, up to the point where a message would be
sent.

Only the relay asks, resolves and connects: it alone has the way out (the network policy of the
chart), the addresses that mail leaves from and the passwords of routes. No message is sent, and no
answer contains a secret.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

PROBE_SECONDS: Final = 25.0
"""How long a probe may take."""


@dataclass(frozen=True, slots=True)
class RouteProbe:
    """What is to be probed."""

    route: str
    """Domain of the route in canonical form, or ``*``."""
    destination: str
    """Domain of the mail that would take the route."""
    recipient: str = ""
    """Address to name in RCPT; empty: none."""


@dataclass(frozen=True, slots=True)
class ProbeStep:
    """A command and its reply."""

    stage: str
    """``connect``, ``tls``, ``greeting``, ``ehlo``, ``starttls``, ``auth``, ``mail``, ``rcpt``,
    ``rset`` or ``quit``."""
    command: str
    """As it was sent, credentials replaced by ``***``; empty where none was."""
    code: int
    """Code of the reply, or 0 without one."""
    status: str
    """Enhanced code of the reply, or ours for a fault (RFC 3463); may be empty."""
    reply: str
    """The reply, line by line, or what went wrong."""
    seconds: float
    """How long the reply took."""


@dataclass(frozen=True, slots=True)
class ProbedTls:
    """TLS of a connection, and what the host showed."""

    version: str
    cipher: str
    verdict: str
    """``verified``; ``dane``; ``unverified``: no certificate was demanded; ``rejected``."""
    names: tuple[str, ...] = ()
    """Names of the certificate."""
    issuer: str = ""
    expires_at: float | None = None
    """Seconds since the epoch."""
    problem: str = ""
    """Why the certificate is rejected, or what would be if one were demanded."""


@dataclass(frozen=True, slots=True)
class ProbedConnection:
    """A connection to one address of one host, or the attempt."""

    host: str
    address: str
    port: int
    steps: Sequence[ProbeStep] = ()
    extensions: Sequence[str] = ()
    """What the last reply to EHLO offers."""
    tls: ProbedTls | None = None


@dataclass(frozen=True, slots=True)
class ProbeFailure:
    """Why mail would not be sent now."""

    stage: str
    """As of a step; ``dns``: no host was found."""
    code: int
    status: str
    reply: str
    permanent: bool


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """What a probe found. The last connection decides."""

    connections: Sequence[ProbedConnection]
    """In the order in which they were tried."""
    failure: ProbeFailure | None
    """None: the host would take mail now."""
    seconds: float


class RouteProber(Protocol):
    """Probes routes."""

    async def probe(self, asked: RouteProbe) -> ProbeReport:
        """Probe a route, for ``PROBE_SECONDS`` at most. Raises NotFound if there is none,
        Unavailable."""
        ...
