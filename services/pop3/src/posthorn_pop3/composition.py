"""How the POP3 process is put together."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from posthorn.adapters.blobs.config import open_blobs
from posthorn.adapters.blobs.segments import SegmentReader
from posthorn.adapters.mailbox_tokens import mailbox_tokens
from posthorn.adapters.nats.connection import connect as connect_nats
from posthorn.adapters.nats.events import NatsEvents
from posthorn.adapters.nats.heartbeats import beating
from posthorn.adapters.nats.mailbox_hints import NatsMailboxHints
from posthorn.adapters.postgres.access.password_rehashes import PostgresPasswordRehashes
from posthorn.adapters.postgres.access.sign_ins import PostgresSignIns
from posthorn.adapters.postgres.database import connect as connect_postgres
from posthorn.adapters.postgres.directory.senders import PostgresSenders
from posthorn.adapters.postgres.installation import guard_of
from posthorn.adapters.postgres.mailboxes.digests import PostgresPop3Logins
from posthorn.adapters.postgres.mailboxes.maildrops import PostgresMaildrops
from posthorn.adapters.postgres.queue.rate_limits import PostgresThrottle
from posthorn.ports.bodies import BodyReader
from posthorn.ports.mailbox_hints import LateHints
from posthorn.ports.maildrops import Maildrops
from posthorn.ports.sending import Senders, Throttle
from posthorn.runtime.health import Health
from posthorn.runtime.mail_login import MailLogin
from posthorn.runtime.passwords import Passwords
from posthorn.runtime.process import Process
from posthorn.runtime.read_events import ReadEvents
from posthorn.runtime.rehashing import PasswordRehasher
from posthorn.runtime.sign_ins import SignInRecorder
from posthorn.runtime.tls import Certificate
from posthorn.runtime.traces import tracing
from posthorn_pop3.login_days import LoginDays
from posthorn_pop3.metrics import READS_DROPPED
from posthorn_pop3.server import serving
from posthorn_pop3.service import MaildropService
from posthorn_pop3.settings import Pop3Settings

if TYPE_CHECKING:
    from posthorn.runtime.oidc.mailbox_tokens import MailTokens


def build(
    settings: Pop3Settings,
    *,
    maildrops: Maildrops,
    bodies: BodyReader,
    senders: Senders,
    throttle: Throttle,
    passwords: Passwords,
    read_events: ReadEvents,
    login_days: LoginDays | None = None,
    tokens: MailTokens | None = None,
    sign_ins: SignInRecorder | None = None,
    rehasher: PasswordRehasher | None = None,
) -> MaildropService:
    """Return the service on its backends."""
    return MaildropService(
        maildrops=maildrops,
        bodies=bodies,
        mail_login=MailLogin(
            *("pop3", maildrops.login, settings, passwords, senders, throttle, maildrops, tokens),
            sign_ins=sign_ins,
            rehasher=rehasher,
        ),
        read_events=read_events,
        login_days=login_days,
    )


async def start(process: Process[Pop3Settings]) -> None:
    """Start everything on the process's stack; the listener last."""
    settings, stack = process.settings, process.stack
    await stack.enter_async_context(tracing("pop3", settings))
    database = await stack.enter_async_context(connect_postgres(settings, by_key=True))
    hints = LateHints()
    maildrops = PostgresMaildrops(database, hints.announce)
    blobs = await stack.enter_async_context(open_blobs(settings))
    process.health.add_check("postgres", maildrops.probe)
    process.health.add_check("blobs", partial(blobs.probe, writes=False))
    await guard_of(database, settings, blobs).start(process)
    bodies = SegmentReader(blobs, cache_octets=settings.pop3_cache_bytes)
    stack.push_async_callback(bodies.close)
    passwords = Passwords()
    stack.callback(passwords.close)
    read_events = ReadEvents(READS_DROPPED.inc)
    await process.task(_publish(settings, process.health, read_events, hints), "reads")
    tokens = await mailbox_tokens(process, settings.mail_trust)
    sign_ins = SignInRecorder(PostgresSignIns(database))
    stack.push_async_callback(sign_ins.close)
    service = build(
        settings,
        maildrops=maildrops,
        bodies=bodies,
        senders=PostgresSenders(database),
        throttle=PostgresThrottle(database),
        passwords=passwords,
        read_events=read_events,
        login_days=LoginDays(PostgresPop3Logins(database)),
        tokens=tokens,
        sign_ins=sign_ins,
        rehasher=PasswordRehasher(passwords, PostgresPasswordRehashes(database)),
    )
    await process.task(service.keep_leases(), "leases")
    await process.task(service.keep_watch(), "watch")
    certificate = Certificate(settings.tls_dir) if settings.tls_dir else None
    if certificate:
        process.health.certificate = certificate
        await process.task(certificate.watch(), "certificate")
    await stack.enter_async_context(
        serving(settings, service, certificate.context if certificate else None)
    )


async def _publish(
    settings: Pop3Settings, health: Health, read_events: ReadEvents, hints: LateHints
) -> None:
    """Publish what was read and changed, from the moment NATS is there; people get their mail
    without it."""
    async with (
        connect_nats(settings, "posthorn-pop3", "pop3") as connection,
        beating(connection, health, "pop3"),
        NatsEvents(connection) as events,
    ):
        hints.set(NatsMailboxHints(connection).announce)
        await read_events.publish(events)
