"""The line to a remote host: octets out, replies in.

Theory:

- Every write says how many replies it asks for; ``settle`` waits until all that is owed has come, in one wait for a whole
  pipelined group. Each reply has its time anew, counted from the one before; half a reply is no progress.
- ``until`` is the moment at which the whole of what is under way must be over, however much of it comes and goes meanwhile.
- A reply that nobody asked for, one that does not read, 421, silence and the end of the connection are all a *fault* of the line:
  it is kept, everything that waits ends, and the line is never used again. Replies that came before stay readable.
- Both transports, plain and TLS, are one line; ``begin_tls`` changes over, and what came in plain beyond the reply to STARTTLS is
  a fault (RFC 3207 §4, the injection of CVE-2011-0411 seen from the client's side).
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from dataclasses import dataclass
from typing import cast

from posthorn.wire.smtp.client_replies import HostReply, ReplyParser


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a line is of no more use."""

    code: int
    """The reply's, or 0 when there was none."""
    status: str
    """Enhanced code, the reply's or ours."""
    text: str
    """For people; begins with the code where there is one."""


_TOO_SLOW = Fault(0, "4.4.2", "the host was too slow: the transaction took longer than it may")


class LineBroken(Exception):
    """A reply is wanted that will not come."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.text)
        self.fault = fault


class Line(asyncio.Protocol):
    """One connection. ``owed`` is 1 at the beginning: the greeting."""

    __slots__ = (
        "_drained", "_last_seconds", "_loop", "_parser", "_paused", "_progress", "_seconds", "_timer", "_waiter",
        "fault", "lost", "owed", "replies", "transport", "until",
    )  # fmt: skip

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self.fault: Fault | None = None
        self.lost = False
        """The connection is gone."""
        self.owed = 1
        """Replies asked for that have not come."""
        self.replies: deque[HostReply] = deque()
        self.until: float | None = None
        """When waiting ends at the latest, as ``time`` has it; None: there is no such moment."""
        self._loop = asyncio.get_running_loop()
        self._parser = ReplyParser()
        self._waiter: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._paused = False
        self._progress = self._seconds = self._last_seconds = 0.0
        self._timer: asyncio.TimerHandle | None = None

    # What the transport tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Be told of the connection."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by name

    def data_received(self, data: bytes) -> None:
        """Take octets."""
        if self.fault:
            return None
        replies = self._parser.feed(data)
        for reply in replies:
            if reply.code == 421:  # may come at any time, whatever was asked (RFC 5321 §3.8)
                return self.spoil(Fault(421, reply.status or "4.3.2", reply.line))
            if not self.owed:
                return self.spoil(
                    Fault(reply.code, reply.status or "4.5.0", reply.line)
                    if reply.code >= 400
                    else Fault(0, "4.5.0", "the host spoke out of turn")
                )
            self.owed -= 1
            self.replies.append(reply)
        if self._parser.broken:
            return self.spoil(Fault(0, "4.5.0", f"the host sent {self._parser.broken}"))
        if replies and self._waiter:
            if not self.owed:
                self._wake(self._waiter)
            else:
                self._progress = self._loop.time()
                if self.owed == 1 and self._last_seconds < self._seconds:
                    self._seconds = self._last_seconds
                    self._watch()
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        """Be told of the end, which is a fault unless there was one before."""
        self.lost = True
        if self._timer:
            self._timer.cancel()
        if not self.fault:
            self.spoil(Fault(0, "4.4.2", "the connection was lost" if exc else "the host closed the connection"))
        elif self._waiter:
            self._wake(self._waiter)

    def pause_writing(self) -> None:
        """Be told that the host takes less than is written."""
        self._paused = True

    def resume_writing(self) -> None:
        """Be told that it has caught up."""
        self._paused = False
        if self._drained:
            self._wake(self._drained)

    # What the client does

    def time(self) -> float:
        """The loop's clock, in seconds."""
        return self._loop.time()

    def write(self, octets: bytes, replies: int) -> None:
        """Send octets that ask for so many replies. A spoilt line takes nothing."""
        if not self.fault:
            self.owed += replies
            self.transport.write(octets)

    async def settle(self, seconds: float, last: float | None = None) -> None:
        """Wait until every reply has come or the line is spoilt; each may take so many seconds, the last one ``last``."""
        if not self.owed or self.fault:
            return
        self._waiter = self._loop.create_future()
        self._last_seconds = seconds if last is None else last
        self._seconds = seconds if self.owed > 1 else self._last_seconds
        self._progress = self._loop.time()
        self._watch()
        try:
            await self._waiter
        finally:
            self._waiter = None  # the timer stays for the next one

    def take(self) -> HostReply:
        """Give the next reply that has come. Raises LineBroken when there is none."""
        if self.replies:
            return self.replies.popleft()
        assert self.fault, "a reply is taken that was not waited for"
        raise LineBroken(self.fault)

    async def ask(self, command: bytes, seconds: float) -> HostReply:
        """Send a command and give its reply. Raises LineBroken."""
        self.write(command, 1)
        await self.settle(seconds)
        return self.take()

    async def drain(self, seconds: float) -> None:
        """Wait until the host has taken most of what was written; a host that takes nothing for so long spoils the line."""
        left = self.transport.get_write_buffer_size()
        while self._paused and not self.fault:
            self._drained = self._loop.create_future()
            timer = self._loop.call_at(self._bounded(self._loop.time() + seconds), self._wake, self._drained)
            try:
                await self._drained
            finally:
                timer.cancel()
                self._drained = None
            before, left = left, self.transport.get_write_buffer_size()
            if self._paused and self._is_over():
                self.spoil(_TOO_SLOW)
            elif self._paused and left >= before:
                self.spoil(Fault(0, "4.4.2", f"the host took nothing for {seconds:g} s"))

    async def begin_tls(self, context: ssl.SSLContext, name: str | None, seconds: float) -> ssl.SSLObject:
        """Shake hands. Raises LineBroken for octets that came in plain before it, OSError (ssl.SSLError) when it fails."""
        if not self.fault and (self._parser.is_within or self.replies):
            self.spoil(Fault(0, "4.7.5", "the host sent more before the TLS handshake"))
        if self.fault:
            raise LineBroken(self.fault)
        secured = await self._loop.start_tls(
            self.transport, self, context, server_hostname=name, ssl_handshake_timeout=seconds
        )
        if secured is None:  # the connection went while the handshake was ending
            raise ConnectionResetError("the connection was lost")
        self.transport = secured
        return cast(ssl.SSLObject, secured.get_extra_info("ssl_object"))

    def abort(self) -> None:
        """Cut the connection."""
        if not self.fault:
            self.spoil(Fault(0, "4.4.2", "the connection was cut on this side"))
        self.transport.abort()

    def spoil(self, fault: Fault) -> None:
        """Use the line no more; the first fault stays."""
        self.fault = self.fault or fault
        for waiter in (self._waiter, self._drained):
            if waiter:
                self._wake(waiter)

    async def farewell(self, seconds: float) -> None:
        """QUIT where the line is good, then close; the host has so many seconds for each."""
        if not self.fault and not self.owed:
            self.write(b"QUIT\r\n", 1)
            await self.settle(seconds)
        if not self.lost:
            self.transport.close()
            waiter = self._waiter = self._loop.create_future()
            timer = self._loop.call_later(seconds, self._wake, waiter)
            self.fault = self.fault or Fault(0, "4.4.2", "the connection was closed on this side")
            try:
                while not (self.lost or waiter.done()):
                    await waiter
            finally:
                self._waiter = None
                timer.cancel()
        if not self.lost:
            self.transport.abort()

    def _watch(self) -> None:
        """See to it that ``_late`` is called when the time is over; it may be called before, which costs less than a new timer."""
        moment = self._bounded(self._progress + self._seconds)
        if self._timer and self._timer.when() <= moment:
            return
        if self._timer:
            self._timer.cancel()
        self._timer = self._loop.call_at(moment, self._late)

    def _bounded(self, moment: float) -> float:
        return moment if self.until is None else min(moment, self.until)

    def _is_over(self) -> bool:
        return self.until is not None and self._loop.time() >= self.until - 0.01

    def _late(self) -> None:
        self._timer = None
        if not self._waiter:
            return
        if self._is_over():
            self.spoil(_TOO_SLOW)
        elif self._loop.time() < self._progress + self._seconds - 0.01:  # replies came meanwhile
            self._watch()
        else:
            self.spoil(Fault(0, "4.4.2", f"no reply within {self._seconds:g} s"))

    @staticmethod
    def _wake(waiter: asyncio.Future[None]) -> None:
        if not waiter.done():
            waiter.set_result(None)
