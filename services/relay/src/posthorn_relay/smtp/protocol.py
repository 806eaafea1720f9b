"""The client's side of an SMTP connection on asyncio: commands out, replies in (RFC 5321 §4.2).

Theory of operation:

- Every write says how many replies it asks for; ``wait_replies`` waits until all of them have
  arrived, in one wait for a whole pipelined group. The timeout of a reply starts at the reply
  before it; a part of a reply is no progress.
- ``deadline`` is the time at which all that is in progress must be over, whatever arrives
  meanwhile.
- A reply to no command, one that cannot be parsed, 421, a timeout and the end of the connection are
  all a *fault*: it is kept, everything that waits ends, and the connection is never used again.
  Replies that arrived before stay readable.
- Plain text and TLS are one connection; ``begin_tls`` switches over, and bytes that arrived in
  plain text behind the reply to STARTTLS are a fault (RFC 3207 §4; CVE-2011-0411 seen from the
  client's side).
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from dataclasses import dataclass
from typing import cast

from posthorn.runtime.session import Deadline
from posthorn.wire.smtp.client_replies import HostReply, ReplyParser


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a connection cannot be used any more."""

    code: int
    """Code of the reply, or 0 without one."""
    status: str
    """Enhanced status code of the reply, or ours."""
    text: str
    """For people; begins with the code if there is one."""


_TOO_SLOW = Fault(0, "4.4.2", "the host was too slow: the transaction took longer than it may")


