"""A session protocol whose commands are answered one at a time (POP3, IMAP).

Theory of operation:

- What was read is answered inside the read callback, without a task switch; only what must be
  waited for (a login, a body that is not cached) becomes a task, one at a time.
- While the transport holds more than its limit no command is taken. Reading stops once the client
  is not answered and enough has piled up: a client that pipelines is read only as fast as it is
  answered.
- A task is never cancelled because the client has gone: what it changes is changed as a whole.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Coroutine

from posthorn.runtime.session import SessionProtocol


class CommandSession(SessionProtocol, asyncio.BufferedProtocol):
    """One client's connection. Subclasses read, and answer single commands."""

    _work: asyncio.Task[None] | None = None
    """What is waited for."""
    _is_pumping = False
    _is_pump_due = False
    _is_closing = False
    """Nothing more is sent."""
    _has_eof = False

    # what subclasses do

    @abstractmethod
    def _answer_some(self) -> None:
        """Answer commands until input ends, output backs up, something must be waited for, or
        others are due."""

    @abstractmethod
    def _answered(self) -> None:
        """See to times and records: what was answered is written."""

    @abstractmethod
    def _waiting_bytes(self) -> int:
        """Return the bytes that were read and not answered yet."""

    @abstractmethod
    def _most_waiting_bytes(self) -> int:
        """Return how many may wait before reading stops."""

    @abstractmethod
    def _crashed(self, error: BaseException | None = None) -> None:
        """Log a fault of this program, and cut the connection: a reply may have begun."""

    @abstractmethod
    def _leave(self) -> None:
        """Leave the limiter, since connection and work have ended."""

    # from the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Admit the client, or refuse it, and send what it is told."""
        super().connection_made(transport)
        self.flush()

    def resume_writing(self) -> None:
        """Go on: there is space again."""
        super().resume_writing()
        if self._work is None:
            self._pump_soon()

    def eof_received(self) -> bool:
        """The client has sent all: answer what is there, then close. Under TLS there is no
        half-open connection."""
        if self.is_secure or self.is_upgrading:
            return False
        self._has_eof = True
        self._pump_soon()
        return True

    # for the limiter

    @abstractmethod
    def give_way(self) -> bool:
        """End before login, unless a login is being judged; return whether it ends."""

    @property
    def silent_seconds(self) -> float:
        """Before login it waits all the time, as the limiter knows; after it, it may be silent as
        long as the settings say."""
        return 0.0

    # for the session

    async def room(self) -> None:
        """Write what is collected and wait until more may be. Raises ConnectionError when the
        client is gone."""
        self.flush()
        await self.unblocked()
        if self.is_lost or self._is_closing:
            raise ConnectionResetError

    def cut(self) -> None:
        """Close at once; what is queued is lost."""
        self._is_closing = True
        self.drop_output()
        self.stream.abort()

    def claim(self, account: str, tenant: str) -> bool:
        """Take a place of the share of an account and its tenant, if there is one."""
        return self.limiter.claim(self, account, tenant)

    def unclaim(self) -> None:
        """Release it: the login came to nothing."""
        self.limiter.unclaim(self)

    # inside

    def _taken(self) -> None:
        """Go on with what was received."""
        if self._work is None:
            self._pump()
        else:
            self._adjust_reading()

    def _pump_soon(self) -> None:
        if not self._is_pump_due:
            self._is_pump_due = True
            self.loop.call_soon(self._pump)

    def _pump(self) -> None:
        self._is_pump_due = False
        if self._is_pumping or self._work is not None or self._is_closing:
            return
        self._is_pumping = True
        try:
            self._answer_some()
        except Exception:
            self._crashed()
        finally:
            self._is_pumping = False
        self.flush()
        self._answered()
        self._adjust_reading()

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

    def _adjust_reading(self) -> None:
        if self._is_closing or self.is_upgrading:
            return
        is_busy = self.is_blocked or self._is_pump_due or self._work is not None
        if is_busy and self._waiting_bytes() >= self._most_waiting_bytes():
            self.pause_reading()
        else:
            self.resume_reading()
