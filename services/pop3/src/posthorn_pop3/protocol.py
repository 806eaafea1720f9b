"""The connection of one POP3 session: bytes in, replies out, time-outs and the end around a
session.

Theory of operation:

- It stands on ``runtime.command_session`` for what is alike in IMAP, and reads into a small buffer of
  its own: commands are short.
- A login under way ends and releases its lease, a QUIT commits, though the client has gone
  (Thunderbird waits three seconds for the reply and closes). The session leaves the limiter when all
  of that is done.
- After TIME-OUT nothing is sent and nothing is deleted (RFC 1939 §3).
"""

from __future__ import annotations

import asyncio

import structlog
from prometheus_client import Counter, Gauge

from posthorn.runtime.command_session import CommandSession
from posthorn.runtime.session import Deadline
from posthorn.wire.pop3.machine import Machine
from posthorn.wire.pop3.states import Channel
from posthorn.wire.signals import Signal
from posthorn_pop3.context import ServerContext
from posthorn_pop3.session import GOING_DOWN, Pop3Session

log = structlog.get_logger()

INPUT_BUFFER = 4096
"""Bytes read at once, and waiting input beyond which reading stops. More than a command, less
than an AUTH line."""
OUTPUT_BUFFER = 64 * 1024
"""Bytes collected before they are handed to the transport."""
TURN = 256
"""Commands of one client in a row before others have their turn."""
TOO_MANY = b"-ERR [SYS/TEMP] too many connections\r\n"
LIFE_OVER = b"-ERR [SYS/TEMP] the session was open for too long, nothing is deleted\r\n"

_sessions = Gauge("posthorn_pop3_sessions", "Open sessions")
_refusals = Counter("posthorn_pop3_refused_total", "Connections refused", ["reason"])
_timeouts = Counter("posthorn_pop3_timeouts_total", "Sessions ended by a time-out", ["kind"])
_sent = Counter("posthorn_pop3_sent_bytes_total", "Bytes sent to clients, before TLS")


