"""How the POP3 process is put together."""

from __future__ import annotations

from posthorn.adapters.blobs.config import open_blobs
from posthorn.adapters.blobs.segments import SegmentReader
from posthorn.adapters.nats.connection import connect as connect_nats
from posthorn.adapters.nats.events import NatsEvents
from posthorn.adapters.postgres.database import connect as connect_postgres
from posthorn.adapters.postgres.directory.senders import PostgresSenders
from posthorn.adapters.postgres.installation import PostgresInstallation
from posthorn.adapters.postgres.mailboxes.maildrops import PostgresMaildrops
from posthorn.adapters.postgres.queue.rate_limits import PostgresThrottle
from posthorn.runtime.installation import InstallationGuard
from posthorn.runtime.passwords import Passwords
from posthorn.runtime.process import Process
from posthorn.runtime.tls import Certificate
from posthorn_pop3.doorkeeper import Doorkeeper
from posthorn_pop3.reads import Reads
from posthorn_pop3.server import serving
from posthorn_pop3.service import PostOffice
from posthorn_pop3.settings import Pop3Settings


async def start(process: Process) -> None:
    """Start everything on the process's stack; the listener last."""
    settings, stack = process.settings, process.stack
    assert isinstance(settings, Pop3Settings)
    database = await stack.enter_async_context(connect_postgres(settings, by_key=True))
    maildrops = PostgresMaildrops(database)
    blobs = await stack.enter_async_context(open_blobs(settings))
    process.health.add_check("postgres", maildrops.probe)
    process.health.add_check("blobs", blobs.probe)
    guard = InstallationGuard(PostgresInstallation(database), settings)
    guard.watch_blobs(blobs)
    database.gate, database.installation = guard.check, guard.installation
    process.health.add_check("installation", guard.probe)
    process.health.add_check("clock", guard.probe_clock)
    await guard.look()
    await process.task(guard.run(), "installation")
    bodies = SegmentReader(blobs, cache_octets=settings.pop3_cache_octets)
    stack.push_async_callback(bodies.close)
    passwords = Passwords()
    stack.callback(passwords.close)
    doorkeeper = Doorkeeper(passwords, PostgresSenders(database), PostgresThrottle(database), maildrops)
    reads = Reads()
    await process.task(_tell(settings, reads), "reads")
    office = PostOffice(maildrops, bodies, doorkeeper, reads)
    await process.task(office.keep_leases(), "leases")
    await process.task(office.keep_watch(), "watch")
    certificate = Certificate(settings.tls_dir) if settings.tls_dir else None
    if certificate:
        await process.task(certificate.watch(), "certificate")
    await stack.enter_async_context(serving(settings, office, certificate.context if certificate else None))


async def _tell(settings: Pop3Settings, reads: Reads) -> None:
    """Tell of what was read, from the moment NATS is there; people get their mail without it."""
    async with connect_nats(settings, "posthorn-pop3", "pop3") as connection, NatsEvents(connection) as events:
        await reads.tell(events)
