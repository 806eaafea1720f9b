"""Ports that demand a PROXY header: whose word is taken, what is refused and how, and what
connections that wait may hold."""

from __future__ import annotations

import asyncio
import ipaddress
import random
import ssl
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

import pytest
import uvloop
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from posthorn.runtime.http import bind
from posthorn.runtime.listen import ConnectionLimiter, peer_address
from posthorn.runtime.proxy_protocol import (
    TrustedProxies,
    listen_behind_proxy,
)
from posthorn.wire.proxy import LONGEST_V2, SIGNATURE
from tests.support.polling import BUSY_SECONDS, LONG_SECONDS, until

TCP4 = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 25\r\n"
TCP6 = b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 25\r\n"
V2 = (
    SIGNATURE
    + b"\x21\x11\x00\x0f"
    + bytes([192, 0, 2, 8, 198, 51, 100, 1, 18, 103, 0, 25])
    + b"\x04\x00\x00"
)
LOCAL = SIGNATURE + b"\x20\x00\x00\x00"
HERE = (ipaddress.IPv4Network("127.0.0.0/8"),)

type Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Echo(asyncio.Protocol):
    """Greets with the client's address, or with why it is refused, then says back what it is
    told."""

    def __init__(self, limiter: ConnectionLimiter, client: str | None) -> None:
        self._limiter = limiter
        self._client = client

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        assert self._client is not None
        refusal = self._limiter.admit(self, self._client)
        self._transport.write(f"{refusal or self._client}\n".encode())
        if refusal is not None:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._limiter.leave(self)

    def data_received(self, data: bytes) -> None:
        self._transport.write(data)

    def begin_drain(self) -> None:
        self._transport.close()

    def abort(self) -> None:
        self._transport.abort()


class Port:
    """A listening port and its clients."""

    def __init__(self, port: int, limiter: ConnectionLimiter) -> None:
        self.port = port
        self.limiter = limiter
        self.writers: list[asyncio.StreamWriter] = []

    async def connect(self, octets: bytes = b"", source: str = "127.0.0.1") -> Streams:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.port, local_addr=(source, 0)
        )
        self.writers.append(writer)
        writer.write(octets)
        return reader, writer

    async def greeting(self, octets: bytes) -> bytes:
        return await line((await self.connect(octets))[0])

    async def until(self, sessions: int) -> None:
        async with asyncio.timeout(BUSY_SECONDS):
            while len(self.limiter) != sessions:
                await asyncio.sleep(0.002)


@asynccontextmanager
async def opened(
    total: int = 100,
    per_address: int = 100,
    networks: tuple[ipaddress.IPv4Network, ...] = HERE,
    tls: ssl.SSLContext | None = None,
    **changes: Any,
) -> AsyncIterator[Port]:
    limiter = ConnectionLimiter(total, per_address)
    balancers = TrustedProxies(networks, limiter, **changes)
    listener = bind("127.0.0.1", 0, "X")
    async with listen_behind_proxy(
        lambda client: Echo(limiter, client), listener, limiter, balancers, grace=2, tls=tls
    ) as number:
        port = Port(number, limiter)
        try:
            yield port
        finally:
            for writer in port.writers:
                writer.transport.abort()
        await port.until(0)


async def line(reader: asyncio.StreamReader) -> bytes:
    return (await asyncio.wait_for(reader.readline(), BUSY_SECONDS)).rstrip(b"\n")


async def closed(reader: asyncio.StreamReader) -> None:
    """It is closed, with nothing said."""
    said = b""
    with suppress(ConnectionError):
        said = await asyncio.wait_for(reader.read(), BUSY_SECONDS)
    assert said == b""


