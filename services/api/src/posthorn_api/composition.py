"""How the API process is put together."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from posthorn.adapters.blobs.compression import zstd_frame
from posthorn.adapters.blobs.config import open_blobs
from posthorn.adapters.blobs.segments import SegmentReader
from posthorn.adapters.dkim import generate
from posthorn.adapters.dns import DnsResolver
from posthorn.adapters.nats.bucket import NatsDirectoryBucket
from posthorn.adapters.nats.connection import connect as connect_nats
from posthorn.adapters.nats.dead_letters import NatsDeadLetters
from posthorn.adapters.nats.directory import NatsDirectory
from posthorn.adapters.nats.event_log import NatsEventLog
from posthorn.adapters.nats.events import NatsEvents, NatsTrace
from posthorn.adapters.nats.ingest import NatsIngest
from posthorn.adapters.nats.installation import DirectoryMark
from posthorn.adapters.nats.notifications import NatsNotifier
from posthorn.adapters.postgres.access.api_keys import PostgresApiKeys
from posthorn.adapters.postgres.access.audit import PostgresAudit
from posthorn.adapters.postgres.access.idempotency import PostgresIdempotency
from posthorn.adapters.postgres.database import connect as connect_postgres
from posthorn.adapters.postgres.directory.administration import PostgresAdministration
from posthorn.adapters.postgres.directory.app_passwords import PostgresAppPasswords
from posthorn.adapters.postgres.directory.bulk_import import PostgresImports
from posthorn.adapters.postgres.directory.dkim_keys import PostgresDkimKeys
from posthorn.adapters.postgres.directory.forward_targets import PostgresForwardTargets
from posthorn.adapters.postgres.directory.outbox import PostgresDirectoryTruth
from posthorn.adapters.postgres.directory.senders import PostgresSenders
from posthorn.adapters.postgres.directory.tenants import PostgresTenants
from posthorn.adapters.postgres.events.statistics import PostgresEventCheckpoint, PostgresStatistics
from posthorn.adapters.postgres.events.webhook_dispatch import PostgresDispatch
from posthorn.adapters.postgres.events.webhooks import PostgresWebhooks
from posthorn.adapters.postgres.installation import PostgresInstallation
from posthorn.adapters.postgres.mailboxes.messages import PostgresAccountMail
from posthorn.adapters.postgres.mailboxes.transfers import PostgresTransfers
from posthorn.adapters.postgres.queue.administration import PostgresQueueAdministration
from posthorn.adapters.postgres.queue.rate_limits import PostgresThrottle
from posthorn.adapters.postgres.queue.routes import PostgresRoutes
from posthorn.adapters.postgres.queue.suppressions import PostgresSuppressions
from posthorn.adapters.postgres.replication import ReplicationWatch
from posthorn.ports.directory import DirectoryTruth, DirectoryWithPostmasters
from posthorn.ports.events import Trace
from posthorn.ports.ingest import DeadLetters, Ingest
from posthorn.ports.tenants import Tenants
from posthorn.runtime.brakes import Brake
from posthorn.runtime.http import bind, http_server
from posthorn.runtime.installation import InstallationGuard
from posthorn.runtime.passwords import Passwords, password_slots
from posthorn.runtime.process import Process
from posthorn.runtime.secret_box import SecretBox
from posthorn_api.app import Services, create_app
from posthorn_api.auth.account_logins import AccountLogins
from posthorn_api.auth.jwks import IssuerKeys
from posthorn_api.auth.tokens import Tokens
from posthorn_api.bulk.service import BulkImportService
from posthorn_api.config.service import ConfigService
from posthorn_api.credentials.service import CredentialService
from posthorn_api.directory.publisher import REMOVED_LEAST, REMOVED_SHARE, Publisher
from posthorn_api.directory.service import DirectoryService, Publication
from posthorn_api.dns.public_pages import PublicPages
from posthorn_api.dns.service import LOOKUP_SECONDS, DnsService
from posthorn_api.events.reader import EventReader
from posthorn_api.forwards.service import Confirmations
from posthorn_api.http.guard import Guard
from posthorn_api.http.large_bodies import LargeBodies
from posthorn_api.mailboxes.service import MailboxService
from posthorn_api.pending import Pending, PendingEvents
from posthorn_api.queue.service import QueueService
from posthorn_api.sending.service import SendingService
from posthorn_api.settings import ApiSettings
from posthorn_api.tenants.service import TenantService
from posthorn_api.transfers.service import TransferService
from posthorn_api.upkeep import Upkeep
from posthorn_api.webhooks.post import Poster
from posthorn_api.webhooks.sender import Sender
from posthorn_api.webhooks.service import WebhookService


@dataclass(frozen=True, slots=True)
class _OverNats:
    """What is there once NATS is."""

    publication: Pending[Publication] = field(default_factory=lambda: Pending("nats"))
    dead: Pending[DeadLetters] = field(default_factory=lambda: Pending("nats"))
    directory: Pending[DirectoryWithPostmasters] = field(default_factory=lambda: Pending("nats"))
    ingest: Pending[Ingest] = field(default_factory=lambda: Pending("nats"))
    trace: Pending[Trace] = field(default_factory=lambda: Pending("nats"))
    hints: PendingEvents = field(default_factory=PendingEvents)


@dataclass(frozen=True, slots=True)
class _Reading:
    """What the reader of events writes to."""

    book: PostgresEventCheckpoint
    statistics: PostgresStatistics
    dispatch: PostgresDispatch
    sender: Sender


async def start(process: Process) -> None:
    """Start everything on the process's stack; the listener last."""
    settings, stack = process.settings, process.stack
    assert isinstance(settings, ApiSettings)
    database = await stack.enter_async_context(connect_postgres(settings, shared=True))
    blobs = await stack.enter_async_context(open_blobs(settings))
    guard = InstallationGuard(PostgresInstallation(database), settings, keeps=True)
    guard.watch_blobs(blobs)
    database.gate, database.installation = guard.check, guard.installation
    await guard.look()
    await process.task(guard.run(), "installation")
    reader = SegmentReader(blobs)
    stack.push_async_callback(reader.close)
    passwords = Passwords(slots=password_slots())
    stack.callback(passwords.close)

    administration = PostgresAdministration(database, settings.forward_policy, settings.postmasters.names)
    audit = PostgresAudit(database)
    keys, idempotency = PostgresApiKeys(database), PostgresIdempotency(database)
    late, secret_box = _OverNats(), SecretBox.from_settings(settings)
    service = DirectoryService(
        administration,
        passwords,
        late.publication,
        late.dead,
        wait_seconds=settings.directory_wait_seconds,
        account_limits=settings.account_limits,
    )
    mail = MailboxService(
        PostgresAccountMail(database), reader, late.publication, wait_seconds=settings.directory_wait_seconds
    )
    identity = CredentialService(PostgresDkimKeys(database), PostgresAppPasswords(database), secret_box, generate)
    outgoing = QueueService(
        PostgresQueueAdministration(database),
        PostgresRoutes(database),
        PostgresSuppressions(database),
        secret_box,
        late.trace,
        late.hints,
    )
    sending = SendingService(
        administration,
        PostgresThrottle(database),
        blobs,
        late.directory,
        late.ingest,
        late.hints,
        settings.sending_limits,
    )
    forwards = Confirmations(
        PostgresForwardTargets(database),
        PostgresThrottle(database),
        late.ingest,
        late.publication,
        secret_box.derived("forward confirmation"),
        settings.presence.web,
        wait_seconds=settings.directory_wait_seconds,
    )
    tenants, imports = PostgresTenants(database), PostgresImports(database, settings.forward_policy)
    tenancy, tokens = TenantService(tenants, keys, audit), await _tokens(process, settings, tenants, secret_box)
    logins = AccountLogins(PostgresSenders(database), PostgresThrottle(database), passwords)
    networks, dispatch, statistics = (
        settings.webhook_private_networks,
        PostgresDispatch(database),
        PostgresStatistics(database),
    )
    sender = Sender(dispatch, Poster(networks), secret_box)
    hooks = WebhookService(PostgresWebhooks(database), secret_box, wake=sender.wake, allowed=networks)
    reading = _Reading(PostgresEventCheckpoint(database), statistics, dispatch, sender)
    resolver = DnsResolver(settings.relay_dns_servers, lifetime=LOOKUP_SECONDS, keep=False)
    upkeep = Upkeep(administration, keys, idempotency, settings.admin_key)
    process.health.add_check("postgres", upkeep.probe)
    process.health.add_check("installation", guard.probe)
    process.health.add_check("clock", guard.probe_clock)
    await process.task(upkeep.run(), "upkeep")
    replication = ReplicationWatch(database.ungated(), demanded=settings.database_replication == "synchronous")
    await process.task(replication.run(), "replication")  # it says so; what the API writes it goes on writing
    await process.task(sender.run(), "webhooks")
    await process.task(forwards.run(), "forward confirmations")
    await process.task(_on_nats(settings, PostgresDirectoryTruth(database), late, reading, guard), "publisher")

    listener = bind(settings.api_host, settings.api_port, "POSTHORN_API_PORT")
    app = create_app(
        Services(
            service,
            mail,
            TransferService(
                PostgresTransfers(database),
                reader,
                blobs,
                zstd_frame,
                max_size=settings.send_max_size,
                whole_seconds=settings.transfer_seconds,
            ),
            identity,
            outgoing,
            sending,
            tenancy,
            BulkImportService(imports, passwords, late.publication, whole_seconds=settings.transfer_seconds),
            DnsService(service, identity, resolver, settings.presence),
            PublicPages(administration, settings.presence),
            hooks,
            statistics,
            ConfigService(service, tenancy, hooks, outgoing, identity, imports, audit),
            forwards,
        ),
        Guard(keys, idempotency, audit, LargeBodies(settings.send_large_at_once), tokens, logins, settings.rate_limit),
        process.health,
        body_limit=settings.api_body_limit,
        send_body_limit=settings.send_body_limit,
        import_body_limit=settings.import_body_limit,
        mail_import_body_limit=settings.mail_import_body_limit,
    )
    await stack.enter_async_context(
        http_server(app, listener, grace=settings.grace_seconds, limits=settings.http_limits)
    )


