"""The dialogue of one POP3 session: events of the machine in, replies out.

Rules:

- ``handle`` answers at once where nothing must be waited for, else returns a coroutine; the
  protocol runs one at a time and hands over no other event meanwhile.
- A command that cannot be obeyed changes nothing; how messages are sent is in ``retr``.
"""

from __future__ import annotations

import asyncio
from collections import Counter as Tally
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import structlog
from prometheus_client import Counter

from posthorn.ports.errors import Unavailable
from posthorn.ports.maildrops import LeaseLost, Revoked
from posthorn.runtime.mail_login import log_refused_login
from posthorn.wire.pop3.events import (
    Capa,
    Challenge,
    Declined,
    Dele,
    Event,
    Lang,
    List,
    Login,
    Mechanisms,
    Named,
    Noop,
    Quit,
    Refused,
    Retr,
    Rset,
    Stat,
    Stls,
    TokenLogin,
    Top,
    Uidl,
    Utf8,
)
from posthorn.wire.pop3.machine import Machine
from posthorn.wire.pop3.states import State
from posthorn_pop3.metrics import TEMPORARY_FAILURES
from posthorn_pop3.open_maildrop import OpenMaildrop
from posthorn_pop3.retr import ReplyWriter, Retriever, Work
from posthorn_pop3.service import LoginFailed, MaildropService
from posthorn_pop3.snapshot import Snapshot

log = structlog.get_logger()

GREETING = b"+OK Posthorn POP3 ready\r\n"
"""Without angle brackets: Thunderbird takes those for an APOP timestamp."""
GOING_DOWN = b"-ERR [SYS/TEMP] server going down, connect again\r\n"
BAD_COMMANDS_BEFORE_LOGIN = 10
BAD_COMMANDS = 100

_commands = Counter("posthorn_pop3_commands_total", "Commands answered", ["command"])
_messages = Counter("posthorn_pop3_messages_total", "Messages sent whole (RETR)")


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """What sessions are allowed, from the settings."""

    login_attempts: int = 3
    failure_delay: float = 1.0
    """Seconds."""
    no_nuls: bool = False


