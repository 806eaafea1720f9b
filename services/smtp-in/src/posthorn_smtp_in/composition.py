"""How the process is put together: what both roles need, and what submission needs besides."""

from __future__ import annotations

from posthorn.adapters.blobs.config import open_blobs
from posthorn.adapters.nats.connection import connect as connect_nats
from posthorn.adapters.nats.directory import NatsDirectory
from posthorn.adapters.nats.events import NatsEvents
from posthorn.adapters.nats.ingest import NatsIngest
from posthorn.adapters.nats.installation import DirectoryMark, NatsClock
from posthorn.runtime.installation import InstallationGuard
from posthorn.runtime.passwords import Passwords
from posthorn.runtime.process import Process
from posthorn.runtime.settings import key_list
from posthorn.runtime.tls import Certificate
from posthorn_smtp_in.server import serving, serving_submission
from posthorn_smtp_in.service import Backends
from posthorn_smtp_in.settings import SmtpInSettings, SubmissionInSettings


async def start(process: Process) -> None:
    """Start everything on the process's stack; the listeners last. The role mx opens no Postgres (promise 2)."""
    settings, stack = process.settings, process.stack
    assert isinstance(settings, SmtpInSettings)
    part = "submission" if isinstance(settings, SubmissionInSettings) else "smtp-in"
    connection = await stack.enter_async_context(connect_nats(settings, part, part))
    directory = await stack.enter_async_context(NatsDirectory(connection))
    ingest = NatsIngest(connection)
    process.health.add_check("nats", ingest.probe)
    process.health.add_check("directory", directory.probe)
    process.health.add_check("clock", NatsClock(connection).probe)
    blobs = await stack.enter_async_context(open_blobs(settings))  # no need of ours: without it small mail goes on
    backends = Backends(
        directory,
        ingest,
        blobs,
        await stack.enter_async_context(NatsEvents(connection)),
        key_list(settings.srs_key),
    )
    certificate = Certificate(settings.tls_dir) if settings.tls_dir else None
    if certificate:
        await process.task(certificate.watch(), "certificate")
    tls, grace = certificate.context if certificate else None, settings.grace_seconds
    if not isinstance(settings, SubmissionInSettings):
        await stack.enter_async_context(serving(settings, backends, tls, grace=grace))
        return
    # only now: the role mx does not pay for the libraries either
    from posthorn.adapters.postgres.database import connect as connect_postgres
    from posthorn.adapters.postgres.directory.senders import PostgresSenders
    from posthorn.adapters.postgres.installation import PostgresInstallation
    from posthorn.adapters.postgres.queue.rate_limits import PostgresThrottle

    database = await stack.enter_async_context(connect_postgres(settings, by_key=True))
    process.health.add_check("postgres", database.probe)
    guard = InstallationGuard(PostgresInstallation(database), settings)
    guard.watch_blobs(blobs)
    guard.watch_directory(DirectoryMark(connection))
    database.gate, database.installation = guard.check, guard.installation
    process.health.add_check("installation", guard.probe)
    await guard.look()
    await process.task(guard.run(), "installation")
    passwords = Passwords()
    stack.callback(passwords.close)
    senders, throttle = PostgresSenders(database), PostgresThrottle(database)
    await stack.enter_async_context(
        serving_submission(settings, backends, senders, throttle, passwords, tls, grace=grace)
    )
