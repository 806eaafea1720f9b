"""Listeners behind load balancers that send a PROXY header: the address of the client that a
connection is from.

Rules:

- A header is taken only from peers in the listed networks; any other connection is closed at once,
  unread. So is a peer whose header is missing, wrong, or not there after HEADER_SECONDS. They are
  sent nothing: their protocol is not known yet.
- No byte is read that does not belong to the header. What follows, be it TLS or the protocol
  itself, is read by its owner from the same socket, as on a plain port.
- At accept a connection takes a place of the total, for a load balancer makes them all from a few
  addresses; the limit per client is applied to the address in the header. At most half of all
  places are held by connections whose header is not there yet.
- An address from a header is good for limits, logs and trace fields. It proves nothing: in
  particular a client that came through a proxy is never taken to be on this very host.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from typing import cast

import structlog
from prometheus_client import Counter

from posthorn.model.networks import Network, is_in
from posthorn.runtime.listen import (
    HANDSHAKE_SECONDS,
    ConnectionLimiter,
    Handshake,
    accepting,
    listening,
    peer_address,
)
from posthorn.wire.proxy import REASONS, ProxyError, ProxyHeader, ProxyParser

log = structlog.get_logger()

HEADER_SECONDS = 3.0
"""Seconds that a proxy may take to send the whole header; it does so before anything else."""

_headers = Counter(
    "posthorn_listen_proxy_headers_total",
    "Connections to ports that demand a PROXY header",
    ["outcome"],
)
for _outcome in (
    "client",
    "balancer",
    "stranger",
    "late",
    "closed",
    "total",
    "waiting",
    "draining",
    *REASONS,
):
    _headers.labels(_outcome)

type SessionFactory = Callable[[str | None], asyncio.BaseProtocol]
"""Makes the protocol of a session from the client's address in the PROXY header, or None for a
direct connection."""


@dataclass(frozen=True, slots=True)
class TrustedProxies:
    """The networks from which headers are taken, and what is shared by the connections that wait
    for theirs."""

    networks: Sequence[Network]
    limiter: ConnectionLimiter
    seconds: float = HEADER_SECONDS

    def trusts(self, peer: str) -> bool:
        """Return whether a peer's header is taken; ``peer`` as ``peer_address`` returns it."""
        return is_in(peer, self.networks)


class ProxyHeaderProtocol(asyncio.BufferedProtocol):
    """A connection until its header is complete; then the session's protocol takes its place."""

    def __init__(
        self, proxies: TrustedProxies, make_session: Callable[[str], asyncio.BaseProtocol]
    ) -> None:
        self._proxies = proxies
        self._make_session = make_session
        self._parser = ProxyParser()
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._peer = ""
        self._over = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a place in the limiter and wait for the header."""
        self._transport = cast(asyncio.Transport, transport)
        self._peer = peer_address(transport)
        if not self._proxies.trusts(self._peer):
            self._refuse("stranger")
        elif (limit := self._proxies.limiter.admit(self, None)) is not None:
            self._refuse(limit)
        else:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._proxies.seconds, self._refuse, "late")

    def get_buffer(self, _: int) -> bytearray:
        """Return a buffer no larger than what is missing of the header."""
        self._buffer = bytearray(self._parser.wanted or 1)
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Take what was read."""
        if self._over:
            return
        try:
            header = self._parser.feed(bytes(self._buffer[:nbytes]))
        except ProxyError as error:
            self._refuse(error.reason)
            return
        if header is not None:
            assert self._transport is not None
            self._over = True
            self._disarm()
            self._transport.pause_reading()
            # not within the transport's read callback, which would go on with this protocol's
            # buffers
            asyncio.get_running_loop().call_soon(self._hand_over, header)

    def eof_received(self) -> bool:
        """Close: the peer has closed. One that only looked whether the port is open is not
        logged."""
        if not self._over:
            self._refuse("closed")
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """Leave the limiter."""
        if not self._over:
            self._refuse("closed")
        self._proxies.limiter.leave(self)

    def begin_drain(self) -> None:
        """End now: nothing has been sent yet, so nothing is lost."""
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
            log.warning(
                "refused before a PROXY header was taken", reason=reason, stranger=self._peer
            )
        self._transport.abort()
        self._proxies.limiter.leave(self)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _hand_over(self, header: ProxyHeader) -> None:
        transport = self._transport
        self._transport = None
        self._proxies.limiter.leave(self)
        if transport is None or transport.is_closing():
            return
        _headers.labels("balancer" if header.source is None else "client").inc()
        try:
            protocol = self._make_session(
                self._peer if header.source is None else str(header.source)
            )
            transport.set_protocol(protocol)
            transport.resume_reading()
            protocol.connection_made(transport)
        except Exception:
            log.exception("a session could not begin", peer=self._peer)
            transport.abort()


def listen_behind_proxy(
    make_session: SessionFactory,
    listener: socket.socket,
    limiter: ConnectionLimiter,
    proxies: TrustedProxies | None,
    *,
    grace: float,
    tls: ssl.SSLContext | None,
    handshake_seconds: float = HANDSHAKE_SECONDS,
) -> AbstractAsyncContextManager[int]:
    """Accept connections as ``listening`` does: direct ones, or with ``proxies`` those whose PROXY
    header these send.

    With both ``tls`` and ``proxies`` the header comes first, in plain, and the handshake after it.
    """
    if proxies is None:
        direct = partial(make_session, None)
        return listening(
            direct, listener, limiter, grace=grace, tls=tls, handshake_seconds=handshake_seconds
        )

    def make_protocol(client: str) -> asyncio.BaseProtocol:
        via_proxy = partial(make_session, client)
        return (
            Handshake(via_proxy, limiter, tls, handshake_seconds, client=client)
            if tls
            else via_proxy()
        )

    return accepting(lambda: ProxyHeaderProtocol(proxies, make_protocol), listener, limiter, grace)
