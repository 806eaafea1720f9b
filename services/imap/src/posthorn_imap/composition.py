"""How the IMAP process is put together."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from posthorn.adapters.blobs.compression import zstd_frame
from posthorn.adapters.blobs.config import open_blobs
from posthorn.adapters.blobs.segments import SegmentReader
from posthorn.adapters.mailbox_tokens import mailbox_tokens
from posthorn.adapters.nats.connection import connect as connect_nats
from posthorn.adapters.nats.events import NatsEvents
from posthorn.adapters.nats.heartbeats import beating
from posthorn.adapters.nats.mailbox_hints import NatsMailboxHints
from posthorn.adapters.postgres.access.password_rehashes import PostgresPasswordRehashes
from posthorn.adapters.postgres.access.scram_store import PostgresScramStore
from posthorn.adapters.postgres.access.sign_ins import PostgresSignIns
from posthorn.adapters.postgres.database import connect as connect_postgres
from posthorn.adapters.postgres.directory.senders import PostgresSenders
from posthorn.adapters.postgres.imap.folders import PostgresFolders
from posthorn.adapters.postgres.imap.placing import PostgresPlacing
from posthorn.adapters.postgres.imap.view import PostgresMailboxView
from posthorn.adapters.postgres.installation import guard_of
from posthorn.adapters.postgres.queue.rate_limits import PostgresThrottle
from posthorn.ports.access import ScramStore
from posthorn.ports.bodies import BodyReader
from posthorn.ports.folders import Folders, ImapAccount
from posthorn.ports.mailbox_view import MailboxView
from posthorn.ports.placing import Placing
from posthorn.ports.sending import Senders, Throttle
from posthorn.runtime.health import Health
from posthorn.runtime.mail_login import MailLogin
from posthorn.runtime.passwords import Passwords
from posthorn.runtime.process import Process
from posthorn.runtime.rehashing import PasswordRehasher
from posthorn.runtime.scram_verifiers import ScramVerifiers
from posthorn.runtime.settings import INLINE_CEILING
from posthorn.runtime.sign_ins import SignInRecorder
from posthorn.runtime.tls import Certificate
from posthorn.runtime.traces import tracing
from posthorn_imap.context import Backend, ImapContext, Limits
from posthorn_imap.hints import ProcessHints
from posthorn_imap.logins import Logins
from posthorn_imap.search_slots import SearchSlots
from posthorn_imap.server import serving
from posthorn_imap.settings import ImapSettings
from posthorn_imap.watching import Watching

if TYPE_CHECKING:
    from posthorn.runtime.oidc.mailbox_tokens import MailTokens


def build(
    settings: ImapSettings,
    *,
    folders: Folders,
    view: MailboxView,
    placing: Placing,
    bodies: BodyReader,
    senders: Senders,
    throttle: Throttle,
    passwords: Passwords,
    tokens: MailTokens | None = None,
    scram: ScramStore | None = None,
    sign_ins: SignInRecorder | None = None,
    rehasher: PasswordRehasher | None = None,
) -> ImapContext:
    """Return the context of all sessions on its backends. ``scram``: used if the settings offer
    it."""
    watching = Watching(view, poll_seconds=settings.imap_poll_seconds)
    verifiers = None
    if settings.scram and scram is not None:
        verifiers = ScramVerifiers[ImapAccount](scram, lambda account: account.scram)
    mail_login = MailLogin(
        *("imap", folders.login, settings, passwords, senders, throttle, folders, tokens),
        *(verifiers, sign_ins, rehasher),
    )
    return ImapContext(
        backend=Backend(folders, view, placing, bodies, ProcessHints(watching.hint)),
        limits=Limits(
            login=settings.imap_login_seconds,
            idle=settings.imap_idle_seconds,
            keepalive=settings.imap_keepalive_seconds,
            write=settings.imap_write_seconds,
            login_attempts=settings.imap_login_attempts,
            failure_delay=settings.imap_failure_delay_seconds,
            append_bytes=settings.imap_message_bytes,
            hidden=frozenset(name.upper() for name in settings.imap_hidden_capabilities),
        ),
        logins=Logins(mail_login, folders),
        watching=watching,
        searches=SearchSlots(settings.imap_searches, settings.imap_searches_per_account),
    )


async def start(process: Process[ImapSettings]) -> None:
    """Start everything on the process's stack; the listener last."""
    settings, stack = process.settings, process.stack
    await stack.enter_async_context(tracing("imap", settings))
    database = await stack.enter_async_context(connect_postgres(settings, by_key=True))
    folders = PostgresFolders(database)
    blobs = await stack.enter_async_context(open_blobs(settings))
    process.health.add_check("postgres", folders.probe)
    process.health.add_check("blobs", partial(blobs.probe, writes=False))
    await guard_of(database, settings, blobs).start(process)
    bodies = SegmentReader(
        blobs,
        cache_octets=settings.imap_cache_bytes,
        whole_limit=INLINE_CEILING,  # larger ones are not compressed
        large_octets=settings.imap_large_bytes,
    )
    stack.push_async_callback(bodies.close)
    passwords = Passwords()
    stack.callback(passwords.close)
    tokens = await mailbox_tokens(process, settings.mail_trust)
    sign_ins = SignInRecorder(PostgresSignIns(database))
    stack.push_async_callback(sign_ins.close)
    sessions = build(
        settings,
        folders=folders,
        view=PostgresMailboxView(database),
        placing=PostgresPlacing(database, blobs, zstd_frame),
        bodies=bodies,
        senders=PostgresSenders(database),
        throttle=PostgresThrottle(database),
        passwords=passwords,
        tokens=tokens,
        scram=PostgresScramStore(database),
        sign_ins=sign_ins,
        rehasher=PasswordRehasher(passwords, PostgresPasswordRehashes(database)),
    )
    stack.push_async_callback(sessions.watching.close)
    await process.task(_exchange_hints(settings, process.health, sessions), "hints")
    await process.task(sessions.watching.keep_polling(), "comparison")
    await process.task(sessions.logins.keep_watch(), "watch")
    certificate = Certificate(settings.tls_dir) if settings.tls_dir else None
    if certificate:
        process.health.certificate = certificate
        await process.task(certificate.watch(), "certificate")
    await stack.enter_async_context(
        serving(settings, sessions, certificate.context if certificate else None)
    )


async def _exchange_hints(settings: ImapSettings, health: Health, sessions: ImapContext) -> None:
    """Send and hear hints, and publish what was read, from the moment NATS is there; people get
    their mail without it."""
    async with (
        connect_nats(settings, "posthorn-imap", "imap") as connection,
        beating(connection, health, "imap"),
        NatsMailboxHints(connection) as hints,
    ):
        sessions.backend.hints.connect(hints)
        await hints.listen(sessions.watching.hint)
        async with NatsEvents(connection) as events:
            await sessions.read_events.publish(events)
