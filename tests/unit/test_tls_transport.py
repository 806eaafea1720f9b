"""TLS of the server on a socket of its own: flow control, the end, and the way in from plain."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, cast

import pytest
import uvloop

from posthorn.runtime.tls_transport import TlsTransport
from posthorn_local.certificate import ensure_certificate
from tests.support.polling import BUSY_SECONDS

LARGE = bytes(range(256)) * 4096 * 8
"""8 MiB: more than sockets take while nobody reads."""

type Run = Callable[[Coroutine[Any, Any, None]], None]
both = pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])


class Session(asyncio.Protocol):
    """Notes what it is told, and shakes hands when it reads STARTTLS."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self.got = bytearray()
        self.told: list[str] = []
        self.errors: list[Exception | None] = []
        self.shaking: asyncio.Task[None] | None = None
        self.before_tls = b"220 go ahead\r\n"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.stream = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.got += data
        if self.shaking is None:
            self.got.clear()
            self.stream.write(self.before_tls)
            self.secure = self.stream = TlsTransport(self.stream, self, self._context)
            self.shaking = asyncio.Task(
                self.secure.shake_hands(BUSY_SECONDS),
                loop=asyncio.get_running_loop(),
                eager_start=True,
            )

    def eof_received(self) -> bool:
        self.told.append("eof")
        return False

    def pause_writing(self) -> None:
        self.told.append("pause")

    def resume_writing(self) -> None:
        self.told.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.errors.append(exc)


class Buffered(asyncio.BufferedProtocol):
    """Takes three bytes at a time and pauses after each time."""

    def __init__(self, stream: asyncio.Transport) -> None:
        self._stream = stream
        self._space = bytearray(3)
        self.got = bytearray()

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._space

    def buffer_updated(self, nbytes: int) -> None:
        self.got += self._space[:nbytes]
        self._stream.pause_reading()
        asyncio.get_running_loop().call_soon(self._stream.resume_reading)


class Client:
    """A client whose socket blocks, in threads: it reads only when it is asked to."""

    def __init__(self, port: int, trusting: ssl.SSLContext) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), BUSY_SECONDS)
        self._trusting = trusting

    async def start_tls(self, before: bytes = b"220 go ahead\r\n") -> None:
        await asyncio.to_thread(self.socket.sendall, b"STARTTLS\r\n")
        assert await self.read(len(before)) == before
        self.socket = await asyncio.to_thread(
            self._trusting.wrap_socket, self.socket, server_hostname="localhost"
        )

    async def read(self, count: int) -> bytes:
        return await asyncio.to_thread(self._read, count)

    def _read(self, count: int) -> bytes:
        got = bytearray()
        while len(got) < count and (data := self.socket.recv(min(65536, count - len(got)))):
            got += data
        return bytes(got)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tls")
    ensure_certificate(directory)
    return directory


