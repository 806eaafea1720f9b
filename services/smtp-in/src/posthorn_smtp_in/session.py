"""The dialogue of one SMTP session: events of the machine in, replies out, by the policy of the
role.

Rules:

- A command that cannot be obeyed is an error, and a session has few to spare. A refused recipient
  is no error.
- DATA is refused at its end, also where the reason was seen earlier (RFC 5321 §4.1.1.4); BDAT at
  each chunk, and before a chunk is read where it is known by then: it may be long, and a client may
  stop when it is told.
- Strangers are held back where they name unknown recipients, and sent away where they pipeline
  before they can know that they may (``defence``).
- A failed login takes time, and each further one on the connection twice as much (RFC 4954 §9).
"""

from __future__ import annotations

import time
from binascii import b2a_base64
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

import structlog
from prometheus_client import Counter

from posthorn.runtime.ids import new_id
from posthorn.wire.message.trace import clean_name
from posthorn.wire.smtp import replies as smtp
from posthorn.wire.smtp.commands import (
    Bdat,
    Data,
    Ehlo,
    Helo,
    Help,
    Mail,
    Noop,
    Quit,
    Rcpt,
    Rset,
    StartTls,
    Vrfy,
)
from posthorn.wire.smtp.events import (
    BareLineEnd,
    Challenge,
    ChunkEnd,
    Content,
    Declined,
    Event,
    Fatal,
    Login,
    MessageEnd,
    Refused,
    TokenLogin,
)
from posthorn.wire.smtp.replies import Reply
from posthorn.wire.smtp.server import Machine
from posthorn.wire.smtp.transitions import Channel, Offer
from posthorn_smtp_in.connection import Connection, HangUp
from posthorn_smtp_in.message_buffer import MessageBuffer
from posthorn_smtp_in.pace import Pace
from posthorn_smtp_in.policy import Policy
from posthorn_smtp_in.refusals import record_refusal
from posthorn_smtp_in.settings import SmtpSettings
from posthorn_smtp_in.transaction import Client, Transaction

log = structlog.get_logger()

LONGEST_TARPIT = 8.0
"""Seconds before a failed login is answered, at most."""

_faults = Counter("posthorn_smtp_in_faults_total", "Errors of this program, answered 451")


