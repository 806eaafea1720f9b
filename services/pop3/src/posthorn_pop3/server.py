"""The context, and where the service listens."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from posthorn.runtime.listen import ConnectionLimiter
from posthorn.runtime.mailbox_ports import KeepAlive, Listening, MailboxPorts, listening_on
from posthorn_pop3.context import ServerContext, Times
from posthorn_pop3.protocol import Pop3Protocol
from posthorn_pop3.service import MaildropService
from posthorn_pop3.session import SessionLimits
from posthorn_pop3.settings import Pop3Settings

_KEEP_ALIVE = KeepAlive(idle=30, interval=10, probes=3)
"""Dead clients are found within about a minute. Else a laptop that went to sleep would hold its
maildrop until the idle time-out, and be told [IN-USE] when it wakes."""


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
    ports = MailboxPorts(
        "pop3",
        settings.pop3_host,
        settings.pop3_port,
        settings.pop3s_port,
        settings.pop3_proxy_port,
        settings.pop3s_proxy_port,
        settings.proxy_networks,
        settings.grace_seconds,
        settings.pop3_cleartext,
    )

    def make_session(client: str | None, secure: bool) -> Pop3Protocol:
        return Pop3Protocol(context, secure=secure, client=client)

    async with listening_on(ports, make_session, limiter, tls, _KEEP_ALIVE) as listening:
        yield listening
