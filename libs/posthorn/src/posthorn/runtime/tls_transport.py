"""The server's end of a TLS connection, on a socket of its own.

Theory of operation:

- OpenSSL reads from and writes to the socket itself. uvloop's and asyncio's layers hand it memory
  buffers instead, which stay as large as what went through them at once, and keep a read buffer of
  256 KiB: 12 KiB more for a connection that is idle (docs/performance.md). Here an idle connection
  holds what OpenSSL holds, and nothing grows with what went through it.
- ``TlsTransport`` takes the connection over from the plain transport by a duplicate of its file
  descriptor. What the plain transport still has to write is written before, in plain; it reads
  nothing more, so what the client sends after its last plain command is taken for TLS.
- Reading begins when ``shake_hands`` returns, so that whoever awaits it can set another protocol
  first.
- What the socket does not take is kept (``get_write_buffer_size``) and offered again as it is:
  OpenSSL may have encrypted the beginning of it already.
- ``close`` sends what is kept, then the end of TLS, and reads until the client has ended too: a
  socket closed with unread input would be reset, and the client might lose what was sent last.
- However it ends, ``connection_lost`` of the protocol is called once, soon after.
- Input is read until there is none, or the descriptor is registered anew: libuv reports a connection
  that was reset once, and forgets it, whatever input is left.
- A client that keeps OpenSSL busy within one read is cut (``tls_watch``).
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Callable
from typing import Any

from posthorn.runtime.tls_watch import ReadWatch

SHUTDOWN_SECONDS = 1.0
"""Seconds that a client may take to answer the end of TLS."""
HIGH_WATER_BYTES = 64 * 1024
"""Unsent bytes at which the protocol is told to pause, unless limits are set."""
_READ_BYTES = 64 * 1024
"""Bytes after which other connections have their turn."""

_watch = ReadWatch()
_space = memoryview(bytearray(_READ_BYTES))
_nobody = asyncio.Protocol()
"""The protocol of a transport whose events matter no more."""


class _Flush(asyncio.Protocol):
    """The protocol of a plain transport until what it has to write is written."""

    def __init__(self, session: asyncio.BaseProtocol, written: asyncio.Future[None]) -> None:
        self._session = session
        self._written = written

    def resume_writing(self) -> None:
        self._session.resume_writing()
        if not self._written.done():
            self._written.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        if not self._written.done():
            self._written.set_exception(error or ConnectionResetError())


class TlsTransport(asyncio.Transport):
    """A connection to a client, through TLS."""

    __slots__ = (
        "_buffered",
        "_context",
        "_high",
        "_is_closing",
        "_is_lost",
        "_is_paused",
        "_is_reading",
        "_loop",
        "_low",
        "_peer",
        "_plain",
        "_protocol",
        "_reader",
        "_shaken",
        "_socket",
        "_timer",
        "_unsent",
        "_waiter",
    )

    def __init__(
        self, plain: asyncio.Transport, protocol: asyncio.BaseProtocol, context: ssl.SSLContext
    ) -> None:
        """``plain``: the transport to take over, when ``shake_hands`` is called."""
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._plain: asyncio.Transport | None = plain
        self._peer = plain.get_extra_info("peername")
        self._context = context
        self._socket: ssl.SSLSocket | None = None
        self._unsent: bytearray | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._shaken = False
        self._is_reading = True
        self._is_paused = False
        self._is_closing = False
        self._is_lost = False
        self._high, self._low = HIGH_WATER_BYTES, HIGH_WATER_BYTES // 4
        self.set_protocol(protocol)

    async def shake_hands(self, seconds: float) -> None:
        """Take over the connection and shake hands. Raises OSError (of which TimeoutError and
        ssl.SSLError are kinds) when that fails; the connection is closed then.

        Where the plain transport has nothing to write, nothing is waited for before it is taken
        over.
        """
        try:
            async with asyncio.timeout(seconds):
                await self._take_over()
                await self._shake()
        except BaseException as error:
            self._end(error if isinstance(error, Exception) else None)
            raise
        self._shaken, self._waiter = True, None
        fileno = self._live.fileno()
        self._reader = _watch.reader(fileno, str(self._peer[0]) if self._peer else "")
        if self._is_reading:
            self._loop.add_reader(fileno, self._read_ready)

    async def _take_over(self) -> None:
        plain = self._plain
        if plain is None or plain.is_closing():
            raise ConnectionResetError
        if plain.get_write_buffer_size():
            plain.pause_reading()
            self._waiter = self._loop.create_future()
            plain.set_protocol(_Flush(self._protocol, self._waiter))
            plain.set_write_buffer_limits(0)
            await self._waiter
            if plain.is_closing():  # its descriptor may be closed by now
                raise ConnectionResetError
        below = socket.socket(fileno=os.dup(plain.get_extra_info("socket").fileno()))
        self._plain = None
        plain.set_protocol(_nobody)
        plain.abort()
        try:
            below.setblocking(False)
            self._socket = self._context.wrap_socket(
                below, server_side=True, do_handshake_on_connect=False
            )
        except BaseException:
            below.close()
            raise

    async def _shake(self) -> None:
        while True:
            try:
                self._live.do_handshake()
                return
            except ssl.SSLWantReadError:
                add, remove = self._loop.add_reader, self._loop.remove_reader
            except ssl.SSLWantWriteError:
                add, remove = self._loop.add_writer, self._loop.remove_writer
            await self._ready(add, remove)  # the error, which knows its callers, is gone by now

    async def _ready(self, add: Callable[..., None], remove: Callable[[int], bool]) -> None:
        waiter = self._waiter = self._loop.create_future()
        fileno = self._live.fileno()
        add(fileno, _wake, waiter)
        try:
            await waiter
        finally:
            if not self._is_lost:
                remove(fileno)

    @property
    def _live(self) -> ssl.SSLSocket:
        if self._socket is None or self._is_lost:
            raise ConnectionResetError
        return self._socket

    # the connection

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return ``peername``, ``ssl_object`` or ``socket``, which are one."""
        if name == "peername":
            return self._peer
        return self._socket if name in ("ssl_object", "socket") else default

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Set who is told of everything from here on."""
        self._protocol = protocol
        self._buffered = isinstance(protocol, asyncio.BufferedProtocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return it."""
        return self._protocol

    def is_closing(self) -> bool:
        """Return whether it ends, or has ended."""
        return self._is_closing

    # reading

    def is_reading(self) -> bool:
        """Return whether input is taken."""
        return self._is_reading and not self._is_closing

    def pause_reading(self) -> None:
        """Take no more input."""
        if self._is_reading and self._shaken and not self._is_closing:
            self._loop.remove_reader(self._live.fileno())
        self._is_reading = False

    def resume_reading(self) -> None:
        """Take input again."""
        if not self._is_reading and self._shaken and not self._is_closing:
            self._loop.add_reader(self._live.fileno(), self._read_ready)
            if self._live.pending():  # decrypted: the socket does not tell of it
                self._loop.call_soon(self._read_ready)
        self._is_reading = True

    def _read_ready(self) -> None:
        try:
            self._read()
        except Exception as error:
            self._fault(error)

    def _read(self) -> None:
        taken = 0
        while self._is_reading and not self._is_closing:
            protocol: Any = self._protocol
            space = protocol.get_buffer(-1) if self._buffered else _space
            count = self._received(space)
            if count is None:
                return
            if not count:
                protocol.eof_received()
                self.close()
            elif self._buffered:
                protocol.buffer_updated(count)
            else:
                protocol.data_received(bytes(space[:count]))
            taken += count
            if taken >= _READ_BYTES and self.is_reading() and not self._live.pending():
                fileno = self._live.fileno()
                self._loop.remove_reader(fileno)
                self._loop.add_reader(fileno, self._read_ready)
                return

    def _received(self, space: Any) -> int | None:
        """Return how many bytes were read, 0 at the end; None: there is nothing to be read, or the
        connection has just been ended."""
        try:
            with self._reader:
                return self._live.recv_into(space, len(space))
        except ssl.SSLWantReadError:
            return None
        except OSError as error:
            self._end(None if self._is_closing else error)
            return None

    # writing

    def get_write_buffer_size(self) -> int:
        """Return how many bytes the socket has not taken yet."""
        if self._plain is not None:
            return self._plain.get_write_buffer_size()
        return len(self._unsent) if self._unsent is not None else 0

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Return the low and the high limit."""
        return self._low, self._high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set at how many unsent bytes the protocol is told to pause and to go on."""
        if high is None:
            high = HIGH_WATER_BYTES if low is None else 4 * low
        self._high, self._low = high, high // 4 if low is None else low
        self._control_protocol()

    def can_write_eof(self) -> bool:
        """Return False: TLS has no half-open connection."""
        return False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send this, now or when the socket takes it."""
        if self._is_closing or not data:
            return
        if self._unsent is None:
            sent = self._sent(data)
            if sent == len(data) or self._is_closing:
                return
            self._unsent = bytearray(memoryview(data)[sent:])
            self._loop.add_writer(self._live.fileno(), self._write_ready)
        else:
            self._unsent += data
        self._control_protocol()

    def _sent(self, data: bytes | bytearray | memoryview) -> int:
        """Return how many bytes the socket takes now."""
        sent = 0
        try:
            sent = self._live.send(data)  # of one record, 16 KiB, at most
            while sent < len(data):
                with memoryview(data)[sent:] as rest:
                    sent += self._live.send(rest)
        except ssl.SSLWantWriteError:
            pass
        except OSError as error:  # SSLWantReadError too: nothing is negotiated again
            self._end(error)
        return sent

    def _write_ready(self) -> None:
        assert self._unsent is not None
        sent = self._sent(self._unsent)
        if self._is_lost:
            return
        del self._unsent[:sent]
        if not self._unsent:
            self._unsent = None
            self._loop.remove_writer(self._live.fileno())
            if self._is_closing:
                self._shut_down()
        self._control_protocol()

    def _control_protocol(self) -> None:
        size = self.get_write_buffer_size()
        if size > self._high and not self._is_paused:
            self._is_paused = True
            self._protocol.pause_writing()
        elif size <= self._low and self._is_paused:
            self._is_paused = False
            self._protocol.resume_writing()

    # the end

    def close(self) -> None:
        """End after what was written is sent."""
        if self._is_closing:
            return
        if not self._shaken:
            self._end(None)
            return
        self._is_closing = True
        if self._is_reading:
            self._loop.remove_reader(self._live.fileno())
        if self._unsent is None:
            self._shut_down()

    def abort(self) -> None:
        """End now; what is not sent yet is lost."""
        self._end(None)

    def _shut_down(self) -> None:
        fileno = self._live.fileno()
        self._loop.remove_writer(fileno)
        if self._timer is None:
            self._timer = self._loop.call_later(SHUTDOWN_SECONDS, self._end, None)
        try:
            with self._reader:  # it reads up to the client's end of TLS
                self._live.unwrap()
        except ssl.SSLWantWriteError:
            self._loop.add_writer(fileno, self._shut_down)
            return
        except ssl.SSLWantReadError:
            self._loop.add_reader(fileno, self._swallow)
            return
        except ssl.SSLError as error:
            if error.reason == "APPLICATION_DATA_AFTER_CLOSE_NOTIFY":
                self._loop.add_reader(fileno, self._swallow)
                return
        except (OSError, ValueError):
            pass
        self._end(None)

    def _swallow(self) -> None:
        if self._received(_space) == 0:
            self._end(None)

    def _fault(self, error: Exception) -> None:
        self._loop.call_exception_handler(
            {
                "message": "a protocol failed on what it was told",
                "exception": error,
                "transport": self,
                "protocol": self._protocol,
            }
        )
        self._end(error)

    def _end(self, error: Exception | None) -> None:
        if self._is_lost:
            return
        self._is_lost = self._is_closing = True
        if self._timer is not None:
            self._timer.cancel()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(ConnectionAbortedError())
        if self._plain is not None:
            self._plain.set_protocol(_nobody)
            self._plain.abort()
            self._plain = None
        if self._socket is not None:
            fileno = self._socket.fileno()
            self._loop.remove_reader(fileno)
            self._loop.remove_writer(fileno)
            self._socket.close()
        self._unsent = None
        self._loop.call_soon(self._protocol.connection_lost, error)
        self._protocol, self._buffered = _nobody, False


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
