"""Composition root of the inbound SMTP service."""

from __future__ import annotations

from posthorn.adapters.blobs import open_blobs
from posthorn.adapters.nats.connection import connect
from posthorn.adapters.nats.directory import NatsDirectory
from posthorn.adapters.nats.ingest import NatsIngest
from posthorn.runtime.process import Process, serve
from posthorn.runtime.tls import Certificate
from posthorn_smtp_in.server import serving
from posthorn_smtp_in.settings import SmtpInSettings


def main() -> None:
    """Run the service: the script ``posthorn-smtp-in``."""
    settings = SmtpInSettings.load()

    async def start(process: Process) -> None:
        stack = process.stack
        connection = await stack.enter_async_context(connect(settings, "smtp-in"))
        directory = await stack.enter_async_context(NatsDirectory(connection))
        ingest = NatsIngest(connection)
        blobs = await stack.enter_async_context(open_blobs(settings))  # no need of ours: without it small mail goes on
        process.health.need("nats", ingest.probe)
        process.health.need("directory", directory.probe)
        certificate = Certificate(settings.tls_dir) if settings.tls_dir else None
        if certificate:
            await process.task(certificate.watch(), "certificate")
        tls = certificate.context if certificate else None
        await stack.enter_async_context(serving(settings, directory, ingest, blobs, tls, grace=settings.grace_seconds))

    serve("smtp-in", settings, start)
