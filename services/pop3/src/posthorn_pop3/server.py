"""The edge: where the service listens."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

import structlog

from posthorn.runtime.http import bind
from posthorn.runtime.listen import Gate, listening
from posthorn_pop3.connection import Connection, Edge, Times
from posthorn_pop3.service import PostOffice
from posthorn_pop3.session import Policy
from posthorn_pop3.settings import Pop3Settings

log = structlog.get_logger()


def _keep_alive(listener: socket.socket) -> None:
    """Have the kernel find dead clients within about a minute; accepted connections inherit it from the listener.

    Else a laptop that went to sleep would hold its maildrop until the idle time-out, and be told [IN-USE] when it wakes.
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
    gate: Gate


@asynccontextmanager
async def serving(settings: Pop3Settings, office: PostOffice, tls: ssl.SSLContext | None) -> AsyncIterator[Listening]:
    """Serve POP3, and POP3 over TLS when there is a certificate. On leaving, sessions are drained."""
    gate = Gate(settings.pop3_sessions, settings.pop3_sessions_per_address)
    edge = Edge(
        office=office,
        gate=gate,
        times=Times(settings.pop3_login_seconds, settings.pop3_idle_seconds, settings.pop3_write_seconds),
        policy=Policy(settings.pop3_login_attempts, settings.pop3_failure_delay_seconds, settings.pop3_outlook_no_nuls),
        tls=tls,
        loopback_passwords=settings.pop3_cleartext == "loopback",
    )
    async with AsyncExitStack() as stack:

        async def listen(port: int, variable: str, context: ssl.SSLContext | None) -> int:
            listener = bind(settings.pop3_host, port, variable)
            _keep_alive(listener)
            factory = partial(Connection, edge, secure=context is not None)
            return await stack.enter_async_context(
                listening(factory, listener, gate, grace=settings.grace_seconds, tls=context)
            )

        tls_port = await listen(settings.pop3s_port, "POSTHORN_POP3S_PORT", tls) if tls else None
        port = await listen(settings.pop3_port, "POSTHORN_POP3_PORT", None)
        log.info("listening", pop3=port, pop3s=tls_port)
        yield Listening(port, tls_port, gate)
