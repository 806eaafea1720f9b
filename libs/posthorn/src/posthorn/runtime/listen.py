"""Listeners for session protocols (SMTP, POP3): connection limits, and a drain that no idle client
can hang.

Python's ``Server.wait_closed`` waits for every open connection, so it is never called before the
sessions have ended: the listener closes, sessions are asked to end after what they are doing, and
after the grace period they are cut.

Where TLS comes first, the place in the limiter is taken when the connection is accepted, by the
handshake itself; so handshakes are limited as sessions are, and the first bytes of a client that is
one too many cost no cryptography.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import cast

import structlog
from prometheus_client import Counter as Metric

from posthorn.runtime.at_once import begun
from posthorn.runtime.connection_limiter import ConnectionLimiter as ConnectionLimiter
from posthorn.runtime.connection_limiter import Session as Session
from posthorn.runtime.tls_transport import TlsTransport
from posthorn.wire.proxy import plain_address

log = structlog.get_logger()

HANDSHAKE_SECONDS = 30.0
"""Seconds that a client may take for a TLS handshake."""

_handshakes = Metric(
    "posthorn_listen_handshakes_total", "TLS handshakes on ports where TLS comes first", ["outcome"]
)


def peer_address(transport: asyncio.BaseTransport) -> str:
    """Return the address that a connection comes from, IPv4 in its own form and IPv6 without a
    zone; empty when it is gone."""
    peer = transport.get_extra_info("peername")
    return _plain(str(peer[0])) if peer else ""


@lru_cache(maxsize=8192)
def _plain(address: str) -> str:
    try:
        return str(plain_address(ipaddress.ip_address(address)))
    except ValueError:
        return address


class Handshake(asyncio.Protocol):
    """A connection until its TLS handshake is done; then the session's protocol takes its place."""

    def __init__(
        self,
        factory: Callable[[], asyncio.BaseProtocol],
        limiter: ConnectionLimiter,
        tls: ssl.SSLContext,
        seconds: float,
        *,
        client: str | None = None,
    ) -> None:
        """``client`` is the address from a PROXY header; None: the peer's."""
        self._factory = factory
        self._limiter = limiter
        self._tls = tls
        self._seconds = seconds
        self._client = client
        self._transport: asyncio.Transport | None = None
        self._shaking: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a place in the limiter and shake hands; a client cannot be told that there is
        none."""
        stream = cast(asyncio.Transport, transport)
        address = peer_address(stream) if self._client is None else self._client
        refusal = self._limiter.admit(self, address)
        if refusal is not None:
            _handshakes.labels(refusal).inc()
            log.info("refused", limit=refusal, stranger=address)
            stream.abort()
            return
        self._transport = secure = TlsTransport(stream, self, self._tls)
        # begun at once, so that TLS stands in this place before anything is read
        self._shaking = begun(self._shake(secure, address))

    def connection_lost(self, error: Exception | None) -> None:
        """Leave the limiter."""
        self._limiter.leave(self)

    def begin_drain(self) -> None:
        """End now: a client that has sent nothing yet loses nothing."""
        self.abort()

    @property
    def silent_seconds(self) -> float:
        """0: it waits from its beginning on, as the limiter knows."""
        return 0.0

    def give_way(self) -> bool:
        """End now: nothing can be sent to a client before the handshake."""
        self.abort()
        return True

    def abort(self) -> None:
        """End now."""
        if self._transport is not None:
            self._transport.abort()

    async def _shake(self, secure: TlsTransport, address: str) -> None:
        try:
            await secure.shake_hands(self._seconds)
            _handshakes.labels("done").inc()
            self._hand_over(secure)
            return
        except OSError as error:  # ssl.SSLError and TimeoutError are OSErrors
            log.info("no TLS", stranger=address, error=type(error).__name__)
        except Exception:
            log.exception("a session could not begin", client=address)
        finally:
            # where it was handed over, the real one has a place of its own by now
            self._limiter.leave(self)
        _handshakes.labels("failed").inc()
        secure.abort()

    def _hand_over(self, secure: TlsTransport) -> None:
        self._limiter.leave(self)
        protocol = self._factory()
        secure.set_protocol(protocol)
        protocol.connection_made(secure)


@asynccontextmanager
async def listening(
    factory: Callable[[], asyncio.BaseProtocol],
    listener: socket.socket,
    limiter: ConnectionLimiter,
    *,
    grace: float,
    tls: ssl.SSLContext | None = None,
    handshake_seconds: float = HANDSHAKE_SECONDS,
) -> AsyncIterator[int]:
    """Accept connections on a bound socket; return the port. On leaving, stops listening and drains
    the limiter.

    With ``tls`` a connection holds a place in the limiter from its first moment; its session begins
    after the handshake, which has ``handshake_seconds``, and the factory is called then.
    """
    entered = (
        factory if tls is None else lambda: Handshake(factory, limiter, tls, handshake_seconds)
    )
    async with accepting(entered, listener, limiter, grace) as port:
        yield port


@asynccontextmanager
async def accepting(
    entered: Callable[[], asyncio.BaseProtocol],
    listener: socket.socket,
    limiter: ConnectionLimiter,
    grace: float,
) -> AsyncIterator[int]:
    """Accept connections for protocols that take their places in the limiter themselves; else as
    ``listening``."""
    server = await asyncio.get_running_loop().create_server(entered, sock=listener, backlog=1024)
    try:
        yield int(listener.getsockname()[1])
    finally:
        server.close()
        await limiter.drain(grace)
