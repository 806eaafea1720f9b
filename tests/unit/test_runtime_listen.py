"""Who may hold how many sessions, and a drain that no client can hang."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pytest
import uvloop

from posthorn.runtime import connection_limiter
from posthorn.runtime.http import bind
from posthorn.runtime.listen import ConnectionLimiter, listening
from posthorn_local.certificate import ensure_certificate
from tests.support.polling import BUSY_SECONDS, LONG_SECONDS, until


class Mute:
    """A session that only counts what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def begin_drain(self) -> None:
        self.told.append("drain")

    def abort(self) -> None:
        self.told.append("abort")


def test_limits_in_total_and_by_address() -> None:
    limiter = ConnectionLimiter(total=4, per_address=2)
    one, two, three, four, five = (Mute() for _ in range(5))
    assert limiter.admit(one, "192.0.2.1") is None
    assert limiter.admit(two, "192.0.2.1") is None
    assert limiter.admit(three, "192.0.2.1") == "address"
    assert limiter.admit(three, "192.0.2.2") is None
    assert limiter.admit(four, "192.0.2.3") is None
    assert limiter.admit(five, "192.0.2.4") == "total"
    assert len(limiter) == 4
    limiter.leave(two)
    limiter.leave(two)
    limiter.leave(five)
    assert len(limiter) == 3
    assert limiter.admit(five, "192.0.2.1") is None
    assert limiter.admit(two, "192.0.2.1") == "total"


def test_addresses_that_left_are_forgotten() -> None:
    limiter = ConnectionLimiter(total=2, per_address=1)
    for number in range(1000):
        session = Mute()
        assert limiter.admit(session, f"192.0.2.{number}") is None
        limiter.leave(session)
    assert not limiter._by_address


async def test_a_drain_asks_then_cuts() -> None:
    limiter = ConnectionLimiter(10, 10)
    quick, slow = Mute(), Mute()
    limiter.admit(quick, "a")
    limiter.admit(slow, "a")
    quick.begin_drain = lambda: limiter.leave(quick)  # type: ignore[method-assign]
    slow.abort = lambda: (slow.told.append("abort"), limiter.leave(slow))[0]  # type: ignore[method-assign, func-returns-value]
    began = time.monotonic()
    await limiter.drain(0.1)
    assert time.monotonic() - began > 0.09
    assert slow.told == ["drain", "abort"]
    assert limiter.admit(Mute(), "b") == "draining"


async def test_several_listeners_wait_for_a_stuck_session_no_longer_than_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection_limiter, "_ABORT_SECONDS", 0.0)
    limiter = ConnectionLimiter(10, 10)
    limiter.admit(Mute(), "a")
    async with asyncio.timeout(30):
        await limiter.drain(0.01)
        await limiter.drain(3600)


async def test_a_drain_of_nobody_takes_no_time() -> None:
    async with asyncio.timeout(BUSY_SECONDS):
        await ConnectionLimiter(1, 1).drain(LONG_SECONDS)


async def test_one_session_that_fails_to_drain_does_not_spare_the_others() -> None:
    limiter = ConnectionLimiter(10, 10)
    sessions = [Mute() for _ in range(3)]
    for session in sessions:
        limiter.admit(session, "a")
        session.abort = lambda session=session: limiter.leave(session)  # type: ignore[method-assign, misc]

    def fail() -> None:
        raise RuntimeError("a bug")

    sessions[1].begin_drain = fail  # type: ignore[method-assign]
    await limiter.drain(0.1)
    assert sessions[0].told == sessions[2].told == ["drain"]
    assert len(limiter) == 0


class Talk(asyncio.Protocol):
    """A protocol that greets, takes ``work``, and on a drain finishes it."""

    def __init__(self, limiter: ConnectionLimiter) -> None:
        self._limiter = limiter
        self.is_busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's are of no such class
        self._transport = transport = cast(asyncio.Transport, transport)
        refusal = self._limiter.admit(self, transport.get_extra_info("peername")[0])
        transport.write(b"hello\n" if refusal is None else refusal.encode() + b"\n")
        if refusal is not None:
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._limiter.leave(self)

    def data_received(self, data: bytes) -> None:
        self.is_busy = True

    def begin_drain(self) -> None:
        if self.is_busy:
            asyncio.get_running_loop().call_later(0.05, self._end, b"done\n")
        else:
            self._end(b"closing\n")

    def _end(self, last: bytes) -> None:
        self._transport.write(last)
        self._transport.close()

    def abort(self) -> None:
        self._transport.abort()


