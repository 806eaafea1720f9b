"""The listeners of the inbound SMTP service."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

import structlog

from posthorn.ports.sending import Senders, Throttle
from posthorn.runtime.http import bind
from posthorn.runtime.listen import Gate, listening
from posthorn.runtime.passwords import Passwords
from posthorn_smtp_in.connection import Edge
from posthorn_smtp_in.letter import Allowance, Room
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


@asynccontextmanager
async def serving(
    settings: SmtpSettings, backends: Backends, tls: ssl.SSLContext | None, *, grace: float
) -> AsyncIterator[Listening]:
    """Serve the mx role, with STARTTLS when there is a certificate. On leaving, sessions are drained within ``grace`` seconds."""
    room, gate = _room(settings), Gate(settings.smtp_sessions, settings.smtp_sessions_per_address)
    edge = Edge(settings, Reception(settings, room, backends), gate, tls)
    listener = bind(settings.smtp_host, settings.smtp_port, "POSTHORN_SMTP_PORT")
    async with listening(lambda: Session(edge), listener, gate, grace=grace) as port:
        log.info("listening", smtp=port)
        yield Listening(port, gate, room)


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
    room, gate = _room(settings), Gate(settings.smtp_sessions, settings.smtp_sessions_per_address)
    submission = Submission(settings, room, backends, senders, throttle, passwords)
    edge = Edge(settings, submission, gate, tls)
    async with AsyncExitStack() as stack:

        async def listen(port: int, variable: str, context: ssl.SSLContext | None) -> int:
            listener = bind(settings.smtp_host, port, variable)
            factory = partial(SubmissionSession, edge, submission, secure=context is not None)
            seconds = settings.smtp_handshake_seconds
            return await stack.enter_async_context(
                listening(factory, listener, gate, grace=grace, tls=context, handshake_seconds=seconds)
            )

        tls_port = await listen(settings.submissions_port, "POSTHORN_SUBMISSIONS_PORT", tls) if tls else None
        port = await listen(settings.submission_port, "POSTHORN_SUBMISSION_PORT", None)
        log.info("listening", submission=port, submissions=tls_port)
        yield Listening(port, gate, room, tls_port)


def _room(settings: SmtpSettings) -> Room:
    return Room(
        memory=Allowance(settings.smtp_memory_bytes, "memory"),
        spool=Allowance(settings.smtp_spool_bytes, "spool"),
        inline=settings.smtp_inline_bytes,
        max_size=settings.smtp_max_size,
        directory=settings.smtp_spool_dir,
    )
