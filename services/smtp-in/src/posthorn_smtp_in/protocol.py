"""The connection of one SMTP session, as its session and the connection limiter see it: greeting,
limits, TLS, drain. How the session is driven is in ``conversation``, what is said in ``session``.

- It stands on ``runtime.session`` for what all session protocols do alike. Its configuration is
  aiosmtpd's, made once for all connections (``context``, ADR 37). The protocol itself is the
  machine's (``wire.smtp.server``).
- Early talkers: strangers are greeted after a moment (``defence``). One that speaks before is refused
  with 554, since it does not listen. Where the greeting goes out at once, an early client cannot be
  told from a quick one, and its commands are answered in order like any pipelined ones.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

import structlog

from posthorn.runtime.tls import cipher_of
from posthorn.wire.smtp import replies as smtp
from posthorn.wire.smtp.replies import Reply
from posthorn_smtp_in.context import ServerContext
from posthorn_smtp_in.conversation import (
    CLOSE_SECONDS,
    Conversation,
    Phase,
    open_sessions,
)
from posthorn_smtp_in.input_queue import Ended
from posthorn_smtp_in.refusals import record_refusal
from posthorn_smtp_in.session import SmtpSession
from posthorn_smtp_in.transaction import Client

log = structlog.get_logger()

_REFUSALS = {"draining": smtp.GOING_DOWN, "banned": smtp.BANNED}


class SmtpProtocol(Conversation):
    """One client's connection."""

    def __init__(
        self, context: ServerContext, *, secure: bool = False, client: str | None = None
    ) -> None:
        """``secure``: TLS is there already. ``client``: the client's address from a PROXY
        header, None without one."""
        super().__init__(context, secure=secure, client=client)
        self._tarpit: asyncio.Future[None] | None = None

    # the beginning

    def begin(self) -> None:
        """Begin the session."""
        settings, policy = self._settings, self._context.policy
        cipher = cipher_of(self.stream.get_extra_info("ssl_object")) if self.is_secure else ""
        client = Client(self.address, self.via_proxy, tls=cipher)
        self._session = SmtpSession(
            settings, policy, self, client, has_certificate=self.tls_context is not None
        )
        self._began_at = self._since = self._wheel.clock()
        auth = policy.auth
        self._ends_at = self._began_at + (
            settings.smtp_session_seconds if auth is None else auth.login_seconds
        )
        open_sessions.inc()
        delay = 0.0
        if policy.defence is not None:
            policy.defence.connected(self.address)
            delay = policy.defence.greeting_delay(self.address, stressed=self.is_stressed)
        if delay and not self.is_draining:
            self._greeting = self.loop.call_later(delay, self._greet)
        else:
            self._greet()

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
        self._set_deadline(self._wheel.clock() + CLOSE_SECONDS)

    def _greet(self) -> None:
        self._greeting = None
        self._phase = Phase.TALKING
        self._session.greet()
        self.flush()
        self._go_on()

    def talked_early(self) -> None:
        """Refuse an early talker."""
        defence = self._context.policy.defence
        assert defence is not None
        defence.fault(self.address, "protocol")
        record_refusal(smtp.EARLY_TALKER, self._session.client)
        self._part(smtp.EARLY_TALKER)

    # for the limiter

    def drain(self) -> None:
        """End soon: a message that is coming in is finished, everything else is told 421."""
        if self._tarpit is not None and not self._tarpit.done():
            self._tarpit.set_result(None)
        if self._is_idle and self._is_over:
            self._part(smtp.GOING_DOWN)

    @property
    def silent_seconds(self) -> float:
        """For how long a command has been waited for; 0 while a message comes in, or work of
        ours is under way."""
        return (
            self._wheel.clock() - self._since
            if self._is_idle and not self._session.is_receiving
            else 0.0
        )

    def give_way(self) -> bool:
        """End with 421, unless work of ours is under way."""
        if self._session.is_receiving or self._phase is Phase.DONE or self.is_lost:
            return False
        if self.is_upgrading and self._work is not None:
            self._work.cancel()
            return True
        if not self._is_idle and not self.is_blocked:
            return False
        record_refusal(smtp.GAVE_WAY, self._session.client)
        self.hang_up(smtp.GAVE_WAY)
        return True

    def abort(self) -> None:
        """End now."""
        self._is_aborted = True
        if self._work is not None:
            self._work.cancel()
        elif self._is_open:
            self._part(smtp.GOING_DOWN)
        elif self._phase is Phase.PARTING:
            self._finish()
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
            await self.upgrade(seconds=seconds)
        except (
            asyncio.CancelledError,
            OSError,
        ) as error:  # ssl.SSLError and TimeoutError are OSErrors
            if isinstance(error, OSError):
                log.info("no TLS", stranger=self.address, error=type(error).__name__)
            self.stream.abort()
            self.connection_lost(None)  # at once, before the session ends
            raise Ended from None
        self._session.client.tls = cipher_of(self.stream.get_extra_info("ssl_object"))
