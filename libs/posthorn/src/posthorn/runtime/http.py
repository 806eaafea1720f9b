"""uvicorn inside a process with its own signal handlers and exit stack.

Limits that uvicorn leaves to a proxy are enforced here, since there may be none:

- a request whose header does not arrive within ``header_seconds``, or whose body continues after
  its answer, is closed;
- so is a client that reads nothing of an answer for ``stall_seconds``;
- and a connection on which nothing is asked for ``idle_seconds``: longer than clients and proxies
  keep one (5 s and 60 s by default), since a request that is sent while it is closed fails;
- connections are limited, in total and per client (an IPv6 client is a /64);
- a request whose length can be read in two ways, and CONNECT, are refused.

A client is who has connected: fields that name another are obeyed from proxies alone that are
listed (``HttpLimits.proxies``). These may have any number of connections.

The application limits the time of a body, since it knows what the body is.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import lru_cache
from typing import Any

import h11
import structlog
import uvicorn
from prometheus_client import Counter as Metric
from uvicorn.protocols.http.h11_impl import H11Protocol

from posthorn.model.networks import Network, is_in
from posthorn.runtime.client_networks import client_key
from posthorn.runtime.http_proxies import Proxied
from posthorn.runtime.listen import peer_address

log = structlog.get_logger()

_cut = Metric("posthorn_http_cut_total", "HTTP connections that were refused or closed", ["reason"])
_errors = logging.getLogger("uvicorn.error.requests")
_errors.setLevel(logging.ERROR)  # it warns of every malformed request
_HEADER_BYTES = 64 * 1024  # of an incomplete header
_CROWDED = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 2\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


@dataclass(slots=True)
class HttpLimits:
    """Limits of the clients of one listener."""

    header_seconds: float = 10.0
    stall_seconds: float = 60.0
    idle_seconds: int = 75
    connections: int = 2000
    connections_each: int = 500
    proxies: Sequence[Network] = ()
    """Networks of reverse proxies, whose X-Forwarded-For is obeyed."""
    open: Counter[str] = field(default_factory=Counter)
    """Open connections, by client."""


class _Strict(h11.Connection):
    """h11's connection, without requests that a proxy may understand otherwise."""

    def next_event(self) -> Any:
        """Return the next event. Raises RemoteProtocolError."""
        event = super().next_event()
        if isinstance(event, h11.Request):
            fields = {name for name, _ in event.headers}
            if {b"content-length", b"transfer-encoding"} <= fields:  # RFC 9112 §6.3
                raise h11.RemoteProtocolError("a request has Content-Length and Transfer-Encoding")
            if event.method == b"CONNECT":
                raise h11.RemoteProtocolError("this server is no proxy")
        return event


