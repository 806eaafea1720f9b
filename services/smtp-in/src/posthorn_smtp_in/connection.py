"""The edge of one connection: lines and octets in, replies out, time, TLS and the end; the commands are in ``session``.

Theory of operation:

- It stands on aiosmtpd's protocol class, for its life as a stream and its hooks. What aiosmtpd does per connection by reflection,
  per line of a message by an await, and per reply by a drain, is done otherwise here.
- Input is read by the piece. Replies are collected and written together when the input at hand is used up (RFC 2920): one write
  for a pipelined group, and nothing is read while a client does not take its replies.
- At each moment it is either the client's turn, and a deadline runs, or ours, and none does: a message whose end has come is always
  answered. One timer serves all deadlines; it is moved only when one comes nearer.
- An end from outside (time, drain) reaches the session as an exception where it waits for the client, and nowhere else.
- Memory per connection: what one read brings (256 KiB under uvloop) and little more. A client that sends on while we work is not
  read, by the stream's flow control.
- Early talkers: the greeting goes out at once, so a client that speaks before it cannot be told from a quick one. Its commands are
  answered in order like any pipelined ones; holding back the greeting as a test is a matter for policy.
"""

from __future__ import annotations

import asyncio
import ssl
from asyncio import StreamReader, StreamReaderProtocol
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

import structlog
from aiosmtpd.smtp import SMTP
from prometheus_client import Counter, Gauge

from posthorn.runtime.ids import new_id
from posthorn.runtime.listen import Gate, peer_address
from posthorn.wire.smtp import replies as smtp
from posthorn.wire.smtp.commands import LONGEST_LINE
from posthorn.wire.smtp.replies import Reply
from posthorn_smtp_in.pace import Pace
from posthorn_smtp_in.service import Client, Reception
from posthorn_smtp_in.settings import SmtpSettings

log = structlog.get_logger()

READ = 256 * 1024
"""Octets taken from the stream at once."""
FLOW = 16 * 1024
"""Half of the waiting input beyond which the connection is not read."""
OUTPUT = 16 * 1024
"""Octets of replies collected before they are written."""
TURN = 100
"""Commands of one client in a row before others have their turn."""
LINGER_SECONDS = 1.0
"""How long a client may go on sending after our last reply, so that a reset does not destroy it on its way."""
LINGER_OCTETS = 4 * 1024**2
CLOSE_SECONDS = 5.0
"""How long a closed connection may take to deliver what was written."""

_sessions = Gauge("posthorn_smtp_in_sessions", "Open sessions")
_faults = Counter("posthorn_smtp_in_faults_total", "Errors of this program, answered 451")


@dataclass(frozen=True, slots=True)
class Edge:
    """What all connections of a process share."""

    settings: SmtpSettings
    reception: Reception
    gate: Gate
    tls: ssl.SSLContext | None