class Pop3Protocol(CommandSession):
    """One client's connection: a ReplyWriter for its session, a Pop3Session for the connection
    limiter."""

    def __init__(self, context: ServerContext, *, secure: bool, client: str | None = None) -> None:
        """``secure``: TLS is there already. ``client``: the client's address from a PROXY
        header, None without one."""
        super().__init__(
            context.limiter,
            context.tls,
            secure=secure,
            client=client,
            write_seconds=context.times.write,
        )
        self._context = context
        self._times = context.times
        self._input = bytearray(INPUT_BUFFER)
        self._input_view = memoryview(self._input)
        self._is_cut = False
        self._is_leaving = False
        self._since = self.loop.time()
        self._login_deadline = Deadline(self.loop, self._login_timed_out)
        self._life_deadline = Deadline(self.loop, self._life_over)
        self._idle_timer: asyncio.TimerHandle | None = None

    # from the transport

    def get_buffer(self, _: int) -> memoryview:
        """Return where to read to."""
        return self._input_view

    def buffer_updated(self, nbytes: int) -> None:
        """Take what was read."""
        if self._is_closing:
            return
        self._since = self.loop.time()
        self._machine.receive(self._input_view[:nbytes])
        self._taken()

    def resume_writing(self) -> None:
        """Go on: there is space again."""
        self._since = self.loop.time()
        super().resume_writing()

    def begin(self) -> None:
        """Greet the client."""
        self._open_session()
        _sessions.inc()
        now = self.loop.time()
        self._login_deadline.set(now + self._times.login)
        self._life_deadline.set(now + self._times.life)
        self._session.greet()

    def refuse(self, limit: str) -> None:
        """Refuse the client with -ERR."""
        self._open_session()
        _refusals.labels(limit).inc()
        self.send(GOING_DOWN if limit == "draining" else TOO_MANY)
        self.close()

    def _open_session(self) -> None:
        # who came by a proxy is not on this host, whatever address it tells
        passwords = self.is_secure or (
            not self.via_proxy and self._context.is_trusted(self.address)
        )
        stls = self.tls_context is not None and not self.is_secure
        self._machine = Machine(Channel(passwords, stls, self._context.service.takes_tokens))
        self._session = Pop3Session(
            self._context.service, self._machine, self, self._context.session_limits, self.address
        )

    def lost(self, error: Exception | None) -> None:
        """Release the maildrop once what is under way has ended."""
        self._is_closing = True
        self._login_deadline.close()
        self._life_deadline.close()
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        if self._work is None:
            self._leave()

    # for the limiter

    def drain(self) -> None:
        """End after the command under way. A QUIT commits."""
        if self._work is None and not self._is_closing:
            self._go_down()

    def abort(self) -> None:
        """End now."""
        self._session.ending = "shut down"
        self.cut()

    def give_way(self) -> bool:
        """End before login, unless a login is being judged."""
        if self._is_closing or self._session.maildrop is not None:
            return False
        if self.is_upgrading or self.is_blocked:
            self.cut()
            return True
        if self._work is not None:
            return False
        _refusals.labels("gave-way").inc()
        self.send(TOO_MANY)
        self.close()
        return True

    # for the session

    def flush(self) -> None:
        """Write what was collected, unless the connection is closing."""
        if not self.output_bytes:
            return
        if self._is_closing:
            self.drop_output()
            return
        _sent.inc(self.output_bytes)
        super().flush()

    def close(self) -> None:
        """Close after what is queued has been taken, for which there is as much time as for any
        write."""
        if self._is_closing:
            return
        if self.is_upgrading:
            self.cut()
            return
        self.flush()
        self._is_closing = True
        self.close_stream()

    async def emptied(self) -> None:
        """Send what is queued and wait until the system has taken all of it. Raises
        ConnectionError when the client goes before."""
        self.flush()
        if self.stream.get_write_buffer_size():
            self.stream.set_write_buffer_limits(0)
            await self.unblocked()
            self.stream.set_write_buffer_limits()
            if self.is_lost or self._is_closing:
                raise ConnectionResetError

    def cut(self) -> None:
        """Close at once; what is queued is lost."""
        self._is_cut = True
        super().cut()

    def interrupt(self) -> None:
        """End now, for the maildrop was closed from outside. A reply under way is cut; a QUIT
        under way asks for itself."""
        if self._is_closing or self._session.is_committing:
            return
        if self._work is None and not self.is_blocked:
            self._session.say_farewell()
            return
        maildrop = self._session.maildrop
        if maildrop is not None:
            self._session.ending = maildrop.farewell[0]
        self.cut()

    async def start_tls(self) -> None:
        """Shake hands. The machine has thrown away all input; what comes from here on has come
        through TLS."""
        self.flush()
        await self.upgrade()
        self._machine.secured(Channel(True, False, self._context.service.takes_tokens))

    # inside

    def _waiting_bytes(self) -> int:
        return self._machine.buffered

    def _most_waiting_bytes(self) -> int:
        return INPUT_BUFFER

    def _answer_some(self) -> None:
        for _ in range(TURN):
            if self._is_closing or self.is_blocked:
                return
            if self.is_draining:
                self._go_down()
                return
            event = self._machine.next_event()
            if isinstance(event, Signal):
                if self._has_eof:
                    self.close()
                return
            work = self._session.handle(event)
            if work is not None and not self._run(work):
                return
            if self.output_bytes >= OUTPUT_BUFFER:
                self.flush()
        self._pump_soon()

    def _judge(self, task: asyncio.Task[None]) -> None:
        self._since = self.loop.time()
        super()._judge(task)
        if self._session.maildrop is not None and self._idle_timer is None and not self.is_lost:
            self._login_deadline.close()
            self._idle_timer = self.loop.call_later(self._times.idle, self._tick)

    def _crashed(self, error: BaseException | None = None) -> None:
        """A fault in this program: nothing of it is shown, and since a reply may have begun, the
        connection is cut."""
        maildrop = self._session.maildrop
        log.error(
            "session failed", account=maildrop.address if maildrop else None, exc_info=error or True
        )
        self._session.ending = "fault"
        self.cut()

    def _answered(self) -> None:
        self._session.count()
        if not self.is_blocked and not self._is_cut:
            self._session.taken()

    def _go_down(self) -> None:
        self.send(GOING_DOWN)
        self._session.end("drained")

    def _leave(self) -> None:
        if not self.is_admitted or self._is_leaving:
            return
        self._is_leaving = True
        task = asyncio.Task(self._left(), loop=self.loop, eager_start=True)
        if not task.done():
            # the limiter holds this object, and this object the task, until it is done
            self._work = task

    async def _left(self) -> None:
        try:
            self._answered()
            await self._session.leave()
        except Exception:
            log.exception("session could not be ended")
        finally:
            if self.leave():
                _sessions.dec()

    # time

    def _login_timed_out(self) -> None:
        self._time_out("login")

    def _tick(self) -> None:
        now = self.loop.time()
        if self._work is not None or self.is_blocked:  # these have limits of their own
            self._since = now
        left = self._since + self._times.idle - now
        if left > 0.001:
            self._idle_timer = self.loop.call_later(left, self._tick)
        else:
            self._time_out("idle")

    def _time_out(self, kind: str) -> None:
        _timeouts.labels(kind).inc()
        self._session.ending = f"{kind} time-out"
        self.close()

    def _life_over(self) -> None:
        if self._is_closing or self._session.is_committing:
            return
        _timeouts.labels("session").inc()
        if self._work is None and not self.is_blocked:
            self.send(LIFE_OVER)
            self._session.end("session time-out")
        else:
            self._session.ending = "session time-out"
            self.cut()

    def stalled(self) -> None:
        """Cut a client that takes nothing."""
        _timeouts.labels("write").inc()
        self._session.ending = "write time-out"
        self.cut()
