"""The listener of the inbound SMTP service."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

from posthorn.ports.blobs import Blobs
from posthorn.ports.directory import Directory
from posthorn.ports.ingest import Ingest
from posthorn.runtime.http import bind
from posthorn.runtime.listen import Gate, listening
from posthorn_smtp_in.connection import Edge
from posthorn_smtp_in.letter import Allowance, Room
from posthorn_smtp_in.service import Reception
from posthorn_smtp_in.session import Session
from posthorn_smtp_in.settings import SmtpSettings

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Listening:
    """Where the service listens, and what its sessions share."""

    port: int
    gate: Gate
    room: Room


@asynccontextmanager
async def serving(
    settings: SmtpSettings,
    directory: Directory,
    ingest: Ingest,
    blobs: Blobs,
    tls: ssl.SSLContext | None,
    *,
    grace: float,
) -> AsyncIterator[Listening]:
    """Serve SMTP, with STARTTLS when there is a certificate. On leaving, sessions are drained within ``grace`` seconds."""
    room = Room(
        memory=Allowance(settings.smtp_memory_bytes, "memory"),
        spool=Allowance(settings.smtp_spool_bytes, "spool"),
        inline=settings.smtp_inline_bytes,
        max_size=settings.smtp_max_size,
        directory=settings.smtp_spool_dir,
    )
    gate = Gate(settings.smtp_sessions, settings.smtp_sessions_per_address)
    edge = Edge(settings, Reception(settings, room, directory, ingest, blobs), gate, tls)
    listener = bind(settings.smtp_host, settings.smtp_port, "POSTHORN_SMTP_PORT")
    async with listening(lambda: Session(edge), listener, gate, grace=grace) as port:
        log.info("listening", smtp=port)
        yield Listening(port, gate, room)