async def _tokens(process: Process, settings: ApiSettings, tenants: Tenants, secret_box: SecretBox) -> Tokens | None:
    """Have the issuer's keys at hand, where there is an issuer."""
    trust = settings.oidc
    if trust is None:
        return None
    keys = IssuerKeys(trust.issuer, refresh_seconds=trust.refresh_seconds)
    await process.task(keys.run(), "oidc")
    return Tokens(trust, keys, tenants, secret_box.derived("idempotency of tokens")[0])


async def _on_nats(
    settings: ApiSettings, truth: DirectoryTruth, late: _OverNats, reading: _Reading, guard: InstallationGuard
) -> None:
    """Do what needs NATS, from the moment it is there; everything else serves without it."""
    async with AsyncExitStack() as stack:
        connection = await stack.enter_async_context(connect_nats(settings, "posthorn-api", "api"))
        guard.watch_directory(DirectoryMark(connection))
        brake = Brake("directory", REMOVED_SHARE, REMOVED_LEAST, guard.brakes_released)
        bucket, every = NatsDirectoryBucket(connection), settings.directory_reconcile_seconds
        publisher = Publisher(truth, bucket, every, certain=guard.certain, brake=brake)
        events = await stack.enter_async_context(NatsEvents(connection))
        late.hints.set(NatsNotifier(connection), events)
        late.directory.set(await stack.enter_async_context(NatsDirectory(connection)))
        late.ingest.set(NatsIngest(connection))
        trace = NatsTrace(connection)
        late.trace.set(trace)
        late.dead.set(NatsDeadLetters(connection))
        late.publication.set(publisher)
        reader = EventReader(
            NatsEventLog(connection), reading.book, trace, reading.statistics, reading.dispatch, reading.sender
        )
        await guard.passed()
        async with asyncio.TaskGroup() as group:
            group.create_task(publisher.run(), name="publisher")
            group.create_task(reader.run(), name="events")