def counted(outcome: str) -> float:
    return (
        REGISTRY.get_sample_value("posthorn_listen_proxy_headers_total", {"outcome": outcome})
        or 0.0
    )


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize(
    ("header", "client"),
    [(TCP4, b"192.0.2.7"), (TCP6, b"2001:db8::7"), (V2, b"192.0.2.8"), (LOCAL, b"127.0.0.1"), (b"PROXY UNKNOWN\r\n", b"127.0.0.1")],
)  # fmt: skip
def test_the_client_is_whom_the_header_names_however_it_comes(
    run: Callable[[Coroutine[Any, Any, None]], None], header: bytes, client: bytes
) -> None:
    async def scene() -> None:
        async with opened() as port:
            reader, writer = await port.connect(header + b"first words\n")
            assert [await line(reader), await line(reader)] == [client, b"first words"]
            writer.write(b"and more\n")
            assert await line(reader) == b"and more"
            assert await port.greeting(header) == client
            reader, writer = await port.connect()
            for octet in header + header:  # what follows a header is never read as one
                writer.write(bytes([octet]))
                await asyncio.sleep(0)
            assert await line(reader) == client
            assert await asyncio.wait_for(reader.readexactly(len(header)), BUSY_SECONDS) == header

    run(scene())


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        (b"EHLO client.example.org\r\n", "missing"),
        (b"\x16\x03\x01\x00\xf4\x01", "missing"),
        (b"PROXY TCP4 " + b"1" * 200, "oversize"),
        (SIGNATURE + b"\x21\x11" + LONGEST_V2.to_bytes(2), "oversize"),
        (b"PROXY TCP4 192.0.2.7\r\n", "malformed"),
        (b"PROXY TCP4 0.0.0.0 198.51.100.1 1 2\r\n", "address"),
        (SIGNATURE + b"\x21\x31\x00\xd8" + bytes(216), "family"),
        (SIGNATURE + b"\x31", "version"),
    ],
)
async def test_what_is_no_header_is_refused_at_once_and_told_to_nobody_but_us(
    octets: bytes, reason: str
) -> None:
    async with opened() as port:
        before = counted(reason)
        with capture_logs() as logs:
            await closed((await port.connect(octets))[0])
        assert counted(reason) == before + 1
        assert [(entry["reason"], entry["stranger"]) for entry in logs] == [(reason, "127.0.0.1")]
        await port.until(0)


async def test_a_peer_outside_the_networks_is_closed_unheard() -> None:
    async with opened(networks=(ipaddress.IPv4Network("127.0.0.8/29"),)) as port:
        before = counted("stranger")
        await closed((await port.connect())[0])
        await closed((await port.connect(TCP4, "127.0.0.7"))[0])
        assert counted("stranger") == before + 2
        assert await line((await port.connect(TCP4, "127.0.0.9"))[0]) == b"192.0.2.7"


@pytest.mark.parametrize(
    ("peer", "address", "trusted"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::192.0.2.1", "::c000:201", False),
        ("192.0.3.1", "192.0.3.1", False),
        ("2001:db8::1", "2001:db8::1", True),
        ("2001:db9::1", "2001:db9::1", False),
        ("fe80::1%eth0", "fe80::1", True),
        (None, "", False),
    ],
)
def test_peers_are_looked_for_in_the_networks_by_their_one_form(
    peer: str | None, address: str, trusted: bool
) -> None:
    found = peer_address(asyncio.BaseTransport(extra={"peername": (peer, 4711) if peer else None}))
    assert found == address
    networks = [
        ipaddress.ip_network(each) for each in ("192.0.2.0/24", "2001:db8::/32", "fe80::/64")
    ]
    assert TrustedProxies(networks, ConnectionLimiter(1, 1)).trusts(found) == trusted


@pytest.mark.parametrize("beginning", [b"", b"PROXY TCP4 192.0.2.7 ", SIGNATURE])
async def test_a_header_that_comes_late_is_refused_when_its_time_is_up(beginning: bytes) -> None:
    async with opened(seconds=0.3) as port:
        before = counted("late")
        began = time.monotonic()
        reader, _ = await port.connect(beginning)
        await closed(reader)
        assert time.monotonic() - began > 0.25
        assert counted("late") == before + 1


async def test_a_trickle_does_not_win_time() -> None:
    async with opened(seconds=0.3) as port:
        reader, writer = await port.connect()
        sent = 0
        with suppress(ConnectionError):
            for octet in b"PROXY UNKNOWN " + b"x" * 80:
                writer.write(bytes([octet]))
                await writer.drain()
                sent += 1
                await asyncio.sleep(0.02)
                if reader.at_eof() or writer.is_closing():
                    break
        assert sent < 90, "it was closed before the last of them"
        await closed(reader)


async def test_whoever_looks_whether_the_port_is_open_is_counted_and_not_logged() -> None:
    async with opened() as port:
        before = counted("closed")
        with capture_logs() as logs:
            _, writer = await port.connect()
            await port.until(1)
            writer.close()
            await port.until(0)
        assert (counted("closed"), logs) == (before + 1, [])


async def test_the_limit_per_client_counts_whom_the_header_names() -> None:
    async with opened(per_address=2) as port:
        for _ in range(2):
            assert await port.greeting(TCP4) == b"192.0.2.7"
            assert await port.greeting(V2) == b"192.0.2.8"
        assert await port.greeting(TCP4) == b"address"
        assert await port.greeting(TCP6) == b"2001:db8::7"
        assert await port.greeting(TCP6.replace(b"::7", b"::8")) == b"2001:db8::8"
        assert await port.greeting(TCP6.replace(b"::7", b"::9")) == b"address"  # of one /64
        assert await port.greeting(TCP6.replace(b"2001:db8::7", b"::ffff:192.0.2.8")) == b"address"


