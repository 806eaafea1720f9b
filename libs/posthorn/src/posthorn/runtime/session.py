"""The protocol base of session protocols (SMTP, POP3): admission, flow control, deadlines, drain
and TLS upgrade of one connection.

Theory of operation:

- A connection is entered in the limiter when it is made, and leaves it when both the connection and
  the work on it have ended: a message that is being kept, or a login under way, is not forgotten
  because the client has gone.
- Replies are collected and written in one piece (``send``, ``flush``). While the transport holds
  more than its limit the connection is *blocked*: nothing more is sent, and a client that takes
  nothing for ``write_seconds`` is cut.
- What the PROXY protocol says (``proxy_protocol``) comes as ``client``: the address for limits,
  logs and trace fields. A connection that came so is never taken to be from this very host.
- ``start_tls`` replaces the transport below the protocol. What came in plain must be thrown away by
  then.
- How input is taken is the subclass's affair: by callbacks from a machine (POP3), or by a task that
  waits for it (SMTP).
"""

from __future__ import annotations

import asyncio
import ssl
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import cast

from posthorn.runtime.connection_limiter import ConnectionLimiter
from posthorn.runtime.listen import HANDSHAKE_SECONDS, peer_address
from posthorn.runtime.tls_transport import TlsTransport

LINGER_SECONDS = 1.0
"""How long a client may take to answer the end of TLS."""


class Deadline:
    """A point in time that is moved often and hardly ever reached: the timer is set anew only
    when it comes nearer."""

    __slots__ = ("_at", "_expired", "_loop", "_timer", "_timer_at")

    def __init__(self, loop: asyncio.AbstractEventLoop, expired: Callable[[], None]) -> None:
        self._loop = loop
        self._expired = expired
        self._at: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    def set(self, at: float) -> None:
        """Have ``expired`` called at this time of the loop, unless it is moved or cleared
        before."""
        self._at = at
        if self._timer is None or at < self._timer_at:
            self._arm(at)

    def clear(self) -> None:
        """Wait for nothing. The timer may go on, so that the next deadline finds it set."""
        self._at = None

    def close(self) -> None:
        """Stop the timer."""
        self._at = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._timer_at = self._loop.call_at(at, self._tick), at

    def _tick(self) -> None:
        self._timer = None
        at = self._at
        if at is None:
            return
        if self._loop.time() < at:
            self._arm(at)
        else:
            self._at = None
            self._expired()