@pytest.fixture
def play(certificate: Path) -> Callable[..., None]:
    """Run a scene between a session and a client that are connected in plain."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate / "tls.crt", certificate / "tls.key")
    trusting = ssl.create_default_context(cafile=str(certificate / "tls.crt"))

    def playing(run: Run, scene: Callable[[Session, Client], Awaitable[None]]) -> None:
        async def played() -> None:
            sessions: list[Session] = []

            def make() -> Session:
                sessions.append(Session(context))
                return sessions[-1]

            server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)
            client = Client(server.sockets[0].getsockname()[1], trusting)
            try:
                async with asyncio.timeout(BUSY_SECONDS):
                    await _until(lambda: bool(sessions))
                    await scene(sessions[0], client)
            finally:
                client.socket.close()
                server.close()

        run(played())

    return playing


async def _until(true: Callable[[], bool]) -> None:
    while not true():
        await asyncio.sleep(0.005)


@both
def test_more_than_the_socket_takes_arrives_whole_and_the_session_is_told(
    run: Run, play: Callable[..., None]
) -> None:
    async def scene(session: Session, client: Client) -> None:
        await client.start_tls()
        await _until(lambda: session.shaking is not None and session.shaking.done())
        session.told.clear()
        session.stream.write(LARGE)
        session.stream.write(b"more")
        kept = session.stream.get_write_buffer_size()
        assert kept > 64 * 1024
        assert session.told == ["pause"]
        assert await client.read(len(LARGE) + 4) == LARGE + b"more"
        await _until(lambda: session.told == ["pause", "resume"])
        assert session.stream.get_write_buffer_size() == 0

    play(run, scene)


@both
def test_close_sends_what_is_kept_and_the_end_of_tls(run: Run, play: Callable[..., None]) -> None:
    async def scene(session: Session, client: Client) -> None:
        await client.start_tls()
        await _until(lambda: session.shaking is not None and session.shaking.done())
        session.stream.write(LARGE)
        session.stream.close()
        session.stream.write(b"too late")
        assert session.stream.is_closing()
        assert await client.read(len(LARGE)) == LARGE
        client.socket.sendall(b"said into the end")
        # raises ssl.SSLError unless the server has said the end
        assert isinstance(client.socket, ssl.SSLSocket)
        await asyncio.to_thread(client.socket.unwrap)
        client.socket.close()
        await _until(lambda: bool(session.errors))
        assert session.errors == [None]
        assert session.got == b""

    play(run, scene)


@both
def test_the_end_of_tls_that_is_not_answered_is_waited_for_a_moment(
    run: Run, play: Callable[..., None]
) -> None:
    async def scene(session: Session, client: Client) -> None:
        await client.start_tls()
        await _until(lambda: session.shaking is not None and session.shaking.done())
        session.stream.close()
        await _until(lambda: bool(session.errors))
        assert session.errors == [None]

    play(run, scene)


@both
def test_what_lies_in_the_plain_transport_is_sent_in_plain(
    run: Run, play: Callable[..., None]
) -> None:
    async def scene(session: Session, client: Client) -> None:
        session.before_tls = LARGE + b"220 go ahead\r\n"
        await client.start_tls(session.before_tls)
        client.socket.sendall(b"through TLS")
        await _until(lambda: session.got == b"through TLS")

    play(run, scene)


@both
def test_what_follows_the_plain_command_is_taken_for_tls(
    run: Run, play: Callable[..., None]
) -> None:
    """Never for a command that came through TLS (CVE-2011-0411)."""

    async def scene(session: Session, client: Client) -> None:
        await asyncio.to_thread(client.socket.sendall, b"STARTTLS\r\n")
        await client.read(len(session.before_tls))
        client.socket.sendall(b"RSET\r\n")
        assert session.shaking is not None
        with pytest.raises(ssl.SSLError):
            await session.shaking
        await _until(lambda: bool(session.errors))
        assert session.got == b""
        assert len(session.errors) == 1

    play(run, scene)


@both
def test_a_session_that_pauses_and_takes_little_loses_nothing(
    run: Run, play: Callable[..., None]
) -> None:
    async def scene(session: Session, client: Client) -> None:
        await client.start_tls()
        await _until(lambda: session.shaking is not None and session.shaking.done())
        taker = Buffered(session.stream)
        session.stream.set_protocol(taker)
        said = bytes(range(256)) * 20
        await asyncio.to_thread(client.socket.sendall, said)
        await _until(lambda: bytes(taker.got) == said)

    play(run, scene)


@both
def test_abort_during_the_handshake_ends_it(run: Run, play: Callable[..., None]) -> None:
    async def scene(session: Session, client: Client) -> None:
        client.socket.sendall(b"STARTTLS\r\n")
        await client.read(len(session.before_tls))
        session.stream.abort()
        assert session.shaking is not None
        with pytest.raises(ConnectionAbortedError):
            await session.shaking
        await _until(lambda: bool(session.errors))
        assert len(session.errors) == 1
        assert await client.read(1) == b""

    play(run, scene)


@both
def test_a_client_that_leaves_is_known_to_have_left(run: Run, play: Callable[..., None]) -> None:
    """Without the end of TLS, as most leave."""

    async def scene(session: Session, client: Client) -> None:
        await client.start_tls()
        await _until(lambda: session.shaking is not None and session.shaking.done())
        session.told.clear()
        session.stream.write(b"hello")
        assert await client.read(5) == b"hello"  # and tickets before it: nothing is left unread
        client.socket.close()
        await _until(lambda: bool(session.errors))
        assert session.told == ["eof"]
        assert session.stream.is_closing()

    play(run, scene)
