"""The four ports of a protocol of mailboxes (POP3, IMAP): in plain and under TLS from the first
byte, each for clients and for load balancers that send a PROXY header."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

import structlog

from posthorn.model.networks import Network
from posthorn.runtime.http import bind
from posthorn.runtime.listen import ConnectionLimiter
from posthorn.runtime.proxy_protocol import TrustedProxies, listen_behind_proxy
from posthorn.runtime.session import SessionProtocol

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """How the kernel finds dead clients; times in seconds."""

    idle: int
    interval: int
    probes: int

    def apply(self, listener: socket.socket) -> None:
        """Set it on a listener, from which accepted connections inherit it."""
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in (
            ("TCP_KEEPIDLE", self.idle),
            ("TCP_KEEPINTVL", self.interval),
            ("TCP_KEEPCNT", self.probes),
        ):
            if hasattr(socket, option):
                listener.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


@dataclass(frozen=True, slots=True)
class MailboxPorts:
    """Where to listen, from the settings; a port for load balancers may be closed (None)."""

    protocol: str
    """In lower case, as in the names of the settings."""
    host: str
    port: int
    tls_port: int
    """Used only with a certificate; so is ``proxy_tls_port``."""
    proxy_port: int | None
    proxy_tls_port: int | None
    proxies: Sequence[Network]
    """Networks of the load balancers."""
    grace_seconds: float
    cleartext: str
    """Where passwords are taken without TLS: ``loopback`` or ``never``."""


@dataclass(frozen=True, slots=True)
class Listening:
    """Where the service listens."""

    port: int
    tls_port: int | None
    limiter: ConnectionLimiter
    proxy_port: int | None = None
    """As ``port``, for balancers that send a PROXY header."""
    proxy_tls_port: int | None = None
    """As ``tls_port``, for such balancers."""


@asynccontextmanager
async def listening_on(
    ports: MailboxPorts,
    make_connection: Callable[[str | None, bool], SessionProtocol],
    limiter: ConnectionLimiter,
    tls: ssl.SSLContext | None,
    keep_alive: KeepAlive,
) -> AsyncIterator[Listening]:
    """Listen on the ports; on leaving, connections are drained. ``make_connection`` gets the
    client's address from a PROXY header, None without one, and whether TLS is there already."""
    balancers = TrustedProxies(ports.proxies, limiter)
    async with AsyncExitStack() as stack:

        async def listen(
            port: int, name: str, context: ssl.SSLContext | None, by: TrustedProxies | None = None
        ) -> int:
            listener = bind(ports.host, port, f"POSTHORN_{name}_PORT")
            keep_alive.apply(listener)
            made = partial(_made, make_connection, context is not None)
            return await stack.enter_async_context(
                listen_behind_proxy(
                    made, listener, limiter, by, grace=ports.grace_seconds, tls=context
                )
            )

        async def listen_for_balancers(
            port: int | None, name: str, context: ssl.SSLContext | None
        ) -> int | None:
            return None if port is None else await listen(port, name, context, balancers)

        name = ports.protocol.upper()
        if tls is None and ports.cleartext == "never":
            log.warning(
                "nobody can log in",
                detail="POSTHORN_TLS_DIR is not set, so there is no TLS, and"
                f" POSTHORN_{name}_CLEARTEXT=never takes no logins without: set POSTHORN_TLS_DIR",
            )
        tls_port = proxy_tls_port = None
        if tls:
            proxy_tls_port = await listen_for_balancers(ports.proxy_tls_port, f"{name}S_PROXY", tls)
            tls_port = await listen(ports.tls_port, f"{name}S", tls)
        proxy_port = await listen_for_balancers(ports.proxy_port, f"{name}_PROXY", None)
        port = await listen(ports.port, name, None)
        where = {
            ports.protocol: port,
            f"{ports.protocol}s": tls_port,
            f"{ports.protocol}_proxy": proxy_port,
            f"{ports.protocol}s_proxy": proxy_tls_port,
        }
        log.info("listening", **where)
        yield Listening(port, tls_port, limiter, proxy_port, proxy_tls_port)


def _made(
    make_connection: Callable[[str | None, bool], SessionProtocol],
    secure: bool,
    client: str | None,
) -> SessionProtocol:
    return make_connection(client, secure)
