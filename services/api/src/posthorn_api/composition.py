"""How the API process is put together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.resources.abc import Traversable
from importlib.util import find_spec
from typing import TYPE_CHECKING

from posthorn.adapters.blobs.config import open_blobs
from posthorn.adapters.blobs.segments import SegmentReader
from posthorn.adapters.dns import DnsResolver
from posthorn.adapters.issuer_fetch import HttpIssuer, fetch
from posthorn.adapters.nats.bucket import NatsDirectoryBucket
from posthorn.adapters.nats.connection import connect as connect_nats
from posthorn.adapters.nats.dead_letters import NatsDeadLetters
from posthorn.adapters.nats.directory import NatsDirectory
from posthorn.adapters.nats.event_log import NatsEventLog
from posthorn.adapters.nats.events import NatsEvents, NatsTrace
from posthorn.adapters.nats.heartbeats import NatsHeartbeats, beating
from posthorn.adapters.nats.ingest import NatsIngest
from posthorn.adapters.nats.installation import DirectoryMark
from posthorn.adapters.nats.mailbox_hints import NatsMailboxHints
from posthorn.adapters.nats.notifications import NatsNotifier
from posthorn.adapters.nats.route_probes import NatsRouteProbes
from posthorn.adapters.nats.scan_state import NatsScanStates
from posthorn.adapters.nats.stream_state import NatsStreamState
from posthorn.adapters.nats.unscanned_count import NatsUnscannedCount
from posthorn.adapters.postgres.database import connect as connect_postgres
from posthorn.adapters.postgres.directory.dns_checks import PostgresDnsChecks
from posthorn.adapters.postgres.directory.outbox import PostgresDirectorySource
from posthorn.adapters.postgres.events.checkpoint import PostgresEventCheckpoint
from posthorn.adapters.postgres.events.message_index import PostgresMessageIndex
from posthorn.adapters.postgres.events.statistics import PostgresStatistics
from posthorn.adapters.postgres.events.webhook_dispatch import PostgresDispatch
from posthorn.adapters.postgres.ids import read_id
from posthorn.adapters.postgres.installation import guard_of
from posthorn.adapters.postgres.lags import PostgresLags
from posthorn.adapters.postgres.replication import ReplicationWatch
from posthorn.adapters.postgres.reports.inbox import PostgresReportInbox
from posthorn.adapters.postgres.reports.outbox import PostgresReportOutbox
from posthorn.ports.directory import DirectorySource
from posthorn.ports.tenants import Tenants
from posthorn.runtime.brakes import Brake
from posthorn.runtime.http import bind, http_server
from posthorn.runtime.installation import InstallationGuard
from posthorn.runtime.passwords import Passwords, password_slots
from posthorn.runtime.process import Process
from posthorn.runtime.secret_box import SecretBox
from posthorn.runtime.traces import tracing
from posthorn_api.app import create_app
from posthorn_api.defence.service import DefenceService
from posthorn_api.defence.watch import ListingWatch
from posthorn_api.directory.publisher import REMOVED_LEAST, REMOVED_SHARE, Publisher, change_seconds
from posthorn_api.dns.service import LOOKUP_SECONDS
from posthorn_api.dns.watch import DnsWatch
from posthorn_api.events.reader import EventReader
from posthorn_api.login.oidc import OidcLogin
from posthorn_api.reports.reader import ReportReader
from posthorn_api.reports.sender import ReportSender
from posthorn_api.search.indexing import Indexer
from posthorn_api.services import OverNats, ServiceOptions, build
from posthorn_api.settings import ApiSettings
from posthorn_api.system.watch import LagWatch
from posthorn_api.upkeep import Upkeep
from posthorn_api.webhooks.post import Poster
from posthorn_api.webhooks.sender import Sender

if TYPE_CHECKING:
    from posthorn_api.auth.tokens import Tokens


def _console(settings: ApiSettings) -> Traversable | None:
    """Return the console's files, if they are to be served and are there."""
    if not settings.console or find_spec("posthorn_console") is None:
        return None
    found: Traversable | None = import_module("posthorn_console").console_files()
    return found