class _Limited(H11Protocol):
    """uvicorn's protocol with limits."""

    def __init__(self, limits: HttpLimits, **rest: Any) -> None:
        super().__init__(**rest)
        self.conn = _Strict(h11.SERVER, _HEADER_BYTES)
        self.logger = _errors
        self._limits = limits
        self._counted = ""
        self._waiting: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accept the connection, or refuse it above the limit."""
        super().connection_made(transport)  # type: ignore[arg-type]
        peer, limits = peer_address(transport), self._limits
        address = client_key(peer)
        most_each = limits.connections if is_in(peer, limits.proxies) else limits.connections_each
        reason = "each" if limits.open[address] >= most_each else ""
        if reason or limits.open.total() >= limits.connections:
            _cut.labels(reason or "total").inc()
            self.transport.write(_CROWDED)
            self.transport.close()
            return
        self._counted = address
        limits.open[address] += 1
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        super().connection_lost(exc)
        if self._counted:
            self._limits.open[self._counted] -= 1
            if not self._limits.open[self._counted]:
                del self._limits.open[self._counted]
            self._counted = ""
        for timer in (self._waiting, self._stalled):
            if timer is not None:
                timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Process received data."""
        if self._counted:
            self.server_state.default_headers = _date_field(int(time.time()))
            super().data_received(data)
            self._watch()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no request. Where an answer was begun, only the end of the connection can
        tell."""
        log.info("malformed request", stranger=peer_address(self.transport))
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            if self.cycle is not None and not self.cycle.response_complete:
                self.cycle.disconnected = True  # the application answers into the void
                self.cycle.message_event.set()
            super().send_400_response(msg)
        else:
            self._cut("malformed")

    def _unsupported_upgrade_warning(self) -> None:
        """An upgrade that is not offered is passed over (RFC 9110 §7.8), and is no news."""

    def on_response_complete(self) -> None:
        """Proceed to the next request."""
        super().on_response_complete()
        self._watch()

    def pause_writing(self) -> None:
        """Note that the client does not read."""
        super().pause_writing()
        if self._stalled is None:
            self._stalled = self.loop.call_later(self._limits.stall_seconds, self._cut, "stalled")

    def resume_writing(self) -> None:
        """It does."""
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def _watch(self) -> None:
        """Limit the time of an incomplete request that is not being processed."""
        begun = self.cycle is not None
        is_at_work = begun and not self.cycle.response_complete
        is_idle = begun and self.conn.their_state is h11.IDLE and not self.conn.trailing_data[0]
        # idle connections are limited by uvicorn's keep-alive
        if is_at_work or is_idle or self.transport.is_closing():
            if self._waiting is not None:
                self._waiting.cancel()
                self._waiting = None
        elif self._waiting is None:
            self._waiting = self.loop.call_later(
                self._limits.header_seconds, self._cut, "unfinished"
            )

    def _cut(self, reason: str) -> None:
        _cut.labels(reason).inc()
        self.transport.abort()


@lru_cache(maxsize=1)
def _date_field(second: int) -> list[tuple[bytes, bytes]]:
    return [(b"date", formatdate(second, usegmt=True).encode())]


class _Server(uvicorn.Server):
    """uvicorn's server, but woken by what happens: uvicorn looks ten times a second whether to
    end, and what the time is."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._ending = asyncio.Event()

    def end(self) -> None:
        """Close, once open requests are answered or their time is over."""
        self.should_exit = True
        self._ending.set()

    async def main_loop(self) -> None:
        """Serve until the end."""
        await self._ending.wait()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # the process's own handlers stay in place


def bind(host: str, port: int, variable: str, *, shared: bool = False) -> socket.socket:
    """Bind a TCP socket; an empty ``host`` is all addresses, IPv4 and IPv6; ``shared``: other
    processes of this user may listen there too, and each connection goes to one of them
    (``SO_REUSEPORT``). Raises SystemExit naming the settings variable when the address is not
    available."""
    try:
        if not host and socket.has_dualstack_ipv6():
            return _bound("::", port, shared=shared)
        return _bound(host, port, shared=shared)
    except OSError as error:
        where = host or "all addresses,"
        raise SystemExit(
            f"refusing to start: {variable}: cannot listen on {where} port {port}: {error.strerror}"
        ) from None


def _bound(host: str, port: int, *, shared: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio disables Nagle's algorithm for sockets that are made with this protocol number only
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if host == "::":
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind((host, port))
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


@asynccontextmanager
async def http_server(
    app: Any, listener: socket.socket, *, grace: float = 5.0, limits: HttpLimits | None = None
) -> AsyncIterator[int]:
    """Serve an ASGI application on a bound socket; yield the port. On leaving, open requests
    have ``grace`` seconds."""
    within = limits or HttpLimits()

    def protocol(**rest: Any) -> _Limited:
        return _Limited(within, **rest)

    made: Any = protocol  # uvicorn calls it like a class
    config = uvicorn.Config(
        Proxied(app, within.proxies),
        http=made,
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=max(1, round(grace)),
        timeout_keep_alive=within.idle_seconds,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]), name="http")
    try:
        while not server.started and not serving.done():  # noqa: ASYNC110 - uvicorn offers no event
            await asyncio.sleep(0.005)
        if serving.done():
            serving.result()
        yield int(listener.getsockname()[1])
    finally:
        server.end()
        with suppress(asyncio.CancelledError):
            await serving
        listener.close()
