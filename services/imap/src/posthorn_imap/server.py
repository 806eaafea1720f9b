"""The context, and where the service listens."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from posthorn.runtime.listen import ConnectionLimiter
from posthorn.runtime.mailbox_ports import KeepAlive, Listening, MailboxPorts, listening_on
from posthorn.runtime.timer_wheel import TimerWheel
from posthorn_imap.context import ImapContext
from posthorn_imap.draining import Spread
from posthorn_imap.protocol import ImapProtocol
from posthorn_imap.server_context import ServerContext
from posthorn_imap.settings import ImapSettings

_KEEP_ALIVE = KeepAlive(idle=300, interval=30, probes=4)
"""Dead clients are found within some minutes. Not more often: a phone wakes up for each probe."""


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
    context = ServerContext(
        sessions=sessions,
        limiter=limiter,
        wheel=TimerWheel(),
        spread=Spread(settings.grace_seconds),
        tls=tls,
        loopback_passwords=settings.imap_cleartext == "loopback",
    )
    ports = MailboxPorts(
        "imap",
        settings.imap_host,
        settings.imap_port,
        settings.imaps_port,
        settings.imap_proxy_port,
        settings.imaps_proxy_port,
        settings.proxy_networks,
        settings.grace_seconds,
        settings.imap_cleartext,
    )

    def make_connection(client: str | None, secure: bool) -> ImapProtocol:
        return ImapProtocol(context, secure=secure, client=client)

    turning = asyncio.create_task(context.wheel.run(), name="imap times")
    try:
        async with listening_on(ports, make_connection, limiter, tls, _KEEP_ALIVE) as listening:
            yield listening
    finally:
        turning.cancel()