@dataclass(frozen=True, slots=True)
class _Reading:
    """What the reader of events writes to."""

    checkpoint: PostgresEventCheckpoint
    statistics: PostgresStatistics
    dispatch: PostgresDispatch
    sender: Sender
    index: PostgresMessageIndex


async def start(process: Process) -> None:
    """Start everything on the process's stack; the listener last."""
    settings, stack = process.settings, process.stack
    assert isinstance(settings, ApiSettings)
    await stack.enter_async_context(tracing("api", settings))
    database = await stack.enter_async_context(connect_postgres(settings, shared=True))
    blobs = await stack.enter_async_context(open_blobs(settings))
    guard = guard_of(database, settings, blobs, keeps=True)
    await guard.start(process)
    reader = SegmentReader(blobs)
    stack.push_async_callback(reader.close)
    passwords = Passwords(slots=password_slots(), allow_weak=settings.allow_weak_password_hashes)
    stack.callback(passwords.close)

    late, secret_box = OverNats(), SecretBox.from_settings(settings)
    dispatch = PostgresDispatch(database)
    options = ServiceOptions.from_settings(settings)
    sender = Sender(dispatch, Poster(options.webhook_addresses), secret_box)
    tokens = await _tokens(process, settings, secret_box)

    def oidc_login(verifier: Tokens) -> OidcLogin | None:
        client = settings.oidc_client
        if client is None or settings.oidc_issuer is None:
            return None
        return OidcLogin(client, HttpIssuer(settings.oidc_issuer), verifier, secret_box)

    built = build(
        database=database,
        blobs=blobs,
        bodies=reader,
        passwords=passwords,
        secret_box=secret_box,
        resolver=DnsResolver(settings.relay_dns_servers, lifetime=LOOKUP_SECONDS, keep=False),
        late=late,
        options=options,
        tokens=tokens,
        oidc_login=oidc_login,
        wake_webhooks=sender.wake,
    )
    stack.push_async_callback(built.sign_ins.close)
    services = built.services
    reading = _Reading(
        PostgresEventCheckpoint(database),
        PostgresStatistics(database),
        dispatch,
        sender,
        PostgresMessageIndex(database),
    )
    upkeep = Upkeep(
        built.administration,
        built.keys,
        built.idempotency,
        settings.admin_key,
        built.sessions,
        built.suppressions,
        built.audit,
        settings.audit_retention_days,
    )
    process.health.add_check("postgres", upkeep.probe)
    await process.task(upkeep.run(), "upkeep")
    await process.task(LagWatch(PostgresLags(database), late.streams).run(), "lags")
    replication = ReplicationWatch(
        database.ungated(), demanded=settings.database_replication == "synchronous"
    )
    # it says so; what the API writes it goes on writing
    await process.task(replication.run(), "replication")
    await process.task(sender.run(), "webhooks")
    await process.task(services.forwards.run(), "forward confirmations")
    await process.task(services.digests.run(), "digests")
    if settings.dns_check_seconds:
        await process.task(DnsWatch(services.dns, PostgresDnsChecks(database)).run(), "DNS checks")
    report_reader = ReportReader(
        PostgresReportInbox(database, settings.public_reports, settings.feedback_sources),
        reader,
        late.events,
    )
    await process.task(report_reader.run(), "report reader")
    if settings.reports_send:
        resolver = DnsResolver(settings.relay_dns_servers, lifetime=LOOKUP_SECONDS)
        report_sender = ReportSender(
            PostgresReportOutbox(database),
            late.ingest,
            resolver,
            settings.smtp_hostname
            if settings.relay_hostname == "localhost"
            else settings.relay_hostname,
        )
        await process.task(report_sender.run(), "report sender")
    await process.task(
        _on_nats(
            process,
            PostgresDirectorySource(database, on_published=change_seconds.observe),
            late,
            reading,
            guard,
            services.defence,
        ),
        "publisher",
    )

    listener = bind(settings.api_host, settings.api_port, "POSTHORN_API_PORT")
    app = create_app(
        services,
        built.guard,
        process.health,
        body_limit=settings.api_body_max_bytes,
        send_body_max_bytes=settings.send_body_max_bytes,
        import_body_max_bytes=settings.import_body_max_bytes,
        mail_import_body_max_bytes=settings.mail_import_body_max_bytes,
        console=_console(settings),
    )
    await stack.enter_async_context(
        http_server(app, listener, grace=settings.grace_seconds, limits=settings.http_limits)
    )
    stack.callback(services.feed.closing.set)  # before the server waits for open requests


