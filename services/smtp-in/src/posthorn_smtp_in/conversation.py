"""How the session of a connection is driven: by what its transport brings, one turn after the other.

Theory of operation:

- What was read is answered inside the transport's callback, by a task that begins at once
  (``eager_start``); it ends there too unless something must be awaited: the directory, a login, the
  stream. So a session that waits for its client has no task.
- Input is taken by the piece. Replies are collected and written together when the input is used up
  (RFC 2920): one write for a pipelined group, and nothing is read while a client does not take its
  replies.
- At each moment it is either the client's turn, and a deadline runs, or ours, and none does: a
  message whose end has come is always answered. Deadlines are entries of the process's timer wheel.
- An end from outside (time, drain) takes effect where the session waits for the client, and nowhere
  else.
- Memory per connection: what one read brings (256 KiB under uvloop) and little more. A client that
  sends on while we work is not read.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from enum import Enum

import structlog
from prometheus_client import Gauge

from posthorn.runtime.at_once import begun
from posthorn.runtime.session import SessionProtocol
from posthorn.wire.signals import Signal
from posthorn.wire.smtp import replies as smtp
from posthorn.wire.smtp.replies import Reply
from posthorn_smtp_in.connection import HangUp
from posthorn_smtp_in.context import ServerContext
from posthorn_smtp_in.input_queue import Ended, InputQueue
from posthorn_smtp_in.refusals import record_refusal
from posthorn_smtp_in.session import SmtpSession

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

open_sessions = Gauge("posthorn_smtp_in_sessions", "Open sessions")


class Phase(Enum):
    """How far a connection is."""

    GREETING = "the greeting is held back"
    TALKING = "commands are answered"
    PARTING = "the last reply is on its way"
    DONE = "closed by us, or lost"


class Conversation(SessionProtocol, asyncio.Protocol):
    """A connection that drives its session."""

    _session: SmtpSession  # once the connection was admitted

    def __init__(self, context: ServerContext, *, secure: bool, client: str | None) -> None:
        super().__init__(
            context.limiter, context.configuration.tls_context, secure=secure, client=client
        )
        self._context = context
        self._settings = context.settings
        self._wheel = context.wheel
        self._input = InputQueue()
        self._held = 0  # bytes that are counted as read and not handled
        self._is_counted = True
        self._is_overfed = False
        self._phase = Phase.GREETING
        self._is_answering = False
        self._work: asyncio.Task[Reply | None] | None = None  # once something must be awaited
        self._farewell: Reply | None = None  # when the client is waited for next
        self._swallowed = 0
        self._since = 0.0  # when the client's turn began, by the wheel's clock
        self._is_clients_turn = False
        self._greeting: asyncio.TimerHandle | None = None
        self._is_aborted = False
        self._deadline: float | None = None
        self._ends_at = 0.0

    # what subclasses do

    @abstractmethod
    def talked_early(self) -> None:
        """End the session of a client that has spoken before the greeting."""

    # from the transport

    def data_received(self, data: bytes) -> None:
        """Take what was read, if the process has space for it, and answer it."""
        if self.is_lost:
            return
        if self._phase is Phase.PARTING:
            self._swallow(len(data))
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
        if not self._is_answering:
            self._proceed()
        elif self._input.unread > MOST_UNREAD:
            self.pause_reading()

    def eof_received(self) -> bool:
        """The client sends no more: what it has sent is still answered. Under TLS there is no
        half-open connection."""
        if self.is_lost:
            return False
        self._session.client.gone = True  # most likely; a reply is tried all the same
        self._input.end()
        self._input_ended()
        return not self.is_secure

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone."""
        if self.is_lost:  # known already, or refused
            self._forget_deadline()
        SessionProtocol.connection_lost(self, error)

    def lost(self, error: Exception | None) -> None:
        """What is under way ends by itself."""
        self._forget_deadline()
        self._session.client.gone = True
        self._input.end(broken=error is not None)
        self._input_ended()
        self._leave()

    def resume_writing(self) -> None:
        """Go on: the client takes what is sent."""
        SessionProtocol.resume_writing(self)
        if self._phase is Phase.PARTING:
            self._part_slowly()

    # the turns

    def _go_on(self) -> None:
        if self._is_over:
            self._part(smtp.GOING_DOWN)
        elif self._input.must_wait:
            self._await_client()
        else:  # it came after the task had ended
            self._answer_input()

    def _proceed(self) -> None:
        """Answer what was read, or the end of the input, while nothing of ours is under way."""
        if self._phase is Phase.GREETING and self._input.unread:
            self.talked_early()
        elif self._phase is Phase.TALKING:
            self._answer_input()
        elif self._phase is not Phase.DONE:
            self._finish()

    def _input_ended(self) -> None:
        if not self._is_answering:
            self._proceed()

    def _answer_input(self) -> None:
        self._is_answering = True
        work = begun(self._answer())
        if work.done():
            self._answered(work)
        else:
            self._work = work
            work.add_done_callback(self._answered)

    async def _answer(self) -> Reply | None:
        """Answer what was read; return the reply that ends the session, or None: the client is
        waited for. Raises Ended."""
        session, input_ = self._session, self._input
        machine = session.machine
        events = 0
        try:
            machine.receive(self._take())
            while not self._is_over:
                event = machine.next_event()
                if isinstance(event, Signal):
                    if self.output_bytes and self._write_out():
                        await self._taken()
                    self._handled()
                    if self._farewell is not None:
                        return self._farewell
                    if input_.must_wait:
                        return None
                    machine.receive(self._take())
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
        except HangUp as end:
            return end.reply
        except asyncio.CancelledError:
            if not self._is_aborted:
                raise
        return smtp.GOING_DOWN

    def _answered(self, work: asyncio.Task[Reply | None]) -> None:
        self._is_answering, self._work = False, None
        if work.cancelled():
            self._finish()
        elif (error := work.exception()) is not None:
            if not isinstance(error, Ended):
                log.error("session failed", client=self.address, exc_info=error)
            self._finish()
        elif (farewell := work.result()) is not None:
            self._part(farewell)
        elif self._farewell is not None:
            self._part(self._farewell)
        else:
            self._go_on()

    def _take(self) -> bytes:
        octets = self._input.take()
        self.resume_reading()
        pace = self._session.pace
        if pace is not None:
            waited = self._wheel.clock() - self._since if self._is_clients_turn else 0.0
            pace.note(waited, len(octets))
        self._is_clients_turn, self._deadline = False, None
        return octets

    @property
    def _is_idle(self) -> bool:
        """Whether a command is waited for, or the moment before the greeting."""
        return self._is_open and not self._is_answering and self._session.machine.awaits_line

    @property
    def _is_open(self) -> bool:
        return self._phase is Phase.TALKING or self._phase is Phase.GREETING

    @property
    def _is_over(self) -> bool:
        return self.is_draining and not self._session.is_receiving

    def _await_client(self) -> None:
        """Begin the client's turn."""
        settings, session = self._settings, self._session
        self._is_clients_turn = True
        self._since = now = self._wheel.clock()
        seconds = (
            settings.smtp_command_seconds
            if session.machine.awaits_line
            else settings.smtp_data_seconds
        )
        if session.pace is not None:
            seconds = min(seconds, max(session.pace.left, 0.0))
        self._set_deadline(min(now + seconds, self._ends_at))

    def _write_out(self) -> bool:
        """Write what was collected; return whether the client does not take it at once. Raises
        Ended."""
        if self.is_lost:
            raise Ended
        self.flush()
        return self.is_blocked

    async def _flush(self) -> None:
        """Write what was collected, and wait until the client takes it. Raises Ended."""
        if self._write_out():
            await self._taken()

    async def _taken(self) -> None:
        now = self._wheel.clock()
        self._set_deadline(min(now + self._settings.smtp_command_seconds, self._ends_at))
        await self.unblocked()
        self._deadline = None

    def _handled(self, *, all_of_it: bool = False) -> None:
        """What was read and is done with is not counted any more."""
        still = 0 if all_of_it else self._input.unread + self._session.machine.buffered
        self._context.limits.input.release(self._held - still)
        self._held = still
        self._is_counted = self._is_counted and not all_of_it

    # the end

    def hang_up(self, reply: Reply) -> None:
        """End the session with this reply where it waits for the client, now or the next time;
        what is being kept is answered."""
        if self.is_blocked:
            self.stream.abort()  # a client that takes no replies cannot be told
        if self._is_answering:
            self._farewell = self._farewell or reply
        elif self._is_open:
            self._part(reply)

    def _part(self, farewell: Reply) -> None:
        """Say the last word. Then let the client finish its sentence, lest a reset destroys our
        reply on its way."""
        self._session.reset()
        self._phase = Phase.PARTING
        self._farewell = farewell
        if self._greeting is not None:
            self._greeting.cancel()
        self.send(farewell.octets)
        self._handled(all_of_it=True)
        if self.is_lost:
            self._finish()
            return
        self.flush()
        if self.is_blocked:
            self._set_deadline(self._wheel.clock() + CLOSE_SECONDS)
        else:
            self._part_slowly()

    def _part_slowly(self) -> None:
        assert self._farewell is not None
        if self._farewell.code == smtp.BYE.code or self.is_secure or self._input.has_ended:
            self._finish()
            return
        self.stream.write_eof()
        self._set_deadline(self._wheel.clock() + LINGER_SECONDS)
        unread = self._input.unread
        self._input.clear()
        self.resume_reading()
        self._swallow(unread)

    def _swallow(self, octets: int) -> None:
        self._swallowed += octets
        if self._swallowed >= LINGER_BYTES:
            self._finish()

    def _finish(self) -> None:
        """End the session, and close."""
        if self._phase is Phase.DONE:
            return
        self._phase = Phase.DONE
        if self._greeting is not None:
            self._greeting.cancel()
        self._session.leave()
        self._deadline = None
        if not self.is_lost:
            if self.is_secure:
                # once the reply is on its way: most clients leave by themselves, and then the end
                # of TLS need not be exchanged
                self.loop.call_soon(self.loop.call_soon, self.stream.close)
            else:
                self.stream.close()
            self._set_deadline(self._wheel.clock() + CLOSE_SECONDS)
        self._leave()

    def _leave(self) -> None:
        """Strike the session off when both the connection and the work on it have ended."""
        if self.is_lost and self._phase is Phase.DONE and self.leave():
            self._handled(all_of_it=True)
            open_sessions.dec()
            # no cycle is left, which would wait for the garbage collector
            del self._session, self.stream

    # time

    def on_time(self, now: float) -> float | None:
        """Do what is due at this time of the wheel's clock; return when to look again."""
        at = self._deadline
        if at is None or now < at:
            return at
        self._deadline = None
        if self._phase is Phase.DONE or self.is_lost or self.is_blocked:
            self.stream.abort()  # a client that takes no replies cannot be told
        elif self._phase is Phase.PARTING:
            self._finish()
        else:
            record_refusal(smtp.TIMED_OUT, self._session.client)
            self._part(smtp.TIMED_OUT)
        return self._deadline

    def _set_deadline(self, at: float) -> None:
        self._deadline = at
        self._wheel.look_at(self, at)

    def _forget_deadline(self) -> None:
        self._deadline = None
        self._wheel.forget(self)
