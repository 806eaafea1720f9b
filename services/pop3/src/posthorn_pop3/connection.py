"""One client's connection: TLS, time-outs and back-pressure around a session.

Theory:

- An ``asyncio.BufferedProtocol`` with a small buffer of its own: commands are short, and a client that pipelines is read only as
  fast as it is answered. What is at hand is answered inside the read callback, without a task switch; only what must be waited
  for (a login, a body that is not cached, QUIT) becomes a task, one at a time.
- Output is collected and written in one piece. While the transport holds more than its limit, no command is taken and, once a
  little input has piled up, nothing is read.
- A task is never cancelled because the client has gone: a login under way ends and gives its lease back, a QUIT commits
  (Thunderbird waits three seconds for the reply and closes). The session leaves the gate when all of that is done.
- After TIME-OUT nothing is sent and nothing is deleted (RFC 1939 §3).
"""

from __future__ import annotations

import asyncio
from typing import cast

import structlog
from prometheus_client import Counter, Gauge

from posthorn.runtime.listen import HANDSHAKE_SECONDS, peer_address
from posthorn.wire.pop3.machine import Channel, Machine, Signal
from posthorn_pop3.edge import Edge
from posthorn_pop3.handing import Work
from posthorn_pop3.session import GOING_DOWN, Session

log = structlog.get_logger()

INPUT_BUFFER = 4096
"""Octets read at once, and waiting input beyond which reading stops. More than a command, less than an AUTH line."""
OUTPUT_BUFFER = 64 * 1024
"""Octets collected before they are handed to the transport."""
TURN = 256
"""Commands of one client in a row before others have their turn."""
TOO_MANY = b"-ERR [SYS/TEMP] too many connections\r\n"
LIFE_OVER = b"-ERR [SYS/TEMP] the session was open for too long, nothing is deleted\r\n"
LINGER_SECONDS = 1.0
"""How long a client has to answer the end of TLS."""

_sessions = Gauge("posthorn_pop3_sessions", "Open sessions")
_refusals = Counter("posthorn_pop3_refused_total", "Connections refused", ["reason"])
_timeouts = Counter("posthorn_pop3_timeouts_total", "Sessions ended by a time-out", ["kind"])
_sent = Counter("posthorn_pop3_sent_octets_total", "Octets sent to clients, before TLS")


