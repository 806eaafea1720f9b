"""The connection of one SMTP session: bytes in, replies out, time, TLS and the end; what is said is
in ``session``.

Theory of operation:

- It stands on ``runtime.session`` for what all session protocols do alike, and on aiosmtpd's
  protocol class for its configuration and for the task of each connection (ADR 28). The protocol
  itself is the machine's (``wire.smtp.server``).
- Input is taken by the piece. Replies are collected and written together when the input at hand is
  used up (RFC 2920): one write for a pipelined group, and nothing is read while a client does not
  take its replies.
- At each moment it is either the client's turn, and a deadline runs, or ours, and none does: a
  message whose end has come is always answered.
- An end from outside (time, drain) reaches the session as an exception where it waits for the
  client, and nowhere else.
- Memory per connection: what one read brings (256 KiB under uvloop) and little more. A client that
  sends on while we work is not read.
- Early talkers: strangers are greeted after a moment (``defence``). One that speaks before is refused
  with 554, since it does not listen. Where the greeting goes out at once, an early client cannot be
  told from a quick one, and its commands are answered in order like any pipelined ones.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

import structlog
from aiosmtpd.smtp import SMTP
from prometheus_client import Gauge

from posthorn.runtime.session import Deadline, SessionProtocol
from posthorn.runtime.tls import cipher_of
from posthorn.wire.smtp import replies as smtp
from posthorn.wire.smtp.replies import Reply
from posthorn.wire.smtp.server import Signal
from posthorn_smtp_in.connection import HangUp
from posthorn_smtp_in.context import ServerContext
from posthorn_smtp_in.input_queue import Ended, InputQueue
from posthorn_smtp_in.refusals import record_refusal
from posthorn_smtp_in.session import SmtpSession
from posthorn_smtp_in.transaction import Client

log = structlog.get_logger()

MOST_UNREAD = 32 * 1024
"""Bytes of waiting input beyond which the connection is not read."""
OUTPUT = 16 * 1024
"""Bytes of replies collected before they are written."""
TURN = 100
"""Commands of one client in a row before others have their turn."""
LINGER_SECONDS = 1.0
"""How long a client may go on sending after our last reply, so that a reset does not destroy it
on its way."""
LINGER_BYTES = 4 * 1024**2
CLOSE_SECONDS = 5.0
"""How long a closed connection may take to deliver what was written."""

_REFUSALS = {"draining": smtp.GOING_DOWN, "banned": smtp.BANNED}
_sessions = Gauge("posthorn_smtp_in_sessions", "Open sessions")


class _NoHooks:
    """A handler for aiosmtpd that has none of its hooks."""

    def __dir__(self) -> tuple[str, ...]:
        return ()


_NO_HOOKS = _NoHooks()


class SmtpProtocol(SessionProtocol, SMTP):
    """One client's connection, as its session and the connection limiter see it."""

    def __init__(
        self, context: ServerContext, *, secure: bool = False, client: str | None = None
    ) -> None:
        """``secure``: TLS is there already. ``client``: the client's address from a PROXY
        header, None without one."""
        settings = context.settings
        SMTP.__init__(
            self,
            _NO_HOOKS,
            hostname=settings.smtp_hostname,
            ident="Posthorn",
            data_size_limit=settings.smtp_message_max_bytes,
            enable_SMTPUTF8=True,
            tls_context=context.tls,
            timeout=settings.smtp_command_seconds,
            loop=asyncio.get_running_loop(),
        )
        SessionProtocol.__init__(self, context.limiter, context.tls, secure=secure, client=client)
        self._context = context
        self._settings = settings
        self._input = InputQueue(self.loop)
        self._held = 0  # bytes that are counted as read and not handled
        self._is_counted = True
        self._is_overfed = False
        self._is_idle = False
        self._idle_since = 0.0
        self._tarpit: asyncio.Future[None] | None = None
        self._conversation: asyncio.Task[None] | None = None
        self._is_done = False
        self._is_aborted = False
        self._deadline = Deadline(self.loop, self._timed_out)
        self._ends_at = 0.0
        self._closing: asyncio.TimerHandle | None = None

    def __dir__(self) -> tuple[str, ...]:
        # aiosmtpd's constructor looks for its commands and hooks by name, in all attributes: there
        # are none to be found
        return ()

    # from the transport

    def begin(self) -> None:
        """Begin the session, in a task of aiosmtpd's."""
        settings, context = self._settings, self._context
        cipher = cipher_of(self.stream.get_extra_info("ssl_object")) if self.is_secure else ""
        client = Client(self.address, self.via_proxy, tls=cipher)
        self._session = SmtpSession(
            settings, context.policy, self, client, has_certificate=self.tls_context is not None
        )
        self._began_at = self.loop.time()
        auth = context.policy.auth
        self._ends_at = self._began_at + (
            settings.smtp_session_seconds if auth is None else auth.login_seconds
        )
        _sessions.inc()
        if context.policy.defence is not None:
            context.policy.defence.connected(self.address)
        SMTP.connection_made(self, self.stream)
        self._conversation = self._handler_coroutine
        assert self._conversation is not None
        self._conversation.add_done_callback(self._ended)

    def barred(self) -> str | None:
        """Return ``banned`` for a client whose connections are refused now."""
        defence = self._context.policy.defence
        return "banned" if defence is not None and defence.is_banned(self.address) else None

    def refuse(self, limit: str) -> None:
        """Refuse the client with 421."""
        reply = _REFUSALS.get(limit, smtp.TOO_MANY_CONNECTIONS)
        record_refusal(reply, Client(self.address, self.via_proxy), limit=limit)
        self.is_lost = True
        self.stream.write(reply.octets)
        self.stream.close()
        self._closing = self.loop.call_later(CLOSE_SECONDS, self.stream.abort)

    def data_received(self, data: bytes) -> None:
        """Take what was read, if the process has space for it."""
        if self.is_lost:
            return
        if self._is_counted:
            if self._is_overfed or not self._context.limits.input.take(len(data)):
                if not self._is_overfed:
                    self._is_overfed = True
                    record_refusal(smtp.OVERFED, self._session.client, held=self._held)
                    self.hang_up(smtp.OVERFED)
                return
            self._held += len(data)
        self._input.put(data)
        if self._input.unread > MOST_UNREAD:
            self.pause_reading()

    def eof_received(self) -> bool:
        """The client sends no more: what it has sent is still answered. Under TLS there is no
        half-open connection."""
        if self.is_lost:
            return False
        self._session.client.gone = True  # most likely; a reply is tried all the same
        self._input.end()
        return not self.is_secure

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone."""
        if self._closing is not None:
            self._closing.cancel()
        SessionProtocol.connection_lost(self, error)

    def lost(self, error: Exception | None) -> None:
        """What is under way ends by itself."""
        self._deadline.close()
        self._session.client.gone = True
        self._input.end(broken=error is not None)
        asyncio.StreamReaderProtocol.connection_lost(self, error)
        self._leave()

    # extension points of aiosmtpd

    async def _handle_client(self) -> None:
        try:
            farewell = await self._converse()
        except HangUp as end:
            farewell = end.reply
        except Ended:
            return
        except asyncio.CancelledError:
            if not self._is_aborted:
                raise
            farewell = smtp.GOING_DOWN
        self._session.reset()
        with suppress(Ended, HangUp, OSError):
            await self._part(farewell)

    def _reset_timeout(self, duration: float | None = None) -> None:
        """aiosmtpd's timer is not used; see ``_clients_turn``."""

    # for the limiter

    def drain(self) -> None:
        """End soon: a message that is coming in is finished, everything else is told 421."""
        if self._tarpit is not None and not self._tarpit.done():
            self._tarpit.set_result(None)
        if self._is_idle and self._is_over:
            self._input.interrupt(HangUp(smtp.GOING_DOWN))

    @property
    def silent_seconds(self) -> float:
        """For how long a command has been waited for; 0 while a message comes in, or work of
        ours is under way."""
        return (
            self.loop.time() - self._idle_since
            if self._is_idle and not self._session.is_receiving
            else 0.0
        )

    def give_way(self) -> bool:
        """End with 421, unless work of ours is under way."""
        if self._session.is_receiving or self._is_done or self.is_lost:
            return False
        if self.is_upgrading and self._conversation is not None:
            self._conversation.cancel()
            return True
        if not self._is_idle and not self.is_blocked:
            return False
        record_refusal(smtp.GAVE_WAY, self._session.client)
        self.hang_up(smtp.GAVE_WAY)
        return True

    def abort(self) -> None:
        """End now."""
        self._is_aborted = True
        if self._conversation is not None and not self._conversation.done():
            self._conversation.cancel()
        elif not self.is_lost:
            self.stream.abort()

    # for the session

    @property
    def is_stressed(self) -> bool:
        """Whether places for connections run short."""
        return self.limiter.stressed

    def reply(self, reply: Reply) -> None:
        """Queue a reply."""
        self.send(reply.octets)

    def hang_up(self, reply: Reply) -> None:
        """End the session with this reply where it waits for the client, now or the next time;
        what is being kept is answered."""
        if self.is_blocked:
            self.stream.abort()  # a client that takes no replies cannot be told
        self._input.interrupt(HangUp(reply))

    def transaction_began(self) -> None:
        """The session does not wait any more."""
        self.limiter.began(self)

    def transaction_ended(self) -> None:
        """It waits again."""
        self.limiter.waits(self)

    def claim(self, account: str, tenant: str) -> bool:
        """Take a place of the share of an account and its tenant, for a whole session."""
        if not self.limiter.claim(self, account, tenant):
            return False
        self._ends_at = self._began_at + self._settings.smtp_session_seconds
        return True

    async def tarpit(self, seconds: float) -> None:
        """Let the client wait for its next reply, with what came before it sent. A drain does
        not wait with it."""
        if self.output_bytes:
            await self._flush()
        if self.is_draining:
            return
        self._tarpit = self.loop.create_future()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._tarpit

    async def start_tls(self) -> None:
        """Shake hands, and forget everything that came before it (RFC 3207 §4.2). Raises Ended."""
        await self._flush()
        self._input.clear()
        seconds = self._settings.smtp_handshake_seconds
        try:
            await self.upgrade(seconds=seconds, shutdown_seconds=LINGER_SECONDS)
        except (
            asyncio.CancelledError,
            OSError,
        ) as error:  # ssl.SSLError and TimeoutError are OSErrors
            if isinstance(error, OSError):
                log.info("no TLS", client=self.address, error=type(error).__name__)
            self.stream.abort()
            self.connection_lost(None)  # the transport between the layers may not tell of its end
            raise Ended from None
        self._session.client.tls = cipher_of(self.stream.get_extra_info("ssl_object"))

    # the conversation

    async def _converse(self) -> Reply:
        session, machine = self._session, self._session.machine
        if await self._talks_early():
            return smtp.EARLY_TALKER
        session.greet()
        events = 0
        while not self._is_over:
            event = machine.next_event()
            if isinstance(event, Signal):
                machine.receive(await self._receive())
                continue
            try:
                await session.handle(event)
            except (HangUp, Ended):
                raise
            except Exception as error:
                # nothing more is obeyed: commands sent ahead would meet a 503, and unread data
                # would be taken for commands
                session.failed(error)
                return smtp.FAULT
            events += 1
            if events % TURN == 0:
                await asyncio.sleep(0)
            if self.output_bytes >= OUTPUT:
                await self._flush()
        return smtp.GOING_DOWN

    async def _talks_early(self) -> bool:
        """Hold back the greeting of a stranger for a moment; return whether it spoke meanwhile."""
        defence = self._context.policy.defence
        if defence is None:
            return False
        delay = defence.greeting_delay(self.address, stressed=self.is_stressed)
        if not delay or self.is_draining:
            return False
        self._is_idle, self._idle_since = True, self.loop.time()
        try:
            async with asyncio.timeout(delay):
                while self._input.must_wait:
                    await self._input.wait()
        except TimeoutError:
            return False
        finally:
            self._is_idle = False
        if not self._input.unread:
            raise Ended
        defence.fault(self.address, "protocol")
        record_refusal(smtp.EARLY_TALKER, self._session.client)
        return True

    @property
    def _is_over(self) -> bool:
        return self.is_draining and not self._session.is_receiving

    async def _receive(self) -> bytes:
        """Wait for input. Raises Ended, or HangUp when the session is to end."""
        if not self._session.machine.awaits_line:
            return await self._read(self._settings.smtp_data_seconds)
        self._is_idle, self._idle_since = True, self.loop.time()
        try:
            return await self._read(self._settings.smtp_command_seconds)
        finally:
            self._is_idle = False

    async def _read(self, seconds: float) -> bytes:
        if self.output_bytes:
            await self._flush()
        self._input.check()
        self._handled()
        pace = self._session.pace
        began = self.loop.time()
        if self._input.must_wait:
            self._clients_turn(seconds if pace is None else min(seconds, max(pace.left, 0.0)))
            try:
                await self._input.wait()
            finally:
                self._deadline.clear()
        octets = self._input.take()
        self.resume_reading()
        if pace is not None:
            pace.note(self.loop.time() - began, len(octets))
        return octets

    async def _flush(self) -> None:
        if self.is_lost:
            raise Ended
        self.flush()
        if self.is_blocked:
            self._clients_turn(self._settings.smtp_command_seconds)
            await self.unblocked()
            self._deadline.clear()

    def _handled(self, *, all_of_it: bool = False) -> None:
        """What was read and is done with is not counted any more."""
        still = 0 if all_of_it else self._input.unread + self._session.machine.buffered
        self._context.limits.input.release(self._held - still)
        self._held = still
        self._is_counted = self._is_counted and not all_of_it

    # the end

    async def _part(self, farewell: Reply) -> None:
        """Say the last word. Then let the client finish its sentence, lest a reset destroys our
        reply on its way."""
        self.reply(farewell)
        self._handled(all_of_it=True)
        self._ends_at = self.loop.time() + CLOSE_SECONDS
        await self._flush()
        if farewell.code == smtp.BYE.code or self.is_secure or self._input.has_ended:
            return
        self.stream.write_eof()
        swallowed = 0
        async with asyncio.timeout(LINGER_SECONDS):
            while swallowed < LINGER_BYTES and not self._input.has_ended:
                swallowed += self._input.unread
                self._input.clear()
                self.resume_reading()
                await self._input.wait()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._is_done = True
        self._session.leave()
        self._deadline.close()
        if not task.cancelled() and (error := task.exception()):
            log.error("session failed", client=self.address, exc_info=error)
        if not self.is_lost:
            self.stream.close()
            self._closing = self.loop.call_later(CLOSE_SECONDS, self.stream.abort)
        self._leave()

    def _leave(self) -> None:
        """Strike the session off when both the connection and the work on it have ended."""
        if self.is_lost and self._is_done and self.leave():
            self._handled(all_of_it=True)
            _sessions.dec()

    # time

    def _clients_turn(self, seconds: float) -> None:
        self._deadline.set(min(self.loop.time() + seconds, self._ends_at))

    def _timed_out(self) -> None:
        if self.is_blocked:
            self.stream.abort()  # a client that takes no replies cannot be told
        else:
            record_refusal(smtp.TIMED_OUT, self._session.client)
            self._input.interrupt(HangUp(smtp.TIMED_OUT))
