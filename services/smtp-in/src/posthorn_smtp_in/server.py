"""The listeners of the inbound SMTP service."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

import structlog

from posthorn.ports.sending import Senders, Throttle
from posthorn.runtime.http import bind
from posthorn.runtime.listen import Gate
from posthorn.runtime.passwords import Passwords
from posthorn.runtime.proxy_protocol import Balancers, Entrance, entering
from posthorn_smtp_in.connection import Edge
from posthorn_smtp_in.room import Allowance, Room
from posthorn_smtp_in.service import Backends, Reception
from posthorn_smtp_in.session import Session
from posthorn_smtp_in.settings import SmtpSettings, SubmissionSettings
from posthorn_smtp_in.submission import Submission
from posthorn_smtp_in.submission_session import SubmissionSession

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Listening:
    """Where the service listens, and what its sessions share."""

    port: int
    """Where TLS comes by STARTTLS."""
    gate: Gate
    room: Room
    tls_port: int | None = None
    """Where TLS comes first."""
    proxy_port: int | None = None
    """As ``port``, for balancers that send a PROXY header."""
    proxy_tls_port: int | None = None
    """As ``tls_port``, for such balancers."""


@asynccontextmanager
async def serving(
    settings: SmtpSettings, backends: Backends, tls: ssl.SSLContext | None, *, grace: float
) -> AsyncIterator[Listening]:
    """Serve the mx role, with STARTTLS when there is a certificate. On leaving, sessions are drained within ``grace`` seconds."""
    room, gate = _room(settings), _gate(settings)
    edge = Edge(settings, Reception(settings, room, backends), gate, tls)
    async with AsyncExitStack() as stack:
        doors = _Doors(stack, settings, gate, grace)

        def entrance(client: str | None) -> Session:
            return Session(edge, client=client)

        proxy_port = await doors.for_balancers(settings.smtp_proxy_port, "POSTHORN_SMTP_PROXY_PORT", entrance)
        port = await doors.open(settings.smtp_port, "POSTHORN_SMTP_PORT", entrance)
        log.info("listening", smtp=port, smtp_proxy=proxy_port)
        yield Listening(port, gate, room, proxy_port=proxy_port)


@asynccontextmanager
async def serving_submission(
    settings: SubmissionSettings,
    backends: Backends,
    senders: Senders,
    throttle: Throttle,
    passwords: Passwords,
    tls: ssl.SSLContext | None,
    *,
    grace: float,
) -> AsyncIterator[Listening]:
    """Serve the submission role: STARTTLS on one port, and TLS from the first octet on another. Ends as ``serving`` does.

    Raises SystemExit when nobody could log in for want of a certificate.
    """
    if tls is None and settings.smtp_cleartext_auth == "never":
        raise SystemExit(
            "refusing to start: POSTHORN_TLS_DIR: logins are taken under TLS only, and there is no certificate"
        )
    room, gate = _room(settings), _gate(settings, settings.submission_sessions_per_account)
    submission = Submission(settings, room, backends, senders, throttle, passwords)
    edge = Edge(settings, submission, gate, tls)
    async with AsyncExitStack() as stack:
        doors = _Doors(stack, settings, gate, grace)

        def entrance(client: str | None, *, secure: bool = False) -> SubmissionSession:
            return SubmissionSession(edge, submission, secure=secure, client=client)

        tls_port = proxy_tls_port = None
        if tls is not None:
            secure, wanted = partial(entrance, secure=True), settings.submissions_proxy_port
            proxy_tls_port = await doors.for_balancers(wanted, "POSTHORN_SUBMISSIONS_PROXY_PORT", secure, tls)
            tls_port = await doors.open(settings.submissions_port, "POSTHORN_SUBMISSIONS_PORT", secure, tls)
        wanted = settings.submission_proxy_port
        proxy_port = await doors.for_balancers(wanted, "POSTHORN_SUBMISSION_PROXY_PORT", entrance)
        port = await doors.open(settings.submission_port, "POSTHORN_SUBMISSION_PORT", entrance)
        log.info(
            "listening",
            submission=port,
            submissions=tls_port,
            submission_proxy=proxy_port,
            submissions_proxy=proxy_tls_port,
        )
        watch = asyncio.create_task(submission.keep_watch(), name="watch")
        stack.callback(watch.cancel)
        yield Listening(port, gate, room, tls_port, proxy_port, proxy_tls_port)


class _Doors:
    """The process's listeners, which share a gate and close with the stack."""

    def __init__(self, stack: AsyncExitStack, settings: SmtpSettings, gate: Gate, grace: float) -> None:
        self._stack = stack
        self._settings = settings
        self._gate = gate
        self._grace = grace
        self._balancers = Balancers(settings.proxy_networks, gate)

    async def for_balancers(
        self, port: int | None, variable: str, entrance: Entrance, tls: ssl.SSLContext | None = None
    ) -> int | None:
        """Listen for connections with a PROXY header, if there is to be such a port; gives it."""
        return None if port is None else await self.open(port, variable, entrance, tls, self._balancers)

    async def open(
        self,
        port: int,
        variable: str,
        entrance: Entrance,
        tls: ssl.SSLContext | None = None,
        balancers: Balancers | None = None,
    ) -> int:
        """Listen; gives the port. Raises SystemExit naming the variable when it cannot be had."""
        listener = bind(self._settings.smtp_host, port, variable)
        seconds = self._settings.smtp_handshake_seconds
        return await self._stack.enter_async_context(
            entering(entrance, listener, self._gate, balancers, grace=self._grace, tls=tls, handshake_seconds=seconds)
        )


def _gate(settings: SmtpSettings, per_account: int | None = None) -> Gate:
    return Gate(
        settings.smtp_sessions,
        settings.smtp_sessions_per_address,
        per_network=settings.smtp_sessions_per_network,
        per_account=per_account,
        stress_seconds=settings.smtp_stress_seconds,
    )


def _room(settings: SmtpSettings) -> Room:
    return Room(
        memory=Allowance(settings.smtp_memory_bytes, "memory"),
        spool=Allowance(settings.smtp_spool_bytes, "spool"),
        inline=settings.smtp_inline_bytes,
        max_size=settings.smtp_max_size,
        directory=settings.smtp_spool_dir,
        input=Allowance(settings.smtp_input_bytes, "input"),
    )