class Connection(asyncio.BufferedProtocol):
    """One client's connection: an Outlet for its session, a Session for the gate."""

    def __init__(self, edge: Edge, *, secure: bool, client: str | None = None) -> None:
        """``secure``: TLS is there already. ``client``: the client's address, told by a balancer."""
        self._edge = edge
        self._secure = secure
        self._client = client
        self._loop = asyncio.get_running_loop()
        self._input = bytearray(INPUT_BUFFER)
        self._input_view = memoryview(self._input)
        self._output: list[bytes] = []
        self._output_octets = 0
        self._blocked = False
        self._is_cut = False
        self._reading = True
        self._pumping = False
        self._again = False
        self._upgrading = False
        self._closing = False
        self._lost = False
        self._draining = False
        self._admitted = False
        self._eof = False
        self._idle_timed = False
        self._work: asyncio.Task[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._untaken = 0  # octets that lay in the buffer when the timer was set
        self._timer: asyncio.TimerHandle | None = None
        self._life_timer: asyncio.TimerHandle | None = None
        self._since = self._loop.time()
        self._close_by = 0.0

    # from the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet the client, or refuse it."""
        self._transport = cast(asyncio.Transport, transport)
        address = peer_address(transport) if self._client is None else self._client
        # who came by a balancer is not on this host, whatever address it tells
        passwords = self._secure or (self._client is None and self._edge.is_trusted(address))
        channel = Channel(passwords=passwords, stls=self._edge.tls is not None and not self._secure)
        self._machine = Machine(channel)
        self._session = Session(self._edge.office, self._machine, self, self._edge.policy, address)
        refusal = self._edge.gate.admit(self, address)
        if refusal is not None:
            _refusals.labels(refusal).inc()
            self.send(GOING_DOWN if refusal == "draining" else TOO_MANY)
            self.close()
            return
        self._admitted = True
        _sessions.inc()
        self._timer = self._loop.call_later(self._edge.times.login, self._login_timed_out)
        self._life_timer = self._loop.call_later(self._edge.times.life, self._life_over)
        self._session.greet()
        self._flush()

    def get_buffer(self, _: int) -> memoryview:
        """Where to read to."""
        return self._input_view

    def buffer_updated(self, octets: int) -> None:
        """Take what was read."""
        if self._closing:
            return
        self._since = self._loop.time()
        self._machine.receive(self._input_view[:octets])
        if self._work is None:
            self._pump()
        else:
            self._adjust_reading()

    def pause_writing(self) -> None:
        """The client does not take what is sent: stop, and cut it if it never does."""
        self._blocked = True
        if self._write_timer is None:
            self._untaken = self._transport.get_write_buffer_size()
            self._write_timer = self._loop.call_later(self._edge.times.write, self._write_timed_out)

    def resume_writing(self) -> None:
        """There is room again."""
        self._blocked = False
        self._since = self._loop.time()
        if self._write_timer is not None and not self._closing:
            self._write_timer.cancel()
            self._write_timer = None
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        if self._work is None:
            self._pump_soon()

    def eof_received(self) -> bool:
        """The client has sent all: answer what is there, then close. Under TLS there is no half-open connection."""
        if self._secure or self._upgrading:
            return False
        self._eof = True
        self._pump_soon()
        return True

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone: give the maildrop back once what is under way has ended."""
        if self._lost:
            return
        self._lost = self._closing = True
        for timer in (self._timer, self._write_timer, self._life_timer):
            if timer is not None:
                timer.cancel()
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        if self._work is None:
            self._leave()

    # for the gate

    def begin_drain(self) -> None:
        """End after the command under way. A QUIT commits."""
        self._draining = True
        if self._work is None and not self._closing:
            self._go_down()

    def abort(self) -> None:
        """End now."""
        self._session.ending = "shut down"
        self.cut()

    # for the session

    def send(self, octets: bytes) -> None:
        """Queue octets."""
        self._output.append(octets)
        self._output_octets += len(octets)

    async def room(self) -> None:
        """Write what is queued and wait until more may be. Raises ConnectionError when the client is gone."""
        self._flush()
        while self._blocked and not self._lost:
            self._room = self._loop.create_future()
            await self._room
        if self._lost:
            raise ConnectionResetError

    def close(self) -> None:
        """Close after what is queued has been taken, for which there is as much time as for any write."""
        if self._closing:
            return
        if self._upgrading:
            self.cut()
            return
        self._flush()
        self._closing = True
        self._transport.close()
        if not self._lost:
            self._close_by = self._loop.time() + self._edge.times.write
            self._linger()

    def cut(self) -> None:
        """Close at once; what is queued is lost."""
        self._closing = self._is_cut = True
        self._output.clear()
        self._output_octets = 0
        if self._upgrading and self._work is not None:
            self._work.cancel()  # a handshake does not notice that the transport below it is gone
        self._transport.abort()

    @property
    def silent_seconds(self) -> float:
        """Before login it waits all the time, as the gate knows; after it, it may be silent as long as the settings say."""
        return 0.0

    def give_way(self) -> bool:
        """End before login, unless a login is being judged."""
        if self._closing or self._session.visit is not None:
            return False
        if self._upgrading or self._blocked:
            self.cut()
            return True
        if self._work is not None:
            return False
        _refusals.labels("gave-way").inc()
        self.send(TOO_MANY)
        self.close()
        return True

    def claim(self, account: str, tenant: str) -> bool:
        """Take a place of the account's and the tenant's share, if there is one."""
        return self._edge.gate.claim(self, account, tenant)

    def unclaim(self) -> None:
        """Give it back: the login came to nothing."""
        self._edge.gate.unclaim(self)

    def interrupt(self) -> None:
        """End now, for the maildrop was closed from outside. A reply under way is cut; a QUIT under way asks for itself."""
        if self._closing or self._session.is_committing:
            return
        if self._work is None and not self._blocked:
            self._session.part()
            return
        visit = self._session.visit
        if visit is not None:
            self._session.ending = visit.farewell[0]
        self.cut()

    def _life_over(self) -> None:
        if self._closing or self._session.is_committing:
            return
        _timeouts.labels("session").inc()
        if self._work is None and not self._blocked:
            self.send(LIFE_OVER)
            self._session.end("session time-out")
        else:
            self._session.ending = "session time-out"
            self.cut()

    async def start_tls(self) -> None:
        """Shake hands. The machine has thrown away all input; what comes from here on has come through TLS."""
        assert self._edge.tls is not None
        self._flush()
        self._upgrading = True
        transport = await self._loop.start_tls(
            self._transport, self, self._edge.tls, server_side=True, ssl_handshake_timeout=HANDSHAKE_SECONDS
        )
        if transport is None or self._lost:
            raise ConnectionResetError
        self._transport = transport
        self._upgrading = False
        self._reading = True
        self._secure = True
        self._machine.secured(Channel(passwords=True, stls=False))

    # inside

    def _pump_soon(self) -> None:
        if not self._again:
            self._again = True
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        """Answer commands until input ends, output backs up, something must be waited for, or others are due."""
        self._again = False
        if self._pumping or self._work is not None:
            return
        self._pumping = True
        try:
            for _ in range(TURN):
                if self._closing or self._blocked:
                    break
                if self._draining:
                    self._go_down()
                    break
                event = self._machine.next_event()
                if isinstance(event, Signal):
                    if self._eof:
                        self.close()
                    break
                work = self._session.handle(event)
                if work is not None and not self._run(work):
                    break
                if self._output_octets >= OUTPUT_BUFFER:
                    self._flush()
            else:
                self._pump_soon()
        except Exception:
            self._crashed()
        finally:
            self._pumping = False
        self._flush()
        self._account()
        self._adjust_reading()

    def _run(self, work: Work) -> bool:
        """Start what must be waited for; True when it has ended already."""
        task = asyncio.Task(work, loop=self._loop, eager_start=True)
        if task.done():
            self._judge(task)
            return True
        self._work = task
        task.add_done_callback(self._work_ended)
        return False

    def _work_ended(self, task: asyncio.Task[None]) -> None:
        self._work = None
        self._since = self._loop.time()
        self._judge(task)
        if self._lost:
            self._leave()
        elif not self._closing:
            self._pump()

    def _judge(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if task.cancelled() or isinstance(error, OSError):  # the client has gone, or cannot shake hands
            self.cut()
        elif error is not None:
            self._crashed(error)
        if self._upgrading:  # failed: the transport between the layers may not tell of its end
            self._loop.call_soon(self.connection_lost, None)
        if self._session.visit is not None and not self._idle_timed and not self._lost:
            self._idle_timed = True
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_later(self._edge.times.idle, self._tick)

    def _crashed(self, error: BaseException | None = None) -> None:
        """A fault in this program: nothing of it is shown, and since a reply may have begun, the connection is cut."""
        visit = self._session.visit
        log.error("session failed", account=visit.address if visit else None, exc_info=error or True)
        self._session.ending = "fault"
        self.cut()

    def _flush(self) -> None:
        if not self._output_octets:
            return
        if not self._closing:
            _sent.inc(self._output_octets)
            self._transport.write(self._output[0] if len(self._output) == 1 else b"".join(self._output))
        self._output.clear()
        self._output_octets = 0

    def _account(self) -> None:
        self._session.count()
        if not self._blocked and not self._is_cut:
            self._session.taken()

    def _adjust_reading(self) -> None:
        if self._closing or self._upgrading:
            return
        full = self._machine.buffered >= INPUT_BUFFER and (self._blocked or self._again or self._work is not None)
        if full and self._reading:
            self._reading = False
            self._transport.pause_reading()
        elif not full and not self._reading:
            self._reading = True
            self._transport.resume_reading()

    def _go_down(self) -> None:
        self.send(GOING_DOWN)
        self._session.end("drained")

    def _leave(self) -> None:
        if not self._admitted:
            return
        self._admitted = False
        task = asyncio.Task(self._left(), loop=self._loop, eager_start=True)
        if not task.done():
            self._work = task  # the gate holds this object, and this object the task, until it is done

    async def _left(self) -> None:
        try:
            self._account()
            await self._session.leave()
        except Exception:
            log.exception("session could not be ended")
        finally:
            _sessions.dec()
            self._edge.gate.leave(self)

    # time

    def _login_timed_out(self) -> None:
        self._time_out("login")

    def _tick(self) -> None:
        now = self._loop.time()
        if self._work is not None or self._blocked:  # these have limits of their own
            self._since = now
        left = self._since + self._edge.times.idle - now
        if left > 0.001:
            self._timer = self._loop.call_later(left, self._tick)
        else:
            self._time_out("idle")

    def _time_out(self, kind: str) -> None:
        _timeouts.labels(kind).inc()
        self._session.ending = f"{kind} time-out"
        self.close()

    def _write_timed_out(self) -> None:
        untaken = self._transport.get_write_buffer_size()
        if untaken < self._untaken:  # slow, but it takes something
            self._untaken = untaken
            self._write_timer = self._loop.call_later(self._edge.times.write, self._write_timed_out)
            return
        _timeouts.labels("write").inc()
        self._session.ending = "write time-out"
        self.cut()

    def _linger(self) -> None:
        """See that a closed connection ends: a client may take nothing more, or not answer the end of TLS."""
        if self._write_timer is not None:
            self._write_timer.cancel()
        self._write_timer = self._loop.call_later(min(LINGER_SECONDS, self._edge.times.write), self._lingered)

    def _lingered(self) -> None:
        if self._transport.get_write_buffer_size() and self._loop.time() < self._close_by:
            self._linger()
        else:
            self.cut()