class SmtpSession:
    """One client's dialogue."""

    def __init__(
        self,
        settings: SmtpSettings,
        policy: Policy,
        connection: Connection,
        client: Client,
        *,
        has_certificate: bool,
    ) -> None:
        self.client = client
        self.pace: Pace | None = None
        """How slowly the message that is coming in may come; None while none is."""
        self._settings = settings
        self._policy = policy
        self._connection = connection
        self._has_certificate = has_certificate
        self.machine = Machine(self._channel(), max_size=settings.smtp_message_max_bytes)
        self._errors = 0
        self._failed_logins = 0
        self._transaction: Transaction | None = None
        self._message: MessageBuffer | None = None
        self._is_chunk_refused = False

    @property
    def is_receiving(self) -> bool:
        """Whether a message is coming in, so that a drain must wait for it."""
        return self._transaction is not None and self.machine.is_receiving

    def greet(self) -> None:
        """Send the greeting."""
        self._connection.reply(smtp.greeting(self._settings.smtp_hostname))

    def handle(self, event: Event) -> Awaitable[None]:
        """Answer an event, when awaited. Raises HangUp to end the session, as that may."""
        login = self.client.login
        if (
            login is not None
            and login.revoked
            and not isinstance(event, Content | BareLineEnd | ChunkEnd | MessageEnd)
        ):
            raise HangUp(smtp.REVOKED)
        return self._HANDLERS[type(event)](self, event)

    def reset(self) -> None:
        """Drop the transaction, if there is one."""
        if self._message is not None:
            self._message.discard()
            self._message = None
        self.pace = None
        if self._transaction is not None:
            self._transaction.drop()
            self._connection.transaction_ended()
        self._transaction = None

    def leave(self) -> None:
        """Drop the transaction: the session has ended."""
        self.reset()
        if self._policy.auth is not None:
            self._policy.auth.closed(self)

    def revoke(self) -> None:
        """End: what the session logged in with is not valid any more. A message that is being
        kept is answered first."""
        self._connection.hang_up(smtp.REVOKED)

    def failed(self, error: Exception) -> None:
        """Log an error of this program under an id; the client is told nothing but 451."""
        _faults.inc()
        log.error("session failed", fault=str(new_id()), client=self.client.address, exc_info=error)

    # what is refused

    async def _refused(self, event: Refused) -> None:
        if event.is_error:
            self._error(event.reply)
        else:
            self._connection.reply(event.reply)

    async def _fatal(self, event: Fatal) -> None:
        self._note_fault()
        record_refusal(event.reply, self.client)
        raise HangUp(event.reply)

    def _note_fault(self) -> None:
        if self._policy.defence is not None:
            self._policy.defence.fault(self.client.address, "protocol")

    def _error(self, reply: Reply) -> None:
        self._errors += 1
        self._note_fault()
        if self._errors >= self._settings.smtp_max_errors:
            reply = smtp.TOO_MANY_ERRORS
        record_refusal(reply, self.client)
        if reply is smtp.TOO_MANY_ERRORS:
            raise HangUp(reply)
        self._connection.reply(reply)

    # greeting and TLS

    def _channel(self) -> Channel:
        auth, tls = self._policy.auth, bool(self.client.tls)
        offer = Offer.NEVER
        if auth is not None:
            offer = Offer.NOW if auth.takes_passwords(self.client) else Offer.AFTER_TLS
        return Channel(
            tls=tls,
            starttls=self._has_certificate and not tls,
            auth=offer,
            mechanisms=() if auth is None else auth.mechanisms,
        )

    async def _ehlo(self, event: Ehlo) -> None:
        self._hello(event.name, extended=True)
        channel = self.machine.channel
        self._connection.reply(
            smtp.ehlo_reply(
                self._settings.smtp_hostname,
                self._settings.smtp_message_max_bytes,
                starttls=channel.starttls,
                mechanisms=channel.mechanisms if channel.auth is Offer.NOW else (),
                dsn=self._policy.offers_dsn,
            )
        )

    async def _helo(self, event: Helo) -> None:
        self._hello(event.name, extended=False)
        self._connection.reply(smtp.helo_reply(self._settings.smtp_hostname))

    def _hello(self, name: str, *, extended: bool) -> None:
        if not self.client.helo and not self.client.tls and self.machine.buffered:
            self._pipelined()
        self.reset()  # RFC 5321 §4.1.4: as by RSET
        self.client.helo = clean_name(name)
        self.client.extended = extended

    def _pipelined(self) -> None:
        """End the session of a stranger who sends commands before he can know that this is allowed
        (RFC 2920 §3.1): no mail server does, but programs that send spam."""
        defence = self._policy.defence
        if defence is not None and defence.is_stranger(self.client.address):
            defence.fault(self.client.address, "protocol")
            record_refusal(smtp.EARLY_PIPELINING, self.client)
            raise HangUp(smtp.EARLY_PIPELINING)

    async def _starttls(self, _: StartTls) -> None:
        self._connection.reply(smtp.READY_FOR_TLS)
        await self._connection.start_tls()
        # nothing that was said in plain counts (RFC 3207 §4.2), but for what it has cost us
        self.client.helo, self.client.extended, self.client.login = "", False, None
        self.machine.secured(self._channel())

    # AUTH

    async def _challenge(self, event: Challenge) -> None:
        self._connection.reply(event.reply)

    async def _login(self, event: Login | TokenLogin) -> None:
        auth = self._policy.auth
        assert auth is not None
        if isinstance(event, TokenLogin):
            reply = await auth.log_in_by_token(event.bearer, self.client)
        else:
            reply = await auth.log_in(event.secret, self.client)
        if reply in (smtp.LOGIN_FAILED, smtp.LOGIN_THROTTLED):
            await self._login_failed(reply, event)
            return
        if self.client.login is None:
            self.machine.rejected()
        else:
            known = self.client.login.credentials
            if self._connection.claim(known.address, str(known.tenant)):
                auth.opened(self)
                self.machine.accepted()
            else:
                self.client.login = None
                self.machine.rejected()
                reply = smtp.LOGIN_TOO_MANY
                record_refusal(reply, self.client)
        self._connection.reply(reply)

    async def _login_failed(self, reply: Reply, event: Login | TokenLogin) -> None:
        auth = self._policy.auth
        assert auth is not None
        await self._connection.tarpit(
            min(auth.failure_delay_seconds * 2**self._failed_logins, LONGEST_TARPIT)
        )
        self._failed_logins += 1
        # the reason first, then the refusal (RFC 7628 §3.2.3), but not for ever
        if isinstance(event, TokenLogin) and self._failed_logins <= auth.attempts:
            self.machine.explained()
            reason = auth.token_failure(event.bearer.mechanism)
            self._connection.reply(smtp.challenge(b2a_base64(reason, newline=False).decode()))
            return
        self.machine.rejected()
        self._reject(reply)

    async def _declined(self, _: Declined) -> None:
        self._reject(smtp.LOGIN_FAILED)

    def _reject(self, reply: Reply) -> None:
        auth = self._policy.auth
        assert auth is not None
        self._connection.reply(reply)
        if self._failed_logins >= auth.attempts:
            record_refusal(smtp.LOGIN_GIVEN_UP, self.client)
            raise HangUp(smtp.LOGIN_GIVEN_UP)

    # the transaction

    async def _mail(self, event: Mail) -> None:
        reply = await self._policy.sender(event, self.client)
        if reply is smtp.SENDER_OK:
            self._connection.transaction_began()
            self._transaction = Transaction(event, time.monotonic())
            self._policy.began(self._transaction, self.client)
            self.machine.accepted()
        else:
            record_refusal(reply, self.client)
            self.machine.rejected()
            self.machine.authenticated = self.client.login is not None
        self._connection.reply(reply)

    async def _rcpt(self, event: Rcpt) -> None:
        assert self._transaction is not None
        reply = await self._policy.recipient(self._transaction, event, self.client)
        if reply is smtp.RECIPIENT_OK:
            self.machine.accepted()
        else:
            self.machine.rejected(deferred=reply.is_transient)
            if reply.code == smtp.HARVESTING.code:
                raise HangUp(reply)
            if reply is smtp.UNKNOWN_RECIPIENT and self._policy.defence is not None:
                seconds = self._policy.defence.tarpit(
                    self.client.address, self.client.unknown, stressed=self._connection.is_stressed
                )
                if seconds:
                    await self._connection.tarpit(seconds)
        self._connection.reply(reply)

    async def _rset(self, _: Rset) -> None:
        self.reset()
        self._connection.reply(smtp.OK)

    async def _data(self, _: Data) -> None:
        self._connection.reply(smtp.START_INPUT)
        self._begin_message()

    def _begin_message(self) -> MessageBuffer:
        assert self._transaction is not None
        self.pace = Pace(self._settings.smtp_least_rate, self._settings.smtp_least_rate_seconds)
        self._message = self._policy.message(self._transaction, self.client)
        return self._message

    async def _bdat(self, event: Bdat) -> None:
        message = self._message or self._begin_message()
        self._is_chunk_refused = True
        if message.fault is not None:
            self._connection.reply(message.fault)
        elif message.content_octets + event.size > self._settings.smtp_message_max_bytes:
            message.fail(smtp.TOO_BIG)
            self._refuse_chunk(smtp.TOO_BIG)
        else:
            self._is_chunk_refused = False
            return
        self.machine.discard()
        if event.last:
            self.reset()

    def _refuse_chunk(self, reply: Reply) -> None:
        assert self._transaction is not None
        record_refusal(reply, self.client, message=str(self._transaction.id))
        self._connection.reply(reply)

    async def _content(self, event: Content) -> None:
        message = self._message
        assert message is not None
        try:
            await message.add(event.octets)
        except Exception as error:
            self.failed(error)
            message.fail(smtp.FAULT)  # and the rest is read to its end all the same
        if message.fault is not None:
            self.machine.discard()

    async def _bare_line_end(self, _: BareLineEnd) -> None:
        assert self._message is not None
        self._message.fail(smtp.BARE_LINE_END)
        self.machine.discard()

    async def _chunk_end(self, event: ChunkEnd) -> None:
        if self._is_chunk_refused:
            return
        assert self._message is not None
        if self._message.fault is None:
            self._connection.reply(smtp.chunk_taken(event.size))
        else:
            self._refuse_chunk(self._message.fault)

    async def _message_end(self, _: MessageEnd) -> None:
        transaction, message = self._transaction, self._message
        if transaction is None or message is None:  # its last chunk was refused before it came
            self.machine.concluded()
            return
        try:
            reply = await self._policy.accept(transaction, message, self.client)
        finally:
            self.reset()
        self.machine.concluded()
        if reply.code == smtp.REVOKED.code:
            raise HangUp(reply)
        self._connection.reply(reply)

    # the rest

    async def _noop(self, _: Noop) -> None:
        self._connection.reply(smtp.OK)

    async def _vrfy(self, _: Vrfy) -> None:
        self._connection.reply(smtp.CANNOT_VERIFY)

    async def _help(self, _: Help) -> None:
        self._connection.reply(smtp.HELP)

    async def _quit(self, _: Quit) -> None:
        raise HangUp(smtp.BYE)

    _HANDLERS: ClassVar[dict[type, Callable[[Any, Any], Awaitable[None]]]] = {
        Refused: _refused,
        Fatal: _fatal,
        Ehlo: _ehlo,
        Helo: _helo,
        StartTls: _starttls,
        Challenge: _challenge,
        Login: _login,
        TokenLogin: _login,
        Declined: _declined,
        Mail: _mail,
        Rcpt: _rcpt,
        Rset: _rset,
        Data: _data,
        Bdat: _bdat,
        Content: _content,
        BareLineEnd: _bare_line_end,
        ChunkEnd: _chunk_end,
        MessageEnd: _message_end,
        Noop: _noop,
        Vrfy: _vrfy,
        Help: _help,
        Quit: _quit,
    }