async def _tokens(
    process: Process, settings: ApiSettings, secret_box: SecretBox
) -> Callable[[Tenants], Tokens | None]:
    """Return what makes the reader of tokens, the keys of the OIDC issuer renewed by a task of the
    process."""
    trust = settings.oidc
    if trust is None:
        return lambda _: None
    # only now: without an issuer the process does not pay for the libraries
    from posthorn.runtime.oidc.keys import IssuerKeys
    from posthorn_api.auth.tokens import Tokens

    keys = IssuerKeys(trust.issuer, fetch, refresh_seconds=trust.refresh_seconds)
    await process.task(keys.run(), "oidc")
    secret = secret_box.derived("idempotency of tokens")[0]
    return lambda tenants: Tokens(trust, keys, tenants, secret)


async def _on_nats(
    process: Process,
    source: DirectorySource,
    late: OverNats,
    reading: _Reading,
    guard: InstallationGuard,
    defence: DefenceService,
) -> None:
    """Do what needs NATS, from the moment it is there; everything else serves without it."""
    settings = process.settings
    assert isinstance(settings, ApiSettings)
    async with AsyncExitStack() as stack:
        connection = await stack.enter_async_context(connect_nats(settings, "posthorn-api", "api"))
        late.heartbeats.set(await stack.enter_async_context(NatsHeartbeats(connection)))
        await stack.enter_async_context(beating(connection, process.health, "api"))
        late.streams.set(NatsStreamState(connection))
        late.event_logs.set(partial(NatsEventLog, connection))
        guard.watch_directory(DirectoryMark(connection))
        brake = Brake("directory", REMOVED_SHARE, REMOVED_LEAST, guard.brakes_released)
        bucket, every = NatsDirectoryBucket(connection), settings.directory_reconcile_seconds
        publisher = Publisher(source, bucket, every, certain=guard.certain, brake=brake)
        events = await stack.enter_async_context(NatsEvents(connection))
        late.events.set(NatsNotifier(connection), events)
        late.hints.set(NatsMailboxHints(connection).announce)
        late.directory.set(await stack.enter_async_context(NatsDirectory(connection)))
        late.ingest.set(NatsIngest(connection, frames=settings.ingest_frames))
        trace = NatsTrace(connection)
        late.trace.set(trace)
        late.dead_letters.set(NatsDeadLetters(connection))
        late.publication.set(publisher)
        late.scan_states.set(NatsScanStates(connection))
        late.route_probes.set(NatsRouteProbes(connection))
        late.unscanned.set(NatsUnscannedCount(connection))
        reader = EventReader(
            NatsEventLog(connection),
            reading.checkpoint,
            trace,
            reading.statistics,
            reading.dispatch,
            reading.sender,
            counts_dmarc=settings.reports_send,
            readers=settings.event_readers,
            indexer=Indexer(reading.index, settings.events_max_age_seconds),
            read_id=read_id,
        )
        await guard.passed()
        async with asyncio.TaskGroup() as group:
            group.create_task(publisher.run(), name="publisher")
            group.create_task(reader.run(), name="events")
            watch = ListingWatch(defence, events, lambda: reader.leads)
            group.create_task(watch.run(), name="own listings")
