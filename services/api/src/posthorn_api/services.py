"""The services behind the operations, put together in one way for the process and for the tests."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from posthorn.adapters.blobs.compression import zstd_frame
from posthorn.adapters.dkim import generate
from posthorn.adapters.dns import DnsResolver
from posthorn.adapters.postgres.access.api_keys import PostgresApiKeys
from posthorn.adapters.postgres.access.audit import PostgresAudit
from posthorn.adapters.postgres.access.browser_sessions import PostgresBrowserSessions
from posthorn.adapters.postgres.access.idempotency import PostgresIdempotency
from posthorn.adapters.postgres.access.password_rehashes import PostgresPasswordRehashes
from posthorn.adapters.postgres.access.sign_ins import PostgresSignIns
from posthorn.adapters.postgres.database import Database
from posthorn.adapters.postgres.directory.administration import PostgresAdministration
from posthorn.adapters.postgres.directory.app_passwords import PostgresAppPasswords
from posthorn.adapters.postgres.directory.bulk_import import PostgresImports
from posthorn.adapters.postgres.directory.dkim_keys import PostgresDkimKeys
from posthorn.adapters.postgres.directory.dns_checks import PostgresDnsChecks
from posthorn.adapters.postgres.directory.filter_policies import PostgresFilterPolicies
from posthorn.adapters.postgres.directory.forward_targets import PostgresForwardTargets
from posthorn.adapters.postgres.directory.managers import PostgresManagers
from posthorn.adapters.postgres.directory.own_forwards import PostgresOwnForwards
from posthorn.adapters.postgres.directory.senders import PostgresSenders
from posthorn.adapters.postgres.directory.tenants import PostgresTenants
from posthorn.adapters.postgres.directory.vacations import PostgresVacations
from posthorn.adapters.postgres.events.checkpoint import PostgresEventCheckpoint
from posthorn.adapters.postgres.events.message_index import PostgresMessageIndex
from posthorn.adapters.postgres.events.statistics import PostgresStatistics
from posthorn.adapters.postgres.events.webhooks import PostgresWebhooks
from posthorn.adapters.postgres.imap.view import PostgresMailboxView
from posthorn.adapters.postgres.lags import PostgresLags
from posthorn.adapters.postgres.mailboxes.classifying import PostgresClassifications
from posthorn.adapters.postgres.mailboxes.digests import PostgresDigests
from posthorn.adapters.postgres.mailboxes.messages import PostgresAccountMail
from posthorn.adapters.postgres.mailboxes.quarantine import PostgresQuarantine
from posthorn.adapters.postgres.mailboxes.transfers import PostgresTransfers
from posthorn.adapters.postgres.queue.administration import PostgresQueueAdministration
from posthorn.adapters.postgres.queue.enqueue import DEFAULT_POLICY, QueuePolicy
from posthorn.adapters.postgres.queue.rate_limits import PostgresThrottle
from posthorn.adapters.postgres.queue.routes import PostgresRoutes
from posthorn.adapters.postgres.queue.suppressions import PostgresSuppressions
from posthorn.adapters.postgres.reports.figures import PostgresReportFigures
from posthorn.model.dns_records import Presence
from posthorn.model.ip_addresses import PUBLIC_ADDRESSES, AddressPolicy
from posthorn.ports.blobs import Blobs
from posthorn.ports.bodies import BodyReader
from posthorn.ports.directory import DirectoryWithPostmasters
from posthorn.ports.events import Trace
from posthorn.ports.forwards import ForwardPolicy
from posthorn.ports.heartbeats import Heartbeats
from posthorn.ports.ingest import DeadLetters, Ingest
from posthorn.ports.mailbox_hints import LateHints
from posthorn.ports.route_probes import RouteProber
from posthorn.ports.scan import ScanStates
from posthorn.ports.statistics import EventLog
from posthorn.ports.system import StreamState
from posthorn.ports.tenants import Tenants
from posthorn.runtime.passwords import Passwords
from posthorn.runtime.postmasters import Postmasters
from posthorn.runtime.rehashing import PasswordRehasher
from posthorn.runtime.secret_box import SecretBox
from posthorn.runtime.settings import LoginLimitSettings
from posthorn.runtime.sign_ins import SignInRecorder
from posthorn_api.app import Services
from posthorn_api.auth.account_logins import AccountLogins
from posthorn_api.bulk.service import BulkImportService
from posthorn_api.config.service import ConfigService
from posthorn_api.credentials.service import CredentialService
from posthorn_api.dead_letters.service import DeadLetterService
from posthorn_api.defence.service import DefenceService, UnscannedLane, single_addresses
from posthorn_api.digests.service import KEY_PURPOSE, DigestOptions, DigestService
from posthorn_api.directory.publication import Publication
from posthorn_api.directory.service import DirectoryService
from posthorn_api.dns.public_pages import PublicPages
from posthorn_api.dns.service import DnsService
from posthorn_api.dns.verdicts import StoredVerdicts
from posthorn_api.events.feed import EventFeed
from posthorn_api.events.sight import EventSight
from posthorn_api.filtering.service import FilteringService
from posthorn_api.forwards.service import Confirmations
from posthorn_api.http.guard import Guard
from posthorn_api.http.large_bodies import LargeBodies
from posthorn_api.http.rate_limit import RateLimit
from posthorn_api.login.oidc import OidcLogin
from posthorn_api.login.service import LoginService
from posthorn_api.mailboxes.service import MailboxService
from posthorn_api.me.forwards import OwnForwardService
from posthorn_api.me.service import MeService
from posthorn_api.pending import Pending, PendingEvents
from posthorn_api.quarantine.service import QuarantineService
from posthorn_api.queue.probes import RouteProbeService
from posthorn_api.queue.service import QueueService
from posthorn_api.search.service import SearchService
from posthorn_api.sending.service import SendingLimits, SendingService
from posthorn_api.settings import ApiSettings
from posthorn_api.system.service import SystemService
from posthorn_api.tenants.service import TenantService
from posthorn_api.transfers.service import TransferService
from posthorn_api.webhooks.service import WebhookService

if TYPE_CHECKING:
    from posthorn_api.auth.tokens import Tokens


@dataclass(frozen=True, slots=True)
class OverNats:
    """The parts that are set once NATS is connected; the API serves without them."""

    publication: Pending[Publication] = field(default_factory=lambda: Pending("nats"))
    dead_letters: Pending[DeadLetters] = field(default_factory=lambda: Pending("nats"))
    directory: Pending[DirectoryWithPostmasters] = field(default_factory=lambda: Pending("nats"))
    ingest: Pending[Ingest] = field(default_factory=lambda: Pending("nats"))
    trace: Pending[Trace] = field(default_factory=lambda: Pending("nats"))
    scan_states: Pending[ScanStates] = field(default_factory=lambda: Pending("nats"))
    unscanned: Pending[UnscannedLane] = field(default_factory=lambda: Pending("nats"))
    route_probes: Pending[RouteProber] = field(default_factory=lambda: Pending("relay"))
    heartbeats: Pending[Heartbeats] = field(default_factory=lambda: Pending("nats"))
    streams: Pending[StreamState] = field(default_factory=lambda: Pending("nats"))
    event_logs: Pending[Callable[[], EventLog]] = field(default_factory=lambda: Pending("nats"))
    events: PendingEvents = field(default_factory=PendingEvents)
    hints: LateHints = field(default_factory=LateHints)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceOptions:
    """What the settings decide about the services."""

    presence: Presence
    """How the system is called from outside."""
    sending: SendingLimits = field(default_factory=SendingLimits)
    forward_policy: ForwardPolicy = field(default_factory=ForwardPolicy)
    queue_policy: QueuePolicy = DEFAULT_POLICY
    """How long recipients of messages that leave the quarantine are tried, and their limits."""
    import_max_size_bytes: int = 40 * 1024 * 1024
    """Largest message that an import takes."""
    transfer_seconds: float = 6 * 3600.0
    """How long an import or export may take."""
    directory_wait_seconds: float = 2.0
    """How long an answer waits until smtp-in can see the change."""
    webhook_addresses: AddressPolicy = PUBLIC_ADDRESSES
    """Addresses that webhooks may be posted to."""
    large_bodies: int | None = None
    """Large requests to send that are handled at a time; None: as LargeBodies has it."""
    rates: RateLimit | None = None
    watch_addresses: tuple[str, ...] = ()
    """Addresses that blocklists are asked for."""
    login_limits: LoginLimitSettings = field(default_factory=LoginLimitSettings)
    """How often a wrong password of an account may be tried."""
    digests: DigestOptions = field(default_factory=DigestOptions)
    dns_check_seconds: float = 21_600.0
    """From one check of a domain's DNS in the background to the next."""
    trace_url: str = ""
    """URL of a trace in a viewer, with ``{trace_id}``; empty: there is none."""
    runbook_base_url: str = ""
    """URL of the folder of the runbooks; empty: there is none."""

    @classmethod
    def from_settings(cls, settings: ApiSettings) -> Self:
        """Take the options from the settings of the process."""
        return cls(
            presence=settings.presence,
            sending=settings.sending_limits,
            forward_policy=settings.forward_policy,
            queue_policy=QueuePolicy.from_settings(settings),
            import_max_size_bytes=settings.sending_limits.max_size,
            transfer_seconds=settings.transfer_seconds,
            directory_wait_seconds=settings.directory_wait_seconds,
            webhook_addresses=AddressPolicy(tuple(settings.webhook_private_networks)),
            large_bodies=settings.send_large_at_once,
            rates=settings.rate_limit,
            watch_addresses=settings.watch_addresses
            or single_addresses(map(str, settings.outbound_addresses)),
            login_limits=settings,
            digests=settings.digests,
            dns_check_seconds=settings.dns_check_seconds or 21_600.0,
            trace_url=settings.trace_url,
            runbook_base_url=settings.runbook_base_url,
        )