class Pop3Session:
    """One client's dialogue."""

    _retriever: Retriever  # from login on, as ``maildrop``

    def __init__(
        self,
        service: MaildropService,
        machine: Machine,
        outlet: ReplyWriter,
        limits: SessionLimits,
        client: str,
    ) -> None:
        self._service = service
        self._machine = machine
        self._out = outlet
        self._limits = limits
        self._client = client
        self._failures = 0
        self._declined: LoginFailed | None = None
        self._bad = 0
        self._tally: Tally[type] = Tally()
        self.maildrop: OpenMaildrop | None = None
        self.ending = "dropped"
        """How it ended, for the log."""
        self.is_committing = False
        """QUIT is under way: it is not cut."""
        self._counted = 0
        self._deleted = 0

    @property
    def _snapshot(self) -> Snapshot:
        assert self.maildrop is not None, "the machine lets these commands through after login only"
        return self.maildrop.snapshot

    def greet(self) -> None:
        """Send the greeting."""
        self._out.send(GREETING)

    def handle(self, event: Event) -> Work | None:
        """Answer an event, or return the coroutine that will."""
        kind = type(event)
        self._tally[kind] += 1
        if self.maildrop is not None and self.maildrop.ending is not None:
            self.say_farewell()
            return None
        return self._HANDLERS[kind](self, event)

    def say_farewell(self) -> None:
        """Tell the client why the maildrop was closed from outside, and end."""
        assert self.maildrop is not None
        how, text = self.maildrop.farewell
        self._out.send(b"-ERR %s\r\n" % text.encode())
        self.end(how)

    def end(self, how: str) -> None:
        """Close after what is queued; nothing is deleted."""
        self.ending = how
        self._out.close()

    def count(self) -> None:
        """Add what was done since the last time to the metrics."""
        for kind, number in self._tally.items():
            _by_command[kind].inc(number)
        self._tally.clear()
        if self.maildrop is not None and self._retriever.messages > self._counted:
            _messages.inc(self._retriever.messages - self._counted)
            self._counted = self._retriever.messages

    def taken(self) -> None:
        """Record what was sent as read: the transport is not backed up."""
        if self.maildrop is not None:
            self._retriever.record_read()

    async def leave(self) -> None:
        """Release the maildrop and log the session."""
        self.count()
        if self.maildrop is None:
            return
        await self.maildrop.leave()
        log.info(
            "session ended",
            session=str(self.maildrop.holder),
            account=self.maildrop.address,
            client=self._client,
            how="fault" if self._retriever.is_broken else self.ending,
            messages=self._retriever.messages,
            octets=self._retriever.octets,
            deleted=self._deleted,
        )

    # before login

    def _refused(self, event: Refused) -> None:
        self._out.send(event.reply)
        self._bad += 1
        if self._bad >= (BAD_COMMANDS_BEFORE_LOGIN if self.maildrop is None else BAD_COMMANDS):
            self._out.send(b"-ERR too many bad commands\r\n")
            self.end("bad commands")

    def _capa(self, _: Capa) -> None:
        self._out.send(self._machine.capabilities())

    def _ready_reply(self, event: Lang | Mechanisms | Challenge) -> None:
        self._out.send(event.reply)

    def _utf8(self, _: Utf8) -> None:
        self._out.send(b"+OK UTF-8 mode is on\r\n")

    def _named(self, _: Named) -> None:
        self._out.send(b"+OK send the password\r\n")

    async def _stls(self, _: Stls) -> None:
        self._out.send(b"+OK begin TLS\r\n")
        await self._out.start_tls()

    async def _login(self, event: Login | TokenLogin) -> None:
        try:
            maildrop = await self._service.log_in(event, self._client, self._out.claim)
        except LoginFailed as failed:
            self._out.unclaim()
            await self._login_failed(failed, event)
            return
        self._retriever = Retriever(maildrop, self._out, no_nuls=self._limits.no_nuls)
        self.maildrop = maildrop
        maildrop.on_end = self._out.interrupt
        self._bad = 0
        self._machine.accepted(maildrop.keep_days)
        snapshot = maildrop.snapshot
        self._out.send(
            b"+OK maildrop has %d messages (%d octets)\r\n" % (snapshot.count, snapshot.octets)
        )

    async def _login_failed(self, failed: LoginFailed, event: Login | TokenLogin) -> None:
        log_refused_login(failed.outcome, self._client)
        if failed.wrong:
            self._failures += 1
            await asyncio.sleep(self._limits.failure_delay)
            # the reason first, then -ERR (RFC 7628 §3.2.3), but not for ever
            if isinstance(event, TokenLogin) and self._failures <= self._limits.login_attempts:
                self._declined = failed
                reason = self._service.token_failure(event.bearer.mechanism)
                self._out.send(self._machine.explain(reason))
                return
        self._machine.rejected()
        self._reject(failed)

    def _token_declined(self, _: Declined) -> None:
        assert self._declined is not None
        self._reject(self._declined)

    def _reject(self, failed: LoginFailed) -> None:
        self._out.send(b"-ERR %s\r\n" % failed.reply.encode())
        if self._failures >= self._limits.login_attempts:
            self.end("login failed")

    def _quit(self, _: Quit) -> Work | None:
        if self._machine.state is State.UPDATE:
            return self._update()
        self._out.send(b"+OK bye\r\n")
        self.end("quit")
        return None

    # after login

    async def _update(self) -> None:
        """QUIT after login: deletions are committed before they are claimed, the lease is released
        after the reply, before the connection is closed (RFC 1939 §6). Raises ConnectionError."""
        assert self.maildrop is not None
        if not self._snapshot.has_marks:
            self.maildrop.is_leaving = True
            self._out.send(b"+OK bye, 0 messages deleted\r\n")
            self._out.flush()
            await self.maildrop.leave()
            self.end("quit")
            return
        # who pipelines may mark what has not been sent yet: if that never arrives, it stays
        await self._out.emptied()
        self.is_committing = True
        try:
            self._deleted = await self.maildrop.commit()
        except Revoked as error:
            self.maildrop.ending = error.ending
            self.say_farewell()
        except LeaseLost:
            self._out.send(
                b"-ERR [SYS/TEMP] the maildrop was taken by another session, nothing is deleted\r\n"
            )
            self.end("lease lost")
        except Unavailable as error:
            log.warning(
                "deletions not committed",
                account=self.maildrop.address,
                fault=error,
            )
            TEMPORARY_FAILURES.labels("quit").inc()
            self._out.send(
                b"-ERR [SYS/TEMP] the messages marked as deleted could not be removed, try again\r\n"
            )
            self.end("commit failed")
        else:
            self._out.send(b"+OK bye, %d messages deleted\r\n" % self._deleted)
            self.end("quit")

    def _stat(self, _: Stat) -> None:
        self._out.send(b"+OK %d %d\r\n" % (self._snapshot.count, self._snapshot.octets))

    def _list(self, event: List) -> Work | None:
        snapshot = self._snapshot
        if event.number is None:
            head = b"+OK %d messages (%d octets)\r\n" % (snapshot.count, snapshot.octets)
            return self._listing(head, snapshot.sizes())
        if self._there(event.number):
            self._out.send(b"+OK %d %d\r\n" % (event.number, snapshot.size(event.number)))
        return None

    def _uidl(self, event: Uidl) -> Work | None:
        snapshot = self._snapshot
        if event.number is None:
            return self._listing(b"+OK unique ids follow\r\n", snapshot.uidls())
        if self._there(event.number):
            self._out.send(b"+OK %d %b\r\n" % (event.number, snapshot.uidl(event.number)))
        return None

    def _listing(self, head: bytes, chunks: Iterator[bytes]) -> Work | None:
        self._out.send(head + next(chunks, b""))
        second = next(chunks, None)
        if second is None:
            self._out.send(b".\r\n")
            return None
        return self._long_listing(second, chunks)

    async def _long_listing(self, chunk: bytes, chunks: Iterator[bytes]) -> None:
        self._out.send(chunk)
        for each in chunks:
            await self._out.room()
            await asyncio.sleep(0)  # others have their turn
            self._out.send(each)
        self._out.send(b".\r\n")

    def _dele(self, event: Dele) -> None:
        if self._there(event.number):
            self._snapshot.delete(event.number)
            self._out.send(b"+OK message %d marked\r\n" % event.number)

    def _noop(self, _: Noop) -> None:
        self._out.send(b"+OK\r\n")

    def _rset(self, _: Rset) -> None:
        self._snapshot.reset()
        self._out.send(
            b"+OK maildrop has %d messages (%d octets)\r\n"
            % (self._snapshot.count, self._snapshot.octets)
        )

    def _retr(self, event: Retr) -> Work | None:
        return self._retriever.send(event.number, None) if self._there(event.number) else None

    def _top(self, event: Top) -> Work | None:
        return (
            self._retriever.send(event.number, event.lines) if self._there(event.number) else None
        )

    def _there(self, number: int) -> bool:
        if self._snapshot.has(number):
            return True
        if self._snapshot.marked(number):
            self._out.send(b"-ERR message %d is marked as deleted\r\n" % number)
        else:
            self._out.send(
                b"-ERR there is no such message, the maildrop has %d\r\n" % len(self._snapshot)
            )
        return False

    _HANDLERS: ClassVar[dict[type, Callable[[Any, Any], Work | None]]] = {
        Refused: _refused,
        Capa: _capa,
        Lang: _ready_reply,
        Mechanisms: _ready_reply,
        Challenge: _ready_reply,
        Utf8: _utf8,
        Named: _named,
        Stls: _stls,
        Login: _login,
        TokenLogin: _login,
        Declined: _token_declined,
        Quit: _quit,
        Stat: _stat,
        List: _list,
        Uidl: _uidl,
        Retr: _retr,
        Top: _top,
        Dele: _dele,
        Noop: _noop,
        Rset: _rset,
    }


_by_command = {kind: _commands.labels(kind.__name__.lower()) for kind in Pop3Session._HANDLERS}