class SessionProtocol(asyncio.BaseProtocol, ABC):
    """One client's connection. Subclasses take the input and answer it."""

    stream: asyncio.Transport
    """The transport below, TLS or not."""

    def __init__(
        self,
        limiter: ConnectionLimiter,
        tls_context: ssl.SSLContext | None,
        *,
        secure: bool,
        client: str | None,
        write_seconds: float | None = None,
    ) -> None:
        """``secure``: TLS is there already. ``client``: the client's address from a PROXY header,
        None without one.

        ``write_seconds``: how long a client may take nothing of what is sent to it; None: the
        subclass sees to that.
        """
        self.loop = asyncio.get_running_loop()
        self.limiter = limiter
        self.tls_context = tls_context
        self.address = client or ""
        self.via_proxy = client is not None
        self.is_secure = secure
        self.is_draining = False
        self.is_upgrading = False
        """A TLS handshake is under way."""
        self.is_lost = False
        """The connection is gone, or was refused."""
        self.is_blocked = False
        """The client does not take what is sent."""
        self.output_bytes = 0
        """Bytes that were collected and not written yet."""
        self._collected: list[bytes] = []
        self._is_admitted = False
        self.is_reading = True
        """Input is taken from the transport."""
        self._unblocked: asyncio.Future[None] | None = None
        self._write_seconds = write_seconds
        self._stall_timer: asyncio.TimerHandle | None = None
        self._untaken = 0  # bytes that lay in the transport when the timer was set
        self._linger_timer: asyncio.TimerHandle | None = None
        self._close_by = 0.0

    # what subclasses do

    @abstractmethod
    def begin(self) -> None:
        """Begin the session: it was admitted."""

    @abstractmethod
    def refuse(self, limit: str) -> None:
        """Tell the client that there is no place, and close; ``limit`` is the limiter's word."""

    @abstractmethod
    def drain(self) -> None:
        """End after what is under way."""

    @abstractmethod
    def abort(self) -> None:
        """End now."""

    @abstractmethod
    def lost(self, error: Exception | None) -> None:
        """Wind up: the connection is gone."""

    def barred(self) -> str | None:
        """Return why a client is refused before it takes a place, for ``refuse``; None: it is
        not."""
        return None

    def stalled(self) -> None:
        """Cut a client that has taken nothing for ``write_seconds``."""
        self.stream.abort()

    def cut(self) -> None:
        """Close at once; what is queued is lost."""
        self.stream.abort()

    # from the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Admit the client, or refuse it."""
        self.stream = cast(asyncio.Transport, transport)
        if not self.via_proxy:
            self.address = peer_address(transport)
        limit = self.barred() or self.limiter.admit(self, self.address)
        if limit is not None:
            self.refuse(limit)
            return
        self._is_admitted = True
        self.begin()

    def connection_lost(self, error: Exception | None) -> None:
        """Wind up, once."""
        if self.is_lost:
            return
        self.is_lost = True
        self.stop_stall_timer()
        if self._linger_timer is not None:
            self._linger_timer.cancel()
        self._unblock()
        self.lost(error)

    def pause_writing(self) -> None:
        """Stop: the client does not take what is sent."""
        self.is_blocked = True
        if self._write_seconds is not None and self._stall_timer is None:
            self._untaken = self.stream.get_write_buffer_size()
            self._stall_timer = self.loop.call_later(self._write_seconds, self._look_for_stall)

    def resume_writing(self) -> None:
        """Go on: there is space again."""
        self.is_blocked = False
        self.stop_stall_timer()
        self._unblock()

    # for the connection limiter

    def begin_drain(self) -> None:
        """End after what is under way."""
        self.is_draining = True
        self.drain()

    @property
    def is_admitted(self) -> bool:
        """Whether the connection is in the limiter."""
        return self._is_admitted

    def leave(self) -> bool:
        """Leave the limiter, once the connection and the work on it have ended; return whether
        it was in there."""
        if not self._is_admitted:
            return False
        self._is_admitted = False
        self.limiter.leave(self)
        return True

    # for the session

    def send(self, data: bytes) -> None:
        """Collect output."""
        self._collected.append(data)
        self.output_bytes += len(data)

    def flush(self) -> None:
        """Write what was collected in one piece."""
        if not self.output_bytes:
            return
        self.stream.write(
            self._collected[0] if len(self._collected) == 1 else b"".join(self._collected)
        )
        self.drop_output()

    def drop_output(self) -> None:
        """Forget what was collected."""
        self._collected.clear()
        self.output_bytes = 0

    async def unblocked(self) -> None:
        """Wait until the client takes what is sent, or is gone."""
        while self.is_blocked and not self.is_lost:
            self._unblocked = self.loop.create_future()
            await self._unblocked

    def pause_reading(self) -> None:
        """Take no more input."""
        if self.is_reading:
            self.is_reading = False
            self.stream.pause_reading()

    def resume_reading(self) -> None:
        """Take input again."""
        if not self.is_reading:
            self.is_reading = True
            self.stream.resume_reading()

    async def upgrade(self, *, seconds: float = HANDSHAKE_SECONDS) -> None:
        """Shake hands for TLS. Raises OSError when it fails or the client has gone.

        Nothing is read before the handshake has taken over the transport, so nothing that came in
        plain slips through.
        """
        assert self.tls_context is not None
        self.is_upgrading = True
        self.stream = secure = TlsTransport(self.stream, self, self.tls_context)
        await secure.shake_hands(seconds)
        self.is_upgrading = False
        self.is_reading = True
        self.is_secure = True

    def close_stream(self) -> None:
        """Close after what was written has been taken, for which there is as much time as for any
        write (``write_seconds``, which must be given)."""
        assert self._write_seconds is not None
        self.stop_stall_timer()  # it has time to take the rest, and no more
        self.stream.close()
        if not self.is_lost:
            self._close_by = self.loop.time() + self._write_seconds
            self._linger(self._write_seconds)

    def stop_stall_timer(self) -> None:
        """Wait no more for the client to take what was sent."""
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    # inside

    def _unblock(self) -> None:
        if self._unblocked is not None and not self._unblocked.done():
            self._unblocked.set_result(None)
        self._unblocked = None

    def _linger(self, write_seconds: float) -> None:
        """See that a closed connection ends: a client may take nothing more, or not answer the
        end of TLS."""
        self._linger_timer = self.loop.call_later(
            min(LINGER_SECONDS, write_seconds), self._lingered, write_seconds
        )

    def _lingered(self, write_seconds: float) -> None:
        if self.stream.get_write_buffer_size() and self.loop.time() < self._close_by:
            self._linger(write_seconds)
        else:
            self.cut()

    def _look_for_stall(self) -> None:
        assert self._write_seconds is not None
        untaken = self.stream.get_write_buffer_size()
        if untaken < self._untaken:  # slow, but it takes something
            self._untaken = untaken
            self._stall_timer = self.loop.call_later(self._write_seconds, self._look_for_stall)
        else:
            self._stall_timer = None
            self.stalled()