class HangUp(Exception):
    """The session ends with this reply."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.kind)
        self.reply = reply


class Gone(Exception):
    """The client has closed, or broken, the connection."""


class Connection(SMTP):
    """One client's connection. A subclass obeys commands."""

    def __init__(self, edge: Edge, *, secure: bool = False, client: str | None = None) -> None:
        """``secure``: TLS is there already. ``client``: the client's address, told by a balancer."""
        loop = asyncio.get_running_loop()
        # not aiosmtpd's own: it inspects every attribute of itself, each time
        StreamReaderProtocol.__init__(self, StreamReader(FLOW, loop), self._cb_client_connected, loop)
        self.loop = loop
        self.edge = edge
        self.settings = edge.settings
        self.hostname = edge.settings.smtp_hostname
        self.tls_context = edge.tls
        self.transport = None
        self.session = None
        self.envelope = None
        self._original_transport = None
        self._handler_coroutine = None
        self.client = Client(client or "", introduced=client is not None)
        self._secure = secure
        self._admitted = False
        self._lost = False
        self._input = b""
        self._at = 0
        self._output: list[bytes] = []
        self._output_octets = 0
        self._idle = False
        self._idle_since = 0.0
        self._counts = True
        self._counted = 0
        self._unread = 0
        self._overfed = False
        self.pace: Pace | None = None
        self._shaking = False
        self._waits = False
        self._farewell: Reply | None = None
        self._room: asyncio.Future[None] | None = None
        self._draining = False
        self._penalty: asyncio.Future[None] | None = None
        self._eof = False
        self._done = False
        self._aborted = False
        self._deadline: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._began_at = 0.0
        self._ends_at = 0.0

    # from the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Admit the client and begin the session, or refuse it with 421."""
        stream = cast(asyncio.Transport, transport)
        if not self.client.introduced:
            self.client.address = peer_address(transport)
        if self._secure:
            self.client.tls = _cipher_of(transport.get_extra_info("ssl_object"))
        refusal = self.edge.gate.admit(self, self.client.address)
        if refusal is not None:
            reply = smtp.GOING_DOWN if refusal == "draining" else smtp.TOO_MANY_CONNECTIONS
            self.edge.reception.refused(reply, self.client, limit=refusal)
            self._lost = True
            stream.write(reply.octets)
            stream.close()
            self._timer = self.loop.call_later(CLOSE_SECONDS, stream.abort)
            return
        self._admitted = True
        self._began_at = self.loop.time()
        self._ends_at = self._began_at + self.life
        _sessions.inc()
        super().connection_made(transport)
        assert self._handler_coroutine is not None
        self._handler_coroutine.add_done_callback(self._ended)

    def data_received(self, data: bytes) -> None:
        """Take what was read, if there is room for it."""
        if self._lost:
            return
        if self._counts:
            if self._overfed or not self.edge.reception.room.input.take(len(data)):
                if not self._overfed:
                    self._overfed = True
                    self.edge.reception.refused(smtp.OVERFED, self.client, held=self._counted)
                    self.hang_up(smtp.OVERFED)
                return
            self._counted += len(data)
            self._unread += len(data)
        self._reader.feed_data(data)

    def _handled(self, *, all_of_it: bool = False) -> None:
        """What was read and is done with is not counted any more."""
        still = 0 if all_of_it else self._unread + len(self._input) - self._at
        self.edge.reception.room.input.give(self._counted - still)
        self._counted = still
        self._counts = self._counts and not all_of_it

    def eof_received(self) -> bool:
        """The client sends no more: what it has sent is still answered. Under TLS there is no half-open connection."""
        if self._lost:
            return False
        self._eof = self.client.gone = True  # most likely; a reply is tried all the same
        self._reader.feed_eof()
        return not self.client.tls

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone. What is under way ends by itself."""
        self._disarm()
        if self._lost:
            return
        self._lost = self.client.gone = True
        self.transport = None
        self.resume_writing()
        if error is None:
            self._reader.feed_eof()
        else:
            self._reader.set_exception(error)
        StreamReaderProtocol.connection_lost(self, error)
        self._leave()

    def pause_writing(self) -> None:
        """The client does not take what is sent."""
        self._room = self.loop.create_future()

    def resume_writing(self) -> None:
        """There is room again."""
        if self._room is not None:
            self._room.set_result(None)
            self._room = None

    def _reset_timeout(self, duration: float | None = None) -> None:
        """aiosmtpd's timer is not used; see ``_clients_turn``."""

    # for the gate

    def begin_drain(self) -> None:
        """End soon: a message that is coming in is finished, everything else is told 421."""
        self._draining = True
        if self._penalty is not None and not self._penalty.done():
            self._penalty.set_result(None)
        if self._idle and self._is_over:
            self._reader.set_exception(HangUp(smtp.GOING_DOWN))

    def hang_up(self, reply: Reply) -> None:
        """End the session with this reply where it waits for the client, now or the next time; what is being kept is answered."""
        self._farewell = self._farewell or reply
        if self._room is not None:
            self._writer.transport.abort()  # a client that takes no replies cannot be told
        elif self._waits and self._reader.exception() is None:
            self._reader.set_exception(HangUp(reply))

    @property
    def silent_seconds(self) -> float:
        """For how long a command has been waited for; 0 while a message comes in, or work of ours is under way."""
        return self.loop.time() - self._idle_since if self._idle and not self.is_receiving else 0.0

    def give_way(self) -> bool:
        """End with 421, unless work of ours is under way."""
        if self.is_receiving or self._done or self._lost:
            return False
        if self._shaking and self._handler_coroutine is not None:
            self._handler_coroutine.cancel()
            return True
        if not self._idle and self._room is None:
            return False
        self.edge.reception.refused(smtp.GAVE_WAY, self.client)
        self.hang_up(smtp.GAVE_WAY)
        return True

    def abort(self) -> None:
        """End now."""
        self._aborted = True
        if self._handler_coroutine is not None and not self._handler_coroutine.done():
            self._handler_coroutine.cancel()
        elif not self._lost:
            self._writer.transport.abort()

    # what the subclass knows

    @property
    def life(self) -> float:
        """Seconds that the session may last, as far as is known when it begins."""
        return self.settings.smtp_session_seconds

    @property
    def is_receiving(self) -> bool:
        """Whether a message is coming in, so that a drain must wait for it."""
        raise NotImplementedError  # pragma: no cover

    async def obey(self, line: bytes) -> None:
        """Do what a command line says. Raises HangUp to end the session."""
        raise NotImplementedError  # pragma: no cover

    def forget(self) -> None:
        """Give up the transaction, if there is one."""
        raise NotImplementedError  # pragma: no cover

    # the session

    async def _handle_client(self) -> None:
        try:
            farewell = await self._converse()
        except HangUp as end:
            farewell = end.reply
        except Gone:
            return
        except asyncio.CancelledError:
            if not self._aborted:
                raise
            farewell = smtp.GOING_DOWN
        self.forget()
        with suppress(Gone, HangUp, OSError):
            await self._part(farewell)

    async def _converse(self) -> Reply:
        self.reply(smtp.greeting(self.hostname))
        commands = 0
        while True:
            line = b"" if self._is_over else await self.line()
            if self._is_over:
                return smtp.GOING_DOWN
            try:
                await self.obey(line)
            except (HangUp, Gone):
                raise
            except Exception as error:
                # nothing more is obeyed: commands sent ahead would meet a 503, and unread data would be taken for commands
                await self.handle_exception(error)
                return smtp.FAULT
            commands += 1
            if commands % TURN == 0:
                await asyncio.sleep(0)
            if self._output_octets >= OUTPUT:
                await self._flush()

    @property
    def _is_over(self) -> bool:
        return self._draining and not self.is_receiving

    async def handle_exception(self, error: Exception) -> str:
        """Log an error of this program under an id; the client learns nothing of it but 451."""
        _faults.inc()
        log.error("session failed", fault=str(new_id()), client=self.client.address, exc_info=error)
        return f"{smtp.FAULT.code} {smtp.FAULT.status} {smtp.FAULT.text}"

    def reply(self, reply: Reply) -> None:
        """Queue a reply."""
        self._output.append(reply.octets)
        self._output_octets += len(reply.octets)

    async def receive(self, seconds: float) -> bytes:
        """Give what came after the last line, or else what comes next. Raises Gone, or HangUp when the time is up."""
        if self._at < len(self._input):
            octets = self._input[self._at :]
            self._input, self._at = b"", 0
            return octets
        return await self._read(seconds)

    def put_back(self, octets: bytes) -> None:
        """Give back what belongs to the next commands. Only after ``receive``."""
        self._input, self._at = octets, 0

    async def start_tls(self) -> None:
        """Shake hands, and forget everything that came before it (RFC 3207 §4.2)."""
        assert self.tls_context is not None
        await self._flush()
        self._input, self._at, self._unread = b"", 0, 0
        # A new stream: the old one is dropped with all that came in plain, and with its flow control. Nothing is waited for
        # from here until the handshake has taken over the transport.
        self._reader = StreamReader(FLOW, self.loop)
        self._shaking = True
        try:
            await self._writer.start_tls(
                self.tls_context,
                ssl_handshake_timeout=self.settings.smtp_handshake_seconds,
                ssl_shutdown_timeout=LINGER_SECONDS,
            )
        except asyncio.CancelledError:
            self._writer.transport.abort()
            self.connection_lost(None)
            raise Gone from None
        except OSError as error:  # ssl.SSLError and TimeoutError are OSErrors
            log.info("no TLS", client=self.client.address, error=type(error).__name__)
            self._writer.transport.abort()
            self.connection_lost(None)  # the transport between the layers may not tell of its end
            raise Gone from None
        finally:
            self._shaking = False
        if self._lost:
            raise Gone
        self.transport = self._writer.transport
        self._reader.set_transport(self._writer.transport)
        self.client.tls = _cipher_of(self._writer.get_extra_info("ssl_object"))

    async def penalty(self, seconds: float) -> None:
        """Let a client wait for its answer, with what came before it sent. A drain does not wait with it."""
        if self._output:
            await self._flush()
        self._penalty = self.loop.create_future()
        if self._draining:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._penalty

    async def line(self) -> bytes:
        """Give the next line with its end; of one that is too long, only the beginning, still too long."""
        beginning = b""
        while True:
            end = self._input.find(b"\n", self._at)
            if end >= 0:
                line = self._input[self._at : end + 1]
                self._at = end + 1
                return beginning or line
            rest = self._input[self._at :]
            if len(rest) > LONGEST_LINE:
                beginning, rest = beginning or rest[: LONGEST_LINE + 1], b""
            self._idle, self._idle_since = True, self.loop.time()
            octets = await self._read(self.settings.smtp_command_seconds)
            self._idle = False
            self._input, self._at = rest + octets, 0

    async def _read(self, seconds: float) -> bytes:
        if self._output:
            await self._flush()
        if self._farewell is not None:
            raise HangUp(self._farewell)
        self._handled()
        began = self.loop.time()
        self._clients_turn(seconds if self.pace is None else min(seconds, max(self.pace.left, 0.0)))
        self._waits = True
        try:
            octets = await self._reader.read(READ)
        except OSError:
            raise Gone from None
        finally:
            self._waits = False
        self._deadline = None
        self._unread -= len(octets)
        if self.pace is not None:
            self.pace.note(self.loop.time() - began, len(octets))
        if not octets:
            raise Gone
        return octets

    async def _flush(self) -> None:
        if self._lost:
            raise Gone
        self._writer.write(self._output[0] if len(self._output) == 1 else b"".join(self._output))
        self._output.clear()
        self._output_octets = 0
        self._clients_turn(self.settings.smtp_command_seconds)
        while self._room is not None and not self._lost:
            await self._room
        self._deadline = None

    async def _part(self, farewell: Reply) -> None:
        """Say the last word. Then let the client finish its sentence, lest a reset destroys our reply on its way."""
        self.reply(farewell)
        self._handled(all_of_it=True)
        self._ends_at = self.loop.time() + CLOSE_SECONDS
        await self._flush()
        if farewell.code == smtp.BYE.code or self.client.tls or self._eof:
            return
        self._writer.write_eof()
        self._reader = reader = StreamReader(FLOW, self.loop)
        transport = cast(asyncio.Transport, self._writer.transport)
        reader.set_transport(transport)
        transport.resume_reading()
        swallowed = 0
        async with asyncio.timeout(LINGER_SECONDS):
            while swallowed < LINGER_OCTETS and (octets := await reader.read(READ)):
                swallowed += len(octets)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._done = True
        self.forget()
        self._disarm()
        if not task.cancelled() and (error := task.exception()):
            log.error("session failed", client=self.client.address, exc_info=error)
        if not self._lost:
            self._writer.close()
            self._timer = self.loop.call_later(CLOSE_SECONDS, self._writer.transport.abort)
        self._leave()

    def _leave(self) -> None:
        """Strike the session off when both the connection and the work on it have ended."""
        if self._admitted and self._lost and self._done:
            self._admitted = False
            self._handled(all_of_it=True)
            self.edge.gate.leave(self)
            _sessions.dec()

    # time

    def _clients_turn(self, seconds: float) -> None:
        deadline = min(self.loop.time() + seconds, self._ends_at)
        self._deadline = deadline
        if self._timer is None or deadline < self._timer_at:
            self._disarm()
            self._timer, self._timer_at = self.loop.call_at(deadline, self._tick), deadline

    def _tick(self) -> None:
        self._timer = None
        if self._deadline is None:
            return  # our turn; the client's next one arms it again
        if self.loop.time() < self._deadline:
            self._timer, self._timer_at = self.loop.call_at(self._deadline, self._tick), self._deadline
        elif self._room is not None:
            self._writer.transport.abort()  # a client that takes no replies cannot be told
        else:
            self.edge.reception.refused(smtp.TIMED_OUT, self.client)
            self._reader.set_exception(HangUp(smtp.TIMED_OUT))

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _cipher_of(layer: ssl.SSLObject) -> str:
    cipher = layer.cipher()
    return f"{layer.version()} {cipher[0] if cipher else ''}".strip()
