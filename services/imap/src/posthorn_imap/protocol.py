"""The connection of one IMAP session: bytes in, replies out, time-outs and the end around a session.

Theory of operation:

- It stands on ``runtime.command_session`` for what is alike in POP3.
- An ``asyncio.BufferedProtocol`` that reads into a buffer which all connections share: what is read
  is taken before the callback returns. An idle connection has no task and no timer of its own
  (``runtime.timer_wheel``).
- A drain ends connections one after another over the grace period (``draining``).
"""

from __future__ import annotations

import structlog
from prometheus_client import Counter, Gauge

from posthorn.runtime.command_session import CommandSession
from posthorn.wire.imap.deflate import Deflate
from posthorn.wire.imap.machine import Machine
from posthorn.wire.imap.states import Channel
from posthorn.wire.signals import NEED_DATA, Signal
from posthorn_imap.server_context import INPUT_BUFFER_BYTES, ServerContext
from posthorn_imap.session import ImapSession

log = structlog.get_logger()

STRANGER_BYTES = 4 * 1024
"""Bytes read at once before login: more than any command of it, and thousands of strangers take little."""
OUTPUT_BUFFER_BYTES = 64 * 1024
"""Bytes collected before they are handed to the transport."""
TURN = 100
"""Events of one client in a row before others have their turn."""
HIGH_WATER_BYTES = 256 * 1024
LOW_WATER_BYTES = 64 * 1024
"""Bytes in the transport at which nothing more is sent, and at which it goes on."""
TOO_MANY = b"* BYE [UNAVAILABLE] too many connections\r\n"
GOING_DOWN = b"* BYE [UNAVAILABLE] server going down, connect again\r\n"
STILL_HERE = b"* OK Still here\r\n"
"""To clients in IDLE, so that no middlebox takes the connection for dead
(stalwartlabs/stalwart#3299); FairEmail takes it for a sign of life."""
LOGIN_OVER = b"* BYE the time to log in is over\r\n"
IDLE_OVER = b"* BYE [UNAVAILABLE] idle for too long\r\n"

_connections = Gauge("posthorn_imap_connections", "Open connections")
_refusals = Counter("posthorn_imap_refused_total", "Connections refused", ["reason"])
_timeouts = Counter("posthorn_imap_timeouts_total", "Connections ended by a time-out", ["kind"])
_sent = Counter("posthorn_imap_sent_bytes_total", "Bytes sent to clients, before TLS")