@dataclass(frozen=True, slots=True)
class Built:
    """The services, and what else the process and the tests need of their parts."""

    services: Services
    guard: Guard
    keys: PostgresApiKeys
    idempotency: PostgresIdempotency
    administration: PostgresAdministration
    sessions: PostgresBrowserSessions
    sign_ins: SignInRecorder
    suppressions: PostgresSuppressions
    audit: PostgresAudit


def build(
    *,
    database: Database,
    blobs: Blobs,
    bodies: BodyReader,
    passwords: Passwords,
    secret_box: SecretBox,
    resolver: DnsResolver,
    late: OverNats,
    options: ServiceOptions,
    tokens: Callable[[Tenants], Tokens | None] = lambda _: None,
    oidc_login: Callable[[Tokens], OidcLogin | None] = lambda _: None,
    wake_webhooks: Callable[[], None] = lambda: None,
) -> Built:
    """Put the services together. ``tokens`` makes what verifies OIDC tokens, ``oidc_login`` what
    signs browsers in at the issuer; ``wake_webhooks`` has new deliveries sent at once."""
    sending_limits, policy, wait_seconds = (
        options.sending,
        options.forward_policy,
        options.directory_wait_seconds,
    )
    names: Collection[str] = Postmasters(sending_limits.postmaster, sending_limits.hostname).names
    administration = PostgresAdministration(database, policy, tuple(names))
    throttle, audit, tenants = (
        PostgresThrottle(database),
        PostgresAudit(database),
        PostgresTenants(database),
    )
    keys, idempotency = PostgresApiKeys(database), PostgresIdempotency(database)
    imports = PostgresImports(database, policy)
    directory = DirectoryService(
        administration,
        passwords,
        late.publication,
        wait_seconds=wait_seconds,
        account_limits=sending_limits.account,
    )
    credentials = CredentialService(
        PostgresDkimKeys(database),
        PostgresAppPasswords(database),
        secret_box,
        generate,
        PostgresSignIns(database),
    )
    suppressions = PostgresSuppressions(database)
    queue = QueueService(
        PostgresQueueAdministration(database),
        PostgresRoutes(database),
        suppressions,
        secret_box,
        late.trace,
        late.events,
        trace_url=options.trace_url,
    )
    searches = SearchService(PostgresMessageIndex(database))
    tenancy = TenantService(tenants, keys, audit)
    webhooks = WebhookService(
        PostgresWebhooks(database), secret_box, wake=wake_webhooks, policy=options.webhook_addresses
    )
    filtering = FilteringService(
        PostgresFilterPolicies(database), late.publication, wait_seconds=wait_seconds
    )
    account_mail = PostgresAccountMail(database, late.hints.announce)
    classifications = PostgresClassifications(database, late.hints.announce)
    quarantine = PostgresQuarantine(database, options.queue_policy, late.hints.announce)
    sessions, verifier = PostgresBrowserSessions(database), tokens(tenants)
    sign_ins = SignInRecorder(PostgresSignIns(database))
    logins = AccountLogins(
        *(options.login_limits, PostgresSenders(database), throttle, passwords, sign_ins),
        PasswordRehasher(passwords, PostgresPasswordRehashes(database)),
    )
    login = LoginService(sessions, logins, None if verifier is None else oidc_login(verifier))
    withheld = QuarantineService(quarantine, bodies, late.events)
    services = Services(
        logins=login,
        me=MeService(
            *(directory, logins, login, withheld),
            PostgresVacations(database),
            options.presence,
        ),
        own_forwards=OwnForwardService(PostgresOwnForwards(database, policy)),
        directory=directory,
        mailboxes=MailboxService(
            account_mail,
            bodies,
            late.publication,
            classifications,
            late.events,
            PostgresMailboxView(database),
            wait_seconds=wait_seconds,
        ),
        transfers=TransferService(
            PostgresTransfers(database, late.hints.announce),
            bodies,
            blobs,
            zstd_frame,
            max_size=options.import_max_size_bytes,
            whole_seconds=options.transfer_seconds,
        ),
        credentials=credentials,
        queue=queue,
        route_probes=RouteProbeService(PostgresRoutes(database), late.route_probes),
        sending=SendingService(
            administration,
            throttle,
            blobs,
            late.directory,
            late.ingest,
            late.events,
            sending_limits,
        ),
        tenants=tenancy,
        dead_letters=DeadLetterService(late.dead_letters),
        bulk_imports=BulkImportService(
            imports,
            passwords,
            throttle,
            late.publication,
            whole_seconds=options.transfer_seconds,
        ),
        dns=DnsService(
            directory,
            credentials,
            resolver,
            options.presence,
            StoredVerdicts(PostgresDnsChecks(database), late.events, options.dns_check_seconds),
        ),
        public_pages=PublicPages(administration, options.presence),
        webhooks=webhooks,
        statistics=PostgresStatistics(database),
        config=ConfigService(
            *(directory, tenancy, webhooks, queue, credentials, imports, audit, filtering),
            PostgresManagers(database),
        ),
        forwards=Confirmations(
            PostgresForwardTargets(database),
            throttle,
            late.ingest,
            late.publication,
            secret_box.derived("forward confirmation"),
            options.presence.web,
            wait_seconds=wait_seconds,
        ),
        filtering=filtering,
        searches=searches,
        quarantine=withheld,
        digests=DigestService(
            PostgresDigests(database),
            account_mail,
            classifications,
            quarantine,
            throttle,
            late.ingest,
            late.events,
            secret_box.derived(KEY_PURPOSE),
            options.digests,
        ),
        defence=DefenceService(
            late.scan_states,
            late.unscanned,
            PostgresDkimKeys(database),
            addresses=options.watch_addresses,
            names=dict.fromkeys((sending_limits.hostname, options.presence.outgoing_name)),
        ),
        reports=PostgresReportFigures(database),
        system=SystemService(
            late.heartbeats,
            late.streams,
            late.dead_letters,
            PostgresLags(database),
            options.runbook_base_url,
        ),
        feed=EventFeed(late.event_logs, EventSight(PostgresEventCheckpoint(database), late.trace)),
    )
    guard = Guard(
        keys,
        idempotency,
        audit,
        LargeBodies(options.large_bodies) if options.large_bodies is not None else None,
        verifier,
        logins,
        options.rates,
        sessions,
    )
    return Built(
        services=services,
        guard=guard,
        keys=keys,
        idempotency=idempotency,
        administration=administration,
        sessions=sessions,
        sign_ins=sign_ins,
        suppressions=suppressions,
        audit=audit,
    )
