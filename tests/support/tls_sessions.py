"""A server of TLS connections for tests, which notes what each is told."""

from __future__ import annotations

import asyncio
import socket
import ssl
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import pytest
import uvloop

from posthorn.runtime.at_once import begun
from posthorn.runtime.tls_transport import TlsTransport
from posthorn_local.certificate import ensure_certificate
from tests.support.polling import BUSY_SECONDS, until
from tests.support.tls_records import RecordClient

CLIENTS = 64
"""That may block at a time, in threads."""

type Run = Callable[[Coroutine[Any, Any, None]], None]
both = pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])


class Session(asyncio.Protocol):
    """A session whose connection is TLS from its beginning; it notes what it is told."""

    def __init__(self, peers: Peers) -> None:
        self._peers = peers
        self.got = bytearray()
        self.has_eof = False
        self.errors: list[Exception | None] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        plain = cast(asyncio.Transport, transport)
        self.stream = TlsTransport(plain, self, self._peers.context)
        self.shaking = begun(self.stream.shake_hands(self._peers.handshake_seconds))
        self.shaking.add_done_callback(lambda task: task.cancelled() or task.exception())

    def data_received(self, data: bytes) -> None:
        self.got += data

    def eof_received(self) -> bool:
        self.has_eof = True
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        # without its traceback, whose frames know the session
        self.errors.append(exc and exc.with_traceback(None))


class Peers:
    """A listener, and clients of it."""

    def __init__(self, directory: Path) -> None:
        ensure_certificate(directory)
        self.certificate = directory / "tls.crt"
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.context.load_cert_chain(self.certificate, directory / "tls.key")
        self.handshake_seconds = BUSY_SECONDS
        self.make: Callable[[Peers], Session] = Session
        self.sessions: weakref.WeakSet[Session] = weakref.WeakSet()
        self.last: Session | None = None
        self.faults: list[dict[str, Any]] = []
        """What the loop's exception handler was told."""
        self.port = 0
        self._connecting = asyncio.Lock()
        self._number = 0

    def play(self, run: Run, scene: Callable[[Peers], Awaitable[None]]) -> None:
        """Run a scene while the port is listened on."""

        async def played() -> None:
            loop = asyncio.get_running_loop()
            loop.set_default_executor(ThreadPoolExecutor(CLIENTS))
            loop.set_exception_handler(lambda _, fault: self.faults.append(fault))
            server = await loop.create_server(self._made, "127.0.0.1", 0)
            self.port = server.sockets[0].getsockname()[1]
            try:
                async with asyncio.timeout(4 * BUSY_SECONDS):
                    await scene(self)
            finally:
                server.close()

        run(played())

    def _made(self) -> Session:
        self._number += 1
        self.last = session = self.make(self)
        self.sessions.add(session)
        return session

    def trusting(self) -> ssl.SSLContext:
        """Return a client's context."""
        return ssl.create_default_context(cafile=str(self.certificate))

    def connect(self) -> socket.socket:
        """Return a connection without TLS, whose reads and writes block."""
        return socket.create_connection(("127.0.0.1", self.port), BUSY_SECONDS)

    async def connected(self) -> tuple[socket.socket, Session]:
        """Return a connection without TLS, and its session."""
        async with self._connecting:
            made = self._number
            client = self.connect()
            await until(lambda: self._number > made, every=0.002)
            assert self.last is not None
            return client, self.last

    async def secured(
        self, context: ssl.SSLContext | None = None, **options: Any
    ) -> tuple[ssl.SSLSocket, Session]:
        """Return a connection with TLS, and its session."""
        plain, session = await self.connected()
        client = await asyncio.to_thread(
            (context or self.trusting()).wrap_socket, plain, server_hostname="localhost", **options
        )
        await session.shaking
        return client, session

    async def recorded(self) -> tuple[RecordClient, Session]:
        """Return a connection whose records the test makes, and its session."""
        plain, session = await self.connected()
        client = await asyncio.to_thread(RecordClient, plain, self.trusting())
        await session.shaking
        return client, session


async def lost(session: Session) -> Exception | None:
    """Wait until the session was told that its connection is lost, once; return the error."""
    await until(lambda: bool(session.errors), every=0.002)
    await asyncio.sleep(0)
    (error,) = session.errors
    return error


def open_descriptors() -> int:
    """Return how many descriptors this process has open."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def client_hello() -> bytes:
    """Return the first record of a client."""
    said = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(
        ssl.MemoryBIO(), said, server_hostname="localhost"
    )
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return said.read()
