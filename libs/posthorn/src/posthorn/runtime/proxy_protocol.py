"""Listeners behind balancers that say, by the PROXY protocol, whom a connection is from.

Rules:

- A header is taken only from peers in the listed networks; anybody else is closed at once, unheard. So is a peer whose header is
  missing, wrong, or not there after HEADER_SECONDS. Nothing is said to them: what protocol they speak is not known yet.
- No octet is read that does not belong to the header. What follows, be it TLS or the protocol itself, is read by its owner from
  the same socket, as on a plain port.
- At accept a connection takes a place of the total, for a balancer makes them all from a few addresses; the limit per client is
  applied to the address that the header gives. At most half of all places are held by connections whose header is not there yet.
- An address that was told is good for limits, logs and trace fields. It is not proof of anything: in particular a client that
  came by a balancer is never taken to be on this very host.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import cast

import structlog
from prometheus_client import Counter

from posthorn.model.networks import Network
from posthorn.runtime.client_networks import subscriber
from posthorn.runtime.listen import HANDSHAKE_SECONDS, Gate, Handshake, accepting, listening, peer_address
from posthorn.wire.proxy import REASONS, ProxyError, ProxyHeader, ProxyParser

log = structlog.get_logger()

HEADER_SECONDS = 3.0
"""How long a balancer may take to send the whole header; it does so before anything else."""
QUIET_SECONDS = 60.0
"""How long a peer is not told of again in the log."""
_MOST_PEERS = 1024

_headers = Counter(
    "posthorn_listen_proxy_headers_total", "Connections to ports that demand a PROXY header", ["outcome"]
)
for _outcome in ("client", "balancer", "stranger", "late", "closed", "total", "waiting", "draining", *REASONS):
    _headers.labels(_outcome)

type Entrance = Callable[[str | None], asyncio.BaseProtocol]
"""Makes a session, told the client's address by a balancer, or None for a client that has connected by itself."""


class Complaints:
    """What is logged of peers that are refused: the first time, then once in a while, with how often it was."""

    def __init__(self) -> None:
        self._peers: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def note(self, peer: str, reason: str, now: float) -> None:
        """Log it if the peer's turn has come. ``now`` is the loop's time."""
        peer = subscriber(peer)
        since, times = self._peers.pop(peer, (now - QUIET_SECONDS, 0))
        if due := now - since >= QUIET_SECONDS:
            log.warning("refused before a PROXY header was taken", reason=reason, peer=peer, refused=times + 1)
        self._peers[peer] = (now, 0) if due else (since, times + 1)
        if len(self._peers) > _MOST_PEERS:
            self._peers.popitem(last=False)


@dataclass(frozen=True, slots=True)
class Balancers:
    """From whom headers are taken, and what is shared by the connections that wait for theirs."""

    networks: Sequence[Network]
    gate: Gate
    complaints: Complaints = field(default_factory=Complaints)
    seconds: float = HEADER_SECONDS

    def trusts(self, peer: str) -> bool:
        """Return whether a peer's word is taken; ``peer`` as ``peer_address`` gives it."""
        try:
            ip = ipaddress.ip_address(peer)
        except ValueError:
            return False
        return any(ip in network for network in self.networks)


class Introduction(asyncio.BufferedProtocol):
    """A connection until its header is there: a session for the gate, then the place of the real one."""

    def __init__(self, balancers: Balancers, introduce: Callable[[str], asyncio.BaseProtocol]) -> None:
        self._balancers = balancers
        self._introduce = introduce
        self._parser = ProxyParser()
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._peer = ""
        self._over = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a place at the gate and wait for the header."""
        self._transport = cast(asyncio.Transport, transport)
        self._peer = peer_address(transport)
        if not self._balancers.trusts(self._peer):
            self._refuse("stranger")
        elif (limit := self._balancers.gate.admit(self, None)) is not None:
            self._refuse(limit)
        else:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._balancers.seconds, self._refuse, "late")

    def get_buffer(self, _: int) -> bytearray:
        """As much room as the header surely fills."""
        self._buffer = bytearray(self._parser.wanted or 1)
        return self._buffer

    def buffer_updated(self, octets: int) -> None:
        """Take what was read."""
        if self._over:
            return
        try:
            header = self._parser.feed(bytes(self._buffer[:octets]))
        except ProxyError as error:
            self._refuse(error.reason)
            return
        if header is not None:
            assert self._transport is not None
            self._over = True
            self._disarm()
            self._transport.pause_reading()
            # not within the transport's read callback, which would go on with this protocol's buffers
            asyncio.get_running_loop().call_soon(self._hand_over, header)

    def eof_received(self) -> bool:
        """The peer has closed; that it has looked whether the port is open is no reason to complain."""
        if not self._over:
            self._refuse("closed")
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """The peer has gone."""
        if not self._over:
            self._refuse("closed")
        self._balancers.gate.leave(self)

    def begin_drain(self) -> None:
        """Nothing has been said yet, so nothing is lost."""
        self.abort()

    def abort(self) -> None:
        """End now."""
        if not self._over:
            self._refuse("draining")
        elif self._transport is not None:
            self._transport.abort()

    def _refuse(self, reason: str) -> None:
        assert self._transport is not None
        self._over = True
        self._disarm()
        _headers.labels(reason).inc()
        if reason not in ("closed", "draining") or (reason == "closed" and self._parser.began):
            self._balancers.complaints.note(self._peer, reason, asyncio.get_running_loop().time())
        self._transport.abort()
        self._balancers.gate.leave(self)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _hand_over(self, header: ProxyHeader) -> None:
        transport = self._transport
        self._transport = None
        self._balancers.gate.leave(self)
        if transport is None or transport.is_closing():
            return
        _headers.labels("balancer" if header.source is None else "client").inc()
        try:
            protocol = self._introduce(self._peer if header.source is None else str(header.source))
            transport.set_protocol(protocol)
            transport.resume_reading()
            protocol.connection_made(transport)
        except Exception:
            log.exception("a session could not begin", peer=self._peer)
            transport.abort()


def entering(
    entrance: Entrance,
    listener: socket.socket,
    gate: Gate,
    balancers: Balancers | None,
    *,
    grace: float,
    tls: ssl.SSLContext | None,
    handshake_seconds: float = HANDSHAKE_SECONDS,
) -> AbstractAsyncContextManager[int]:
    """Accept connections as ``listening`` does: of clients themselves, or with ``balancers`` those that these introduce.

    With both ``tls`` and ``balancers`` the header comes first, in plain, and the handshake after it.
    """
    if balancers is None:
        direct = partial(entrance, None)
        return listening(direct, listener, gate, grace=grace, tls=tls, handshake_seconds=handshake_seconds)

    def introduce(client: str) -> asyncio.BaseProtocol:
        introduced = partial(entrance, client)
        return Handshake(introduced, gate, tls, handshake_seconds, client=client) if tls else introduced()

    return accepting(lambda: Introduction(balancers, introduce), listener, gate, grace)
