"""How the bytes of one connection become events and are answered, one at a time.

- What is there is answered inside the read callback; only what must be waited for becomes a task,
  which is never cancelled because the client has gone.
- Reading stops while the client is not answered and enough has piled up.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Coroutine

import structlog

from posthorn.runtime.session import SessionProtocol
from posthorn.wire.imap.deflate import Deflate
from posthorn.wire.imap.machine import Machine
from posthorn.wire.imap.phases import NEED_DATA, Signal
from posthorn_imap.session import ImapSession

log = structlog.get_logger()

INPUT_BUFFER_BYTES = 64 * 1024
"""Bytes read at once, and waiting input beyond which reading stops."""
STRANGER_BYTES = 4 * 1024
"""Instead, before login: more than any command of it, and thousands of strangers take little."""
OUTPUT_BUFFER_BYTES = 64 * 1024
"""Bytes collected before they are handed to the transport."""
TURN = 100
"""Events of one client in a row before others have their turn."""


class Pump(SessionProtocol):
    """A connection that answers the events of its machine."""

    _machine: Machine
    _session: ImapSession
    _deflate: Deflate | None = None
    _work: asyncio.Task[None] | None = None
    """What is waited for."""
    _is_pumping = False
    _is_pump_due = False
    _is_close_due = False
    _is_closing = False
    _has_eof = False

    @abstractmethod
    def cut(self) -> None:
        """Close at once; what is queued is lost."""

    @abstractmethod
    def close(self) -> None:
        """Close with the next flush."""

    @abstractmethod
    def _go_down(self) -> None:
        """Say that the server ends, and close."""

    @abstractmethod
    def _answered(self) -> None:
        """See to times: something was answered."""

    @abstractmethod
    def _leave(self) -> None:
        """Leave, since connection and work have ended."""

    @property
    def _read_ahead(self) -> int:
        """Bytes that may wait."""
        return STRANGER_BYTES if self._session.account is None else INPUT_BUFFER_BYTES

    def _pump_soon(self) -> None:
        if not self._is_pump_due:
            self._is_pump_due = True
            self.loop.call_soon(self._pump)

    def _pump(self) -> None:
        """Answer events until input ends, output backs up, something must be waited for, or
        others are due."""
        self._is_pump_due = False
        if self._is_pumping or self._work is not None or self._is_closing:
            return
        self._is_pumping = True
        try:
            self._answer_some()
        except ValueError as error:
            if self._deflate is None:
                raise
            log.info("connection cut", client=self.address, reason=str(error))
            self._session.ending = "not DEFLATE"
            self.cut()
        except Exception:
            self._crashed()
        finally:
            self._is_pumping = False
        self.flush()
        self._adjust_reading()
        self._answered()

    def _answer_some(self) -> None:
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

    def _run(self, work: Coroutine[None, None, None]) -> bool:
        """Start what may have to be waited for; return whether it has ended already."""
        task = asyncio.Task(work, loop=self.loop, eager_start=True)
        if task.done():
            self._judge(task)
            return True
        self._work = task
        task.add_done_callback(self._work_ended)
        return False

    def _work_ended(self, task: asyncio.Task[None]) -> None:
        self._work = None
        self._judge(task)
        if self.is_lost:
            self._leave()
        elif not self._is_closing:
            self._pump()

    def _judge(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        # the client has gone, or cannot shake hands
        if task.cancelled() or isinstance(error, OSError):
            self.cut()
        elif error is not None:
            self._crashed(error)
        if self.is_upgrading:  # failed: the transport between the layers may not tell of its end
            self.loop.call_soon(self.connection_lost, None)

    def _crashed(self, error: BaseException | None = None) -> None:
        """A fault in this program: nothing of it is shown, and since a reply may have begun, the
        connection is cut."""
        account = self._session.account
        log.error(
            "session failed", account=account.address if account else None, exc_info=error or True
        )
        self._session.ending = "fault"
        self.cut()

    def _adjust_reading(self) -> None:
        if self._is_closing or self.is_upgrading:
            return
        is_busy = self.is_blocked or self._is_pump_due or self._work is not None
        waiting = self._machine.buffered + (self._deflate.waiting if self._deflate else 0)
        if is_busy and waiting >= self._read_ahead:
            self.pause_reading()
        else:
            self.resume_reading()