type Run = Callable[[Coroutine[Any, Any, None]], None]
both = pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])


async def _line(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(BUSY_SECONDS):
        return await reader.readline()


@both
def test_idle_clients_are_told_and_work_at_hand_is_finished(run: Run) -> None:
    async def scene() -> None:
        limiter = ConnectionLimiter(10, 10)
        sessions: list[Talk] = []

        def session() -> Talk:
            sessions.append(Talk(limiter))
            return sessions[-1]

        async with listening(
            session, bind("127.0.0.1", 0, "X"), limiter, grace=LONG_SECONDS
        ) as port:
            idle, busy = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
            assert await _line(idle[0]) == await _line(busy[0]) == b"hello\n"
            busy[1].write(b"work\n")
            await until(lambda: any(each.is_busy for each in sessions))
            began = time.monotonic()
        assert time.monotonic() - began < BUSY_SECONDS
        assert await idle[0].read() == b"closing\n"
        assert await busy[0].read() == b"done\n"
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        for _, writer in (idle, busy):
            writer.close()

    run(scene())


class Stubborn(Talk):
    """A session that does not end by itself, as with a client that sends an octet an hour."""

    def begin_drain(self) -> None:
        pass


@both
def test_a_session_that_does_not_end_is_cut_after_the_grace_period(run: Run) -> None:
    async def scene() -> None:
        limiter = ConnectionLimiter(10, 10)
        async with listening(
            lambda: Stubborn(limiter), bind("127.0.0.1", 0, "X"), limiter, grace=0.2
        ) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            assert await _line(reader) == b"hello\n"
            began = time.monotonic()
        assert 0.15 < time.monotonic() - began < BUSY_SECONDS
        assert len(limiter) == 0
        with suppress(ConnectionResetError):  # either form of an end will do
            assert await reader.read() == b""
        writer.close()

    run(scene())


@both
def test_a_client_that_never_ends_its_handshake_does_not_hold_up_the_end(
    run: Run, tmp_path: Path
) -> None:
    ensure_certificate(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")

    async def scene() -> None:
        limiter = ConnectionLimiter(10, 10)
        async with listening(
            lambda: Talk(limiter),
            bind("127.0.0.1", 0, "X"),
            limiter,
            grace=LONG_SECONDS,
            tls=context,
        ) as port:
            silent = await asyncio.open_connection("127.0.0.1", port)
            trusting = ssl.create_default_context(cafile=str(tmp_path / "tls.crt"))
            good = await asyncio.open_connection(
                "127.0.0.1", port, ssl=trusting, server_hostname="localhost"
            )
            assert await _line(good[0]) == b"hello\n"
            began = time.monotonic()
        assert time.monotonic() - began < BUSY_SECONDS
        for _, writer in (silent, good):
            writer.close()

    run(scene())


async def test_connections_beyond_the_limit_are_told_why() -> None:
    limiter = ConnectionLimiter(total=3, per_address=2)
    async with listening(
        lambda: Talk(limiter), bind("127.0.0.1", 0, "X"), limiter, grace=1
    ) as port:
        open_ones = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        assert [await _line(reader) for reader, _ in open_ones] == [b"hello\n"] * 2
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.read() == b"address\n"
        writer.close()
        open_ones[0][1].close()
        await until(lambda: len(limiter) == 1)
        again = await asyncio.open_connection("127.0.0.1", port)
        assert await _line(again[0]) == b"hello\n"
        for _, each in (*open_ones, again):
            each.close()


async def test_many_sessions_end_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    limiter = ConnectionLimiter(500, 500)
    ended: list[Awaitable[bytes]] = []
    async with listening(
        lambda: Talk(limiter), bind("127.0.0.1", 0, "X"), limiter, grace=LONG_SECONDS
    ) as port:
        clients = [await asyncio.open_connection("127.0.0.1", port) for _ in range(200)]
        ended = [reader.read() for reader, _ in clients]
        await until(lambda: len(limiter) == 200)
        began = time.monotonic()
    assert time.monotonic() - began < BUSY_SECONDS
    assert await asyncio.gather(*ended) == [b"hello\nclosing\n"] * 200
    for _, writer in clients:
        writer.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tls")
    ensure_certificate(directory)
    return directory


def _server(certificate: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate / "tls.crt", certificate / "tls.key")
    return context


def _trusting(certificate: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate / "tls.crt"))


@both
def test_a_client_that_has_not_shaken_hands_has_a_place_at_the_gate(
    run: Run, certificate: Path
) -> None:
    async def scene() -> None:
        limiter = ConnectionLimiter(total=10, per_address=2)
        tls = _server(certificate)
        async with listening(
            lambda: Talk(limiter), bind("127.0.0.1", 0, "X"), limiter, grace=5, tls=tls
        ) as port:
            silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
            await until(lambda: len(limiter) == 2)
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            with suppress(ConnectionResetError):
                assert await asyncio.wait_for(reader.read(), BUSY_SECONDS) == b""
            writer.close()
            silent[0][1].close()
            await until(lambda: len(limiter) == 1)
            secure: dict[str, Any] = {"ssl": _trusting(certificate), "server_hostname": "localhost"}
            good = await asyncio.open_connection("127.0.0.1", port, **secure)
            assert await _line(good[0]) == b"hello\n"
            assert len(limiter) == 2
            good[1].close()
            await until(lambda: len(limiter) == 1)
            silent[1][1].close()

    run(scene())


@both
@pytest.mark.parametrize("hello", [b"", b"EHLO no handshake\r\n", b"\x16\x03\x01\x00\x05hello"])
def test_a_handshake_that_comes_to_nothing_gives_its_place_back(
    run: Run, certificate: Path, hello: bytes
) -> None:
    async def scene() -> None:
        limiter = ConnectionLimiter(10, 10)
        listener, tls = bind("127.0.0.1", 0, "X"), _server(certificate)
        async with listening(
            lambda: Talk(limiter), listener, limiter, grace=5, tls=tls, handshake_seconds=0.3
        ) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(hello)
            with suppress(ConnectionResetError):
                assert b"hello\n" not in await asyncio.wait_for(reader.read(), BUSY_SECONDS)
            await until(lambda: len(limiter) == 0)
            writer.close()

    run(scene())


@both
def test_a_session_that_cannot_begin_holds_nothing(run: Run, certificate: Path) -> None:
    def fail() -> asyncio.BaseProtocol:
        raise RuntimeError("a bug")

    async def scene() -> None:
        limiter = ConnectionLimiter(10, 10)
        async with listening(
            fail, bind("127.0.0.1", 0, "X"), limiter, grace=5, tls=_server(certificate)
        ) as port:
            secure: dict[str, Any] = {"ssl": _trusting(certificate), "server_hostname": "localhost"}
            reader, writer = await asyncio.open_connection("127.0.0.1", port, **secure)
            with suppress(ConnectionResetError):
                assert await asyncio.wait_for(reader.read(), BUSY_SECONDS) == b""
            await until(lambda: len(limiter) == 0)
            writer.close()

    run(scene())


class Echo(Talk):
    """Says back at once what it is told."""

    def data_received(self, data: bytes) -> None:
        self._transport.write(data)


class BufferedEcho(asyncio.BufferedProtocol):
    """The same with a small buffer of its own."""

    def __init__(self) -> None:
        self._space = bytearray(3)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(b"hello\n")

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._space

    def buffer_updated(self, nbytes: int) -> None:
        self._transport.write(bytes(self._space[:nbytes]))


@both
@pytest.mark.parametrize("buffered", [False, True])
def test_what_comes_right_behind_the_handshake_is_not_lost(
    run: Run, certificate: Path, buffered: bool
) -> None:
    async def visit(port: int, number: int) -> None:
        said = b"words %d, said before the greeting\n" % number
        secure: dict[str, Any] = {"ssl": _trusting(certificate), "server_hostname": "localhost"}
        reader, writer = await asyncio.open_connection("127.0.0.1", port, **secure)
        writer.write(said)
        assert await _line(reader) == b"hello\n"
        assert await _line(reader) == said
        writer.close()

    async def scene() -> None:
        limiter = ConnectionLimiter(100, 100)
        factory = BufferedEcho if buffered else lambda: Echo(limiter)
        async with listening(
            factory, bind("127.0.0.1", 0, "X"), limiter, grace=5, tls=_server(certificate)
        ) as port:
            await asyncio.gather(*(visit(port, number) for number in range(40)))
            await until(lambda: len(limiter) == 0)

    run(scene())
