"""The context: where the service listens."""

from __future__ import annotations

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
from posthorn_pop3.context import ServerContext, Times
from posthorn_pop3.protocol import Pop3Protocol
from posthorn_pop3.service import MaildropService
from posthorn_pop3.session import SessionLimits
from posthorn_pop3.settings import Pop3Settings

log = structlog.get_logger()


def _keep_alive(listener: socket.socket) -> None:
    """Have the kernel find dead clients within about a minute; accepted connections inherit it from
    the listener.

    Else a laptop that went to sleep would hold its maildrop until the idle time-out, and be told
    [IN-USE] when it wakes.
    """
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
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
    settings: Pop3Settings, service: MaildropService, tls: ssl.SSLContext | None
) -> AsyncIterator[Listening]:
    """Serve POP3, and POP3 over TLS when there is a certificate. On leaving, sessions are
    drained."""
    limiter = ConnectionLimiter(
        settings.pop3_sessions,
        settings.pop3_sessions_per_address,
        per_network=settings.pop3_sessions_per_network,
        stress_seconds=settings.pop3_stress_seconds,
    )
    context = ServerContext(
        service=service,
        limiter=limiter,
        times=Times(
            settings.pop3_login_seconds,
            settings.pop3_idle_seconds,
            settings.pop3_write_seconds,
            settings.pop3_session_seconds,
        ),
        session_limits=SessionLimits(
            settings.pop3_login_attempts,
            settings.pop3_failure_delay_seconds,
            settings.pop3_outlook_no_nuls,
        ),
        tls=tls,
        loopback_passwords=settings.pop3_cleartext == "loopback",
    )
    balancers = TrustedProxies(settings.proxy_networks, limiter)
    grace = settings.grace_seconds
    async with AsyncExitStack() as stack:

        def make_session(client: str | None, *, secure: bool = False) -> Pop3Protocol:
            return Pop3Protocol(context, secure=secure, client=client)

        async def listen(
            port: int, name: str, context: ssl.SSLContext | None, by: TrustedProxies | None = None
        ) -> int:
            listener = bind(settings.pop3_host, port, f"POSTHORN_{name}_PORT")
            _keep_alive(listener)
            made = partial(make_session, secure=context is not None)
            return await stack.enter_async_context(
                listen_behind_proxy(made, listener, limiter, by, grace=grace, tls=context)
            )

        async def listen_for_balancers(
            port: int | None, name: str, context: ssl.SSLContext | None
        ) -> int | None:
            return None if port is None else await listen(port, name, context, balancers)

        tls_port = proxy_tls_port = None
        if tls:
            proxy_tls_port = await listen_for_balancers(
                settings.pop3s_proxy_port, "POP3S_PROXY", tls
            )
            tls_port = await listen(settings.pop3s_port, "POP3S", tls)
        proxy_port = await listen_for_balancers(settings.pop3_proxy_port, "POP3_PROXY", None)
        port = await listen(settings.pop3_port, "POP3", None)
        log.info(
            "listening",
            pop3=port,
            pop3s=tls_port,
            pop3_proxy=proxy_port,
            pop3s_proxy=proxy_tls_port,
        )
        yield Listening(port, tls_port, limiter, proxy_port, proxy_tls_port)