class ConnectionFailed(Exception):
    """A reply is expected that will not arrive."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.text)
        self.fault = fault


class ClientProtocol(asyncio.Protocol):
    """One connection. ``pending_replies`` is 1 at first: the greeting."""

    __slots__ = (
        "_drained",
        "_last_seconds",
        "_leave",
        "_loop",
        "_parser",
        "_paused",
        "_reply_deadline",
        "_seconds",
        "_waiter",
        "deadline",
        "fault",
        "lost",
        "pending_replies",
        "replies",
        "transport",
    )  # fmt: skip

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self.fault: Fault | None = None
        self.lost = False
        """The connection has ended."""
        self.pending_replies = 1
        """Replies asked for that have not arrived."""
        self.replies: deque[HostReply] = deque()
        self.deadline: float | None = None
        """When all waiting ends, on the clock of ``time``; None: no such limit."""
        self._loop = asyncio.get_running_loop()
        self._parser = ReplyParser()
        self._waiter: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._paused = False
        self._seconds = self._last_seconds = 0.0
        self._leave = 0
        self._reply_deadline = Deadline(self._loop, self._late)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast(asyncio.Transport, transport)  # that of uvloop is no subclass

    def data_received(self, data: bytes) -> None:
        """Parse replies."""
        if self.fault:
            return None
        replies = self._parser.feed(data)
        for reply in replies:
            if reply.code == 421:  # may arrive at any time (RFC 5321 §3.8)
                return self.fail(Fault(421, reply.status or "4.3.2", reply.line))
            if not self.pending_replies:
                return self.fail(
                    Fault(reply.code, reply.status or "4.5.0", reply.line)
                    if reply.code >= 400
                    else Fault(0, "4.5.0", "the host spoke out of turn")
                )
            self.pending_replies -= 1
            self.replies.append(reply)
        if self._parser.broken:
            return self.fail(Fault(0, "4.5.0", f"the host sent {self._parser.broken}"))
        if replies and self._waiter:
            if self.pending_replies <= self._leave:
                self._wake(self._waiter)
            else:
                self._await_reply()
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end, which is a fault unless there was one before."""
        self.lost = True
        self._reply_deadline.close()
        if not self.fault:
            self.fail(
                Fault(
                    0,
                    "4.4.2",
                    "the connection was lost" if exc else "the host closed the connection",
                )
            )
        elif self._waiter:
            self._wake(self._waiter)

    def pause_writing(self) -> None:
        """Note that the host takes less than is written."""
        self._paused = True

    def resume_writing(self) -> None:
        """Note that the host has caught up."""
        self._paused = False
        if self._drained:
            self._wake(self._drained)

    # The client's operations

    def time(self) -> float:
        """Return the loop's clock, in seconds."""
        return self._loop.time()

    def write(self, data: bytes, replies: int) -> None:
        """Send bytes that ask for so many replies. After a fault nothing is sent."""
        if not self.fault:
            self.pending_replies += replies
            self.transport.write(data)

    async def wait_replies(
        self, seconds: float, last: float | None = None, *, leave: int = 0
    ) -> None:
        """Wait until every reply but the last ``leave`` has arrived, or a fault; each may take so
        many seconds, the last one ``last``."""
        if self.pending_replies <= leave or self.fault:
            return
        self._leave = leave
        self._waiter = self._loop.create_future()
        self._seconds = seconds
        self._last_seconds = seconds if last is None else last
        self._await_reply()
        try:
            await self._waiter
        finally:
            self._waiter = None
            self._reply_deadline.clear()

    def next_reply(self) -> HostReply:
        """Return the next reply that has arrived. Raises ConnectionFailed when there is none."""
        if self.replies:
            return self.replies.popleft()
        assert self.fault, "a reply is taken that was not waited for"
        raise ConnectionFailed(self.fault)

    async def request(self, command: bytes, seconds: float) -> HostReply:
        """Send a command and return its reply. Raises ConnectionFailed."""
        self.write(command, 1)
        await self.wait_replies(seconds)
        return self.next_reply()

    async def drain(self, seconds: float) -> None:
        """Wait until the host has taken most of what was written; it is a fault to take nothing
        for ``seconds``."""
        left = self.transport.get_write_buffer_size()
        while self._paused and not self.fault:
            self._drained = self._loop.create_future()
            timer = self._loop.call_at(
                self._bounded(self._loop.time() + seconds), self._wake, self._drained
            )
            try:
                await self._drained
            finally:
                timer.cancel()
                self._drained = None
            before, left = left, self.transport.get_write_buffer_size()
            if self._paused and self._is_over():
                self.fail(_TOO_SLOW)
            elif self._paused and left >= before:
                self.fail(Fault(0, "4.4.2", f"the host took nothing for {seconds:g} s"))

    async def begin_tls(
        self, context: ssl.SSLContext, name: str | None, seconds: float
    ) -> ssl.SSLObject:
        """Start TLS and return its object.

        Raises ConnectionFailed for bytes that arrived in plain text before it, OSError
        (ssl.SSLError) when the handshake fails.
        """
        if not self.fault and (self._parser.is_within or self.replies):
            self.fail(Fault(0, "4.7.5", "the host sent more before the TLS handshake"))
        if self.fault:
            raise ConnectionFailed(self.fault)
        secured = await self._loop.start_tls(
            self.transport, self, context, server_hostname=name, ssl_handshake_timeout=seconds
        )
        if secured is None:  # the connection ended while the handshake was finishing
            raise ConnectionResetError("the connection was lost")
        self.transport = secured
        return cast(ssl.SSLObject, secured.get_extra_info("ssl_object"))

    def abort(self) -> None:
        """Close the connection at once."""
        if not self.fault:
            self.fail(Fault(0, "4.4.2", "the connection was cut on this side"))
        self.transport.abort()

    def fail(self, fault: Fault) -> None:
        """Use the connection no more; the first fault is kept."""
        self.fault = self.fault or fault
        for waiter in (self._waiter, self._drained):
            if waiter:
                self._wake(waiter)

    async def quit(self, seconds: float) -> None:
        """Send QUIT if the connection is usable, then close; the host has so many seconds for
        each."""
        if not self.fault and not self.pending_replies:
            self.write(b"QUIT\r\n", 1)
            await self.wait_replies(seconds)
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

    def _await_reply(self) -> None:
        """Have ``_late`` called unless the next reply arrives in time."""
        if self.pending_replies == self._leave + 1:
            self._seconds = self._last_seconds
        self._reply_deadline.set(self._bounded(self._loop.time() + self._seconds))

    def _bounded(self, moment: float) -> float:
        return moment if self.deadline is None else min(moment, self.deadline)

    def _is_over(self) -> bool:
        return self.deadline is not None and self._loop.time() >= self.deadline - 0.01

    def _late(self) -> None:
        self.fail(
            _TOO_SLOW
            if self._is_over()
            else Fault(0, "4.4.2", f"no reply within {self._seconds:g} s")
        )

    @staticmethod
    def _wake(waiter: asyncio.Future[None]) -> None:
        if not waiter.done():
            waiter.set_result(None)
