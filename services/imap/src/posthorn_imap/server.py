"""Where the service listens."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

import structlog

from posthorn.runtime.http import bind
from posthorn.runtime.listen import ConnectionLimiter
from posthorn.runtime.proxy_protocol import TrustedProxies, listen_behind_proxy
from posthorn_imap.context import ImapContext
from posthorn_imap.draining import Spread
from posthorn_imap.protocol import ImapProtocol
from posthorn_imap.server_context import ServerContext
from posthorn_imap.settings import ImapSettings
from posthorn_imap.wheel import TimerWheel

log = structlog.get_logger()


def _keep_alive(listener: socket.socket) -> None:
    """Have the kernel find dead clients within some minutes; accepted connections inherit it from
    the listener. Not more often: a phone wakes up for each probe."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 300), ("TCP_KEEPINTVL", 30), ("TCP_KEEPCNT", 4)):
        if hasattr(socket, option):
            listener.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


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
async def serving(
    settings: ImapSettings, sessions: ImapContext, tls: ssl.SSLContext | None
) -> AsyncIterator[Listening]:
    """Serve IMAP, and IMAP over TLS when there is a certificate. On leaving, connections are
    drained."""
    limiter = ConnectionLimiter(
        settings.imap_connections,
        settings.imap_connections_per_address,
        per_network=settings.imap_connections_per_network,
        per_account=settings.imap_connections_per_account,
        stress_seconds=settings.imap_stress_seconds,
    )
    grace = settings.grace_seconds
    context = ServerContext(
        sessions=sessions,
        limiter=limiter,
        wheel=TimerWheel(),
        spread=Spread(grace),
        tls=tls,
        loopback_passwords=settings.imap_cleartext == "loopback",
    )
    balancers = TrustedProxies(settings.proxy_networks, limiter)
    async with AsyncExitStack() as stack:

        def make_connection(client: str | None, *, secure: bool = False) -> ImapProtocol:
            return ImapProtocol(context, secure=secure, client=client)

        async def listen(
            port: int, name: str, context: ssl.SSLContext | None, by: TrustedProxies | None = None
        ) -> int:
            listener = bind(settings.imap_host, port, f"POSTHORN_{name}_PORT")
            _keep_alive(listener)
            made = partial(make_connection, secure=context is not None)
            return await stack.enter_async_context(
                listen_behind_proxy(made, listener, limiter, by, grace=grace, tls=context)
            )

        async def listen_for_balancers(
            port: int | None, name: str, context: ssl.SSLContext | None
        ) -> int | None:
            return None if port is None else await listen(port, name, context, balancers)

        turning = asyncio.create_task(context.wheel.run(), name="imap times")
        stack.callback(turning.cancel)
        tls_port = proxy_tls_port = None
        if tls:
            proxy_tls_port = await listen_for_balancers(
                settings.imaps_proxy_port, "IMAPS_PROXY", tls
            )
            tls_port = await listen(settings.imaps_port, "IMAPS", tls)
        proxy_port = await listen_for_balancers(settings.imap_proxy_port, "IMAP_PROXY", None)
        port = await listen(settings.imap_port, "IMAP", None)
        log.info(
            "listening",
            imap=port,
            imaps=tls_port,
            imap_proxy=proxy_port,
            imaps_proxy=proxy_tls_port,
        )
        yield Listening(port, tls_port, limiter, proxy_port, proxy_tls_port)
