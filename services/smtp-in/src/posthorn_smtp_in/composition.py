"""How the service is put together: what both roles need, and what submission needs besides; for
the process and for the tests."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from posthorn.adapters.blobs.config import open_blobs
from posthorn.adapters.nats.bans import NatsBans
from posthorn.adapters.nats.connection import connect as connect_nats
from posthorn.adapters.nats.correspondents import NatsCorrespondents
from posthorn.adapters.nats.directory import NatsDirectory
from posthorn.adapters.nats.events import NatsEvents
from posthorn.adapters.nats.heartbeats import beating
from posthorn.adapters.nats.ingest import NatsIngest
from posthorn.adapters.nats.installation import DirectoryMark, NatsClock
from posthorn.adapters.nats.scanner import NatsScanner
from posthorn.ports.blobs import Blobs
from posthorn.ports.correspondents import Correspondents
from posthorn.ports.directory import DirectoryWithPolicies
from posthorn.ports.events import Events, NoEvents
from posthorn.ports.ingest import IngestWithLanes
from posthorn.ports.scan import Bans, Scanner
from posthorn.ports.sending import Senders, Throttle
from posthorn.runtime.connection_limiter import ConnectionLimiter
from posthorn.runtime.passwords import Passwords
from posthorn.runtime.process import Process
from posthorn.runtime.settings import key_list
from posthorn.runtime.tls import Certificate
from posthorn.runtime.traces import tracing
from posthorn_smtp_in.acceptance import Acceptance
from posthorn_smtp_in.authenticator import SmtpAuthenticator
from posthorn_smtp_in.context import ServerContext, SmtpConfiguration
from posthorn_smtp_in.defence import ConnectionDefence
from posthorn_smtp_in.policy import MxPolicy, Policy
from posthorn_smtp_in.recipients import Recipients
from posthorn_smtp_in.refusal_events import PolicyWithEvents, RefusalBudget
from posthorn_smtp_in.scanning import Scanning
from posthorn_smtp_in.server import serving, serving_submission
from posthorn_smtp_in.settings import (
    SmtpInSettings,
    SmtpSettings,
    SubmissionInSettings,
    SubmissionSettings,
)
from posthorn_smtp_in.spool_limits import ByteBudget, SpoolLimits
from posthorn_smtp_in.submission import SubmissionPolicy

if TYPE_CHECKING:
    from posthorn.runtime.oidc.mailbox_tokens import MailTokens
    from posthorn.runtime.rehashing import PasswordRehasher
    from posthorn.runtime.sign_ins import SignInRecorder


@dataclass(frozen=True, slots=True)
class Backends:
    """What both roles stand on."""

    directory: DirectoryWithPolicies
    ingest: IngestWithLanes
    blobs: Blobs
    events: Events = field(default_factory=NoEvents)
    srs_keys: Sequence[bytes] = ()
    """Keys that may have signed rewritten reverse-paths."""
    scanner: Scanner | None = None
    """The scanning tier; None: messages are not scanned."""
    bans: Bans | None = None
    correspondents: Correspondents | None = None
    """Whom accounts have written to; None: nobody, as far as is known."""


def build_mx(
    settings: SmtpSettings, backends: Backends, tls: ssl.SSLContext | None
) -> ServerContext:
    """Return what the connections of the mx role share."""
    limits = _spool_limits(settings)
    scanner = backends.scanner
    scanning = None
    if scanner is not None:
        scanning = Scanning(
            settings,
            scanner,
            backends.directory,
            backends.events,
            correspondents=backends.correspondents,
        )
    policy = MxPolicy(
        settings,
        limits,
        _recipients(settings, backends, takes_remote=False),
        _acceptance(settings, limits, backends, scanning),
        ConnectionDefence(settings, bans=backends.bans, scanner=scanner),
        scanning,
    )
    told = _with_events(policy, settings, backends)
    return ServerContext(
        settings, told, limits, _limiter(settings), SmtpConfiguration(settings, tls)
    )


def build_submission(
    settings: SubmissionSettings,
    backends: Backends,
    tls: ssl.SSLContext | None,
    *,
    senders: Senders,
    throttle: Throttle,
    passwords: Passwords,
    tokens: MailTokens | None = None,
    sign_ins: SignInRecorder | None = None,
    rehasher: PasswordRehasher | None = None,
) -> tuple[ServerContext, SmtpAuthenticator]:
    """Return what the connections of the submission role share, and the authenticator that
    watches their logins."""
    limits = _spool_limits(settings)
    authenticator = SmtpAuthenticator(
        settings, senders, throttle, passwords, tokens, sign_ins, rehasher
    )
    policy = SubmissionPolicy(
        settings,
        limits,
        _recipients(
            settings,
            backends,
            takes_remote=True,
            takes_single_labels=settings.submission_single_labels,
        ),
        _acceptance(settings, limits, backends),
        authenticator,
        throttle,
    )
    limiter = _limiter(settings, settings.submission_sessions_per_account)
    configuration = SmtpConfiguration(settings, tls)
    told = _with_events(policy, settings, backends)
    return ServerContext(settings, told, limits, limiter, configuration), authenticator


def _with_events(policy: Policy, settings: SmtpSettings, backends: Backends) -> PolicyWithEvents:
    budget = RefusalBudget(
        settings.smtp_refused_events_per_minute, settings.smtp_refused_events_per_client
    )
    return PolicyWithEvents(policy, settings, backends.events, budget)


def _recipients(
    settings: SmtpSettings,
    backends: Backends,
    *,
    takes_remote: bool,
    takes_single_labels: bool = False,
) -> Recipients:
    return Recipients(
        settings,
        backends.directory,
        backends.srs_keys,
        takes_remote=takes_remote,
        takes_single_labels=takes_single_labels,
    )


def _acceptance(
    settings: SmtpSettings,
    limits: SpoolLimits,
    backends: Backends,
    scanning: Scanning | None = None,
) -> Acceptance:
    return Acceptance(
        settings,
        limits,
        ingest=backends.ingest,
        blobs=backends.blobs,
        events=backends.events,
        scanning=scanning,
    )


def _limiter(settings: SmtpSettings, per_account: int | None = None) -> ConnectionLimiter:
    return ConnectionLimiter(
        settings.smtp_sessions,
        settings.smtp_sessions_per_address,
        per_network=settings.smtp_sessions_per_network,
        per_account=per_account,
        stress_seconds=settings.smtp_stress_seconds,
    )


def _spool_limits(settings: SmtpSettings) -> SpoolLimits:
    return SpoolLimits(
        memory=ByteBudget(settings.smtp_memory_bytes, "memory"),
        spool=ByteBudget(settings.smtp_spool_bytes, "spool"),
        inline=settings.smtp_inline_bytes,
        max_size=settings.smtp_message_max_bytes,
        directory=settings.smtp_spool_dir,
        input=ByteBudget(settings.smtp_input_bytes, "input"),
    )


async def start(process: Process[SmtpInSettings]) -> None:
    """Start everything on the process's stack; the listeners last. The role mx opens no Postgres
    (promise 2)."""
    settings, stack = process.settings, process.stack
    part = "submission" if isinstance(settings, SubmissionInSettings) else "smtp-in"
    await stack.enter_async_context(tracing(part, settings))
    connection = await stack.enter_async_context(connect_nats(settings, part, part))
    await stack.enter_async_context(beating(connection, process.health, part))
    directory = await stack.enter_async_context(NatsDirectory(connection))
    ingest = NatsIngest(connection, frames=settings.ingest_frames)
    process.health.add_check("nats", ingest.probe)
    process.health.add_check("directory", directory.probe)
    process.health.add_check("clock", NatsClock(connection).probe)
    # no need of ours: without it small mail goes on
    blobs = await stack.enter_async_context(open_blobs(settings))
    events = await stack.enter_async_context(NatsEvents(connection))
    backends = Backends(directory, ingest, blobs, events, key_list(settings.srs_key))
    certificate = Certificate(settings.tls_dir) if settings.tls_dir else None
    if certificate:
        process.health.certificate = certificate
        await process.task(certificate.watch(), "certificate")
    tls, grace = certificate.context if certificate else None, settings.grace_seconds
    if not isinstance(settings, SubmissionInSettings):
        if settings.smtp_scan:
            backends = replace(
                backends,
                scanner=NatsScanner(
                    connection,
                    sender_seconds=settings.smtp_scan_sender_seconds,
                    message_seconds=settings.smtp_scan_message_seconds,
                ),
                bans=await stack.enter_async_context(NatsBans(connection)),
                correspondents=NatsCorrespondents(connection),
            )
        await stack.enter_async_context(serving(build_mx(settings, backends, tls), grace=grace))
        return
    # only now: the role mx does not pay for the libraries either
    from posthorn.adapters.mailbox_tokens import mailbox_tokens
    from posthorn.adapters.postgres.access.password_rehashes import PostgresPasswordRehashes
    from posthorn.adapters.postgres.access.sign_ins import PostgresSignIns
    from posthorn.adapters.postgres.database import connect as connect_postgres
    from posthorn.adapters.postgres.directory.senders import PostgresSenders
    from posthorn.adapters.postgres.installation import guard_of
    from posthorn.adapters.postgres.queue.rate_limits import PostgresThrottle
    from posthorn.runtime.rehashing import PasswordRehasher
    from posthorn.runtime.sign_ins import SignInRecorder

    database = await stack.enter_async_context(connect_postgres(settings, by_key=True))
    process.health.add_check("postgres", database.probe)
    guard = guard_of(database, settings, blobs, DirectoryMark(connection))
    await guard.start(process, clock=False)  # NATS's is compared already
    passwords = Passwords()
    stack.callback(passwords.close)
    tokens = await mailbox_tokens(process, settings.mail_trust)
    sign_ins = SignInRecorder(PostgresSignIns(database))
    stack.push_async_callback(sign_ins.close)
    context, authenticator = build_submission(
        settings,
        backends,
        tls,
        senders=PostgresSenders(database),
        throttle=PostgresThrottle(database),
        passwords=passwords,
        tokens=tokens,
        sign_ins=sign_ins,
        rehasher=PasswordRehasher(passwords, PostgresPasswordRehashes(database)),
    )
    await stack.enter_async_context(
        serving_submission(settings, context, authenticator, grace=grace)
    )