async def test_the_limit_in_all_holds_at_accept() -> None:
    async with opened(total=2) as port:
        for _ in range(2):
            assert await port.greeting(TCP4) == b"192.0.2.7"
        before = counted("total")
        await closed((await port.connect(TCP4))[0])
        assert counted("total") == before + 1


async def test_connections_that_wait_for_their_header_hold_half_of_all_places_at_most() -> None:
    async with opened(total=6) as port:
        waiting = [await port.connect() for _ in range(3)]
        await port.until(3)
        before = counted("waiting")
        await closed((await port.connect())[0])
        assert counted("waiting") == before + 1
        for reader, writer in waiting:
            writer.write(TCP4)
            assert await line(reader) == b"192.0.2.7"
        assert await port.greeting(TCP4) == b"192.0.2.7"
        assert len(port.limiter) == 4


async def test_a_drain_does_not_wait_for_headers() -> None:
    async with opened() as port:
        reader, _ = await port.connect(b"PROXY ")
        await port.until(1)
        await asyncio.wait_for(port.limiter.drain(LONG_SECONDS), BUSY_SECONDS)
        await closed(reader)


def hello(trust: ssl.SSLContext) -> tuple[ssl.SSLObject, ssl.MemoryBIO, ssl.MemoryBIO]:
    """A client's side of TLS, which has written its hello."""
    into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trust.wrap_bio(into, out, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return client, into, out


@pytest.mark.parametrize("header", [TCP4, V2])
async def test_the_header_stands_before_tls_in_the_same_segment(
    trust: ssl.SSLContext, server_tls: ssl.SSLContext, header: bytes
) -> None:
    async with opened(tls=server_tls) as port:
        client, into, out = hello(trust)
        reader, writer = await port.connect(header + out.read())
        greeting = b""
        async with asyncio.timeout(BUSY_SECONDS):
            while not greeting.endswith(b"\n"):
                into.write(await reader.read(65536))
                with suppress(ssl.SSLWantReadError):
                    client.do_handshake()
                    writer.write(out.read())
                    greeting += client.read()
        assert greeting.rstrip() == (b"192.0.2.7" if header is TCP4 else b"192.0.2.8")


async def test_tls_without_a_header_and_a_header_within_tls_are_refused(
    trust: ssl.SSLContext, server_tls: ssl.SSLContext
) -> None:
    async with opened(tls=server_tls) as port:
        before = counted("missing")
        await closed((await port.connect(hello(trust)[2].read()))[0])
        assert counted("missing") == before + 1


async def test_handshakes_count_against_the_client_that_was_named(
    server_tls: ssl.SSLContext,
) -> None:
    async with opened(per_address=1, tls=server_tls) as port:
        await port.connect(TCP4)
        await port.until(1)
        await closed((await port.connect(TCP4))[0])
        await port.connect(V2)
        await port.until(2)


async def test_no_header_makes_the_server_raise() -> None:
    chance = random.Random(33)
    faults: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
    samples = [TCP4, TCP6, V2, LOCAL, b"PROXY UNKNOWN\r\n", b"", SIGNATURE, b"EHLO x\r\n"]

    def damaged() -> bytes:
        octets = bytearray(chance.choice(samples))
        for _ in range(chance.randrange(4)):
            at = chance.randrange(len(octets) + 1)
            octets[at : at + chance.randrange(3)] = chance.randbytes(chance.randrange(4))
        return bytes(
            octets[: chance.randrange(len(octets) + 1)] if chance.random() < 0.3 else octets
        )

    async with opened(seconds=0.15) as port:

        async def visit() -> None:
            reader, writer = await port.connect()
            with suppress(ConnectionError):
                octets = damaged()
                cut = chance.randrange(len(octets) + 1)
                writer.write(octets[:cut])
                await asyncio.sleep(0)
                writer.write(octets[cut:])
                if chance.random() < 0.5:
                    writer.write_eof()
                elif chance.random() < 0.3:
                    writer.transport.abort()
                await asyncio.wait_for(reader.read(1), BUSY_SECONDS)
            writer.transport.abort()

        with capture_logs() as logs:
            for _ in range(10):
                await asyncio.gather(*(visit() for _ in range(40)))
            await port.until(0)

        async def greets() -> bool:
            with suppress(ConnectionError):  # too late on a busy machine
                return await port.greeting(TCP4) == b"192.0.2.7"
            return False

        await until(greets)
    assert faults == []
    assert [entry for entry in logs if entry["log_level"] == "error"] == []