class ImapProtocol(CommandSession):
    """One client's connection: an Outlet for its session, a Session for the connection limiter, an
    entry of the timer wheel."""

    _machine: Machine
    _session: ImapSession
    _deflate: Deflate | None = None
    _is_close_due = False

    def __init__(self, context: ServerContext, *, secure: bool, client: str | None = None) -> None:
        """``secure``: TLS is there already. ``client``: the client's address from a PROXY
        header, None without one."""
        self._limits = context.sessions.limits
        super().__init__(
            context.limiter,
            context.tls,
            secure=secure,
            client=client,
            write_seconds=self._limits.write,
        )
        self._context = context
        self._wheel = context.wheel
        self._is_leaving = False
        self._has_turn = False  # to end in a drain
        self._since = self._began = self._told = context.wheel.clock()

    # from the transport

    def get_buffer(self, _: int) -> memoryview:
        """Return where to read to."""
        return self._context.input[: self._most_waiting_bytes()]

    def buffer_updated(self, nbytes: int) -> None:
        """Take what was read."""
        if self._is_closing:
            return
        self._since = self._wheel.clock()
        (self._deflate or self._machine).receive(self._context.input[:nbytes])
        self._taken()

    def resume_writing(self) -> None:
        """Go on: there is space again."""
        self._since = self._wheel.clock()
        super().resume_writing()

    def begin(self) -> None:
        """Greet the client."""
        self.stream.set_write_buffer_limits(HIGH_WATER_BYTES, LOW_WATER_BYTES)
        self._open_session()
        _connections.inc()
        self._wheel.look_at(self, self._began + self._limits.login)
        self._session.greet()

    def refuse(self, limit: str) -> None:
        """Refuse the client with BYE."""
        self._open_session()
        _refusals.labels(limit).inc()
        self.send(GOING_DOWN if limit == "draining" else TOO_MANY)
        self.close()

    def _open_session(self) -> None:
        # who came by a proxy is not on this host, whatever address it tells
        passwords = self.is_secure or (
            not self.via_proxy and self._context.is_trusted(self.address)
        )
        starttls = self.tls_context is not None and not self.is_secure
        channel = Channel(passwords, starttls, self._context.sessions.logins.mechanisms)
        self._machine = Machine(channel, append_limit=self._limits.append_bytes)
        self._session = ImapSession(self._context.sessions, self._machine, self, self.address)

    def lost(self, error: Exception | None) -> None:
        """Leave once what is under way has ended."""
        self._is_closing = True
        self._wheel.forget(self)
        if self._work is None:
            self._leave()

    # for the limiter

    def drain(self) -> None:
        """End in its turn, after the command under way."""
        if self._is_closing or self._has_turn:
            return
        self._has_turn = True
        if self._session.account is None:
            self._end_draining()
        else:
            delay = self._context.spread.delay(len(self.limiter))
            self.is_draining = False  # until then it serves
            self.loop.call_later(delay, self._end_draining)

    def _end_draining(self) -> None:
        self.is_draining = True
        is_busy = self._work is not None or self._machine.is_in_command
        if self._session.is_sending_items and self._work is None:
            self._session.ending = "drained"
            self.cut()
        elif not is_busy and not self._is_closing:
            self._go_down()
            self.flush()

    def abort(self) -> None:
        """End now."""
        self._session.ending = "shut down"
        self.cut()

    def give_way(self) -> bool:
        """End before login, unless a login is being judged."""
        if self._is_closing or self._session.account is not None:
            return False
        if self.is_upgrading or self.is_blocked:
            self.cut()
            return True
        if self._work is not None:
            return False
        _refusals.labels("gave-way").inc()
        self.send(TOO_MANY)
        self.close()
        self.flush()
        return True

    # for the session

    def flush(self) -> None:
        """Write what was collected; close afterwards, if that was asked for."""
        if self.output_bytes:
            if self._is_closing:
                self.drop_output()
            else:
                _sent.inc(self.output_bytes)
                self._write()
        if self._is_close_due and not self._is_closing:
            self._close()

    def close(self) -> None:
        """Close with the next flush, at the end of the event under way."""
        self._is_close_due = True

    async def start_tls(self) -> None:
        """Shake hands. The machine has thrown away all input; what comes from here on has come
        through TLS."""
        self.flush()
        await self.upgrade()
        self.stream.set_write_buffer_limits(HIGH_WATER_BYTES, LOW_WATER_BYTES)

    def start_deflate(self, octets: bytes) -> None:
        """Compress from here on."""
        self.flush()
        self._deflate = Deflate()
        self._deflate.receive(octets)

    # inside

    def _waiting_bytes(self) -> int:
        return self._machine.buffered + (self._deflate.waiting if self._deflate else 0)

    def _most_waiting_bytes(self) -> int:
        return STRANGER_BYTES if self._session.account is None else INPUT_BUFFER_BYTES

    def _answer_some(self) -> None:
        try:
            self._answer_a_turn()
        except ValueError as error:
            if self._deflate is None:
                raise
            log.info("connection cut", client=self.address, reason=str(error))
            self._session.ending = "not DEFLATE"
            self.cut()

    def _answer_a_turn(self) -> None:
        for _ in range(TURN):
            if self._is_closing or self._is_close_due or self.is_blocked:
                return
            if self.is_draining and not self._machine.is_in_command:
                self._go_down()
                return
            event = self._machine.next_event()
            if event is NEED_DATA and self._deflate is not None and self._deflate.waiting:
                self._machine.receive(self._deflate.take(INPUT_BUFFER_BYTES))
                continue
            if isinstance(event, Signal):
                if self._has_eof:
                    self.close()
                return
            if not self._run(self._session.handle(event)):
                return
            if self.output_bytes >= OUTPUT_BUFFER_BYTES:
                self.flush()
        self._pump_soon()

    def _crashed(self, error: BaseException | None = None) -> None:
        account = self._session.account
        log.error(
            "session failed", account=account.address if account else None, exc_info=error or True
        )
        self._session.ending = "fault"
        self.cut()

    def _write(self) -> None:
        """Write what was collected."""
        if self._deflate is None:
            super().flush()
            return
        collected = b"".join(self._collected)
        self.drop_output()
        self.stream.write(self._deflate.compress(collected))

    def _close(self) -> None:
        """Close after what was written has been taken, for which there is as much time as for any
        write."""
        if self.is_upgrading:
            self.cut()
            return
        self._is_closing = True
        self.close_stream()

    def _go_down(self) -> None:
        self.send(GOING_DOWN)
        self._session.end("drained")

    def _leave(self) -> None:
        if not self.is_admitted or self._is_leaving:
            return
        self._is_leaving = True
        try:
            self._session.leave()
        except Exception:
            log.exception("session could not be ended")
        finally:
            if self.leave():
                _connections.dec()

    # time

    def _answered(self) -> None:
        """See that the wheel comes by in time; only what comes nearer must be set."""
        self._since = self._wheel.clock()
        if self._machine.is_idling and not self._is_closing:
            self._told = self._wheel.clock()
            self._wheel.look_at(self, self._told + self._limits.keepalive)

    def on_time(self, now: float) -> float | None:
        """End a connection whose time is over; tell a client in IDLE that the server is there."""
        if self._is_closing:
            return None
        if self._session.account is None:
            if now - self._began < self._limits.login:
                return self._began + self._limits.login
            self._time_out("login", LOGIN_OVER)
            return None
        if self._is_telling or self.is_blocked:  # these have limits of their own
            self._since = now
        if now - self._since >= self._limits.idle:
            self._time_out("idle", IDLE_OVER)
            return None
        if not self._machine.is_idling:
            return self._since + self._limits.idle
        if now - self._told >= self._limits.keepalive and not self._is_telling:
            self.send(STILL_HERE)
            self.flush()
            self._told = now
        elif now - self._told >= self._limits.keepalive:
            self._told = now  # what it is told now is a sign of life
        return min(self._told + self._limits.keepalive, self._since + self._limits.idle)

    @property
    def _is_telling(self) -> bool:
        """Whether a reply may be under way."""
        return self._work is not None or self._session.is_sending_items

    def _time_out(self, kind: str, words: bytes) -> None:
        _timeouts.labels(kind).inc()
        self._session.ending = f"{kind} time-out"
        if self._is_telling or self.is_blocked or self.is_upgrading:
            self.cut()
            return
        self.send(words)
        self.close()
        self.flush()

    def stalled(self) -> None:
        """Cut a client that takes nothing."""
        _timeouts.labels("write").inc()
        self._session.ending = "write time-out"
        self.cut()
