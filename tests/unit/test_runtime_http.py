"""HTTP servers before clients that break the protocol: refused by 400 or the end of the connection, and
nothing of ours or of uvicorn's is logged as a fault."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

from posthorn.model.networks import parse_network
from posthorn.runtime.health import Health
from posthorn.runtime.http import HttpLimits, bind, http_server
from tests.support.polling import BUSY_SECONDS
from tests.support.ports import needs_ipv6

HEAD = b" /healthz HTTP/1.1\r\nHost: posthorn\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
async def port(caplog: pytest.LogCaptureFixture) -> AsyncIterator[int]:
    """The port of a server. At the end nothing may have failed on our side."""
    faults: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
    with caplog.at_level(logging.WARNING):
        async with http_server(
            Health(), bind("127.0.0.1", 0, "POSTHORN_HEALTH_PORT"), grace=1
        ) as number:
            yield number
    assert not faults
    assert [each.message for each in caplog.records] == []


async def _answers(port: int, *pieces: bytes, to: str = "127.0.0.1") -> bytes:
    """Send pieces, each once the one before is answered; return what comes until the end."""
    reader, writer = await asyncio.open_connection(to, port)
    found = b""
    async with asyncio.timeout(BUSY_SECONDS):
        for place, piece in enumerate(pieces):
            if place:
                found += await reader.readuntil(b"}\n")
            writer.write(piece)
        while piece := await reader.read(65536):
            found += piece
    writer.close()
    return found


@pytest.mark.parametrize(
    "request_",
    [
        b"POST" + HEAD + b"Content-Length: 4\r\n" + CHUNKED + b"0\r\n\r\nGET" + HEAD + b"\r\n",
        b"POST" + HEAD + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
        b"POST" + HEAD + b"Transfer-Encoding: identity\r\n" + CHUNKED + b"0\r\n\r\n",
        b"POST" + HEAD + b"Content-Length : 4\r\n\r\nabcd",
        b"POST" + HEAD + CHUNKED + b"1\nA\r\n0\r\n\r\n",
        b"POST" + HEAD + CHUNKED + b"zz\r\n",
        b"CONNECT" + HEAD + b"\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
    ],
    ids=[
        *("two kinds of length", "two lengths", "two codings", "a space before a colon"),
        *("a line feed alone", "a bad chunk", "CONNECT", "TLS"),
    ],
)
async def test_what_a_proxy_may_read_otherwise_is_refused(port: int, request_: bytes) -> None:
    answers = await _answers(port, request_)
    assert answers.startswith(b"HTTP/1.1 400 "), answers
    assert answers.count(b"HTTP/1.1 ") == 1


async def test_a_malformed_request_is_logged_with_its_client(port: int) -> None:
    with capture_logs() as lines:
        await _answers(port, b"GET\r\n\r\n")
    assert lines == [
        {"event": "malformed request", "log_level": "info", "stranger": "127.0.0.1"},
    ]


async def test_an_upgrade_that_is_not_offered_is_passed_over(port: int) -> None:
    fields = b"Connection: close, upgrade\r\nUpgrade: websocket\r\n\r\n"
    assert (await _answers(port, b"GET" + HEAD + fields)).startswith(b"HTTP/1.1 200 ")


async def test_a_body_that_becomes_malformed_after_its_answer_ends_the_connection(
    port: int,
) -> None:
    answers = await _answers(port, b"POST" + HEAD + CHUNKED, b"zz\r\n")
    assert answers.startswith(b"HTTP/1.1 200 ")
    assert answers.count(b"HTTP/1.1 ") == 1


async def _client(
    proxies: Sequence[str], *fields: str, host: str = "127.0.0.1", to: str = "127.0.0.1"
) -> str:
    """Return who the application takes for the client of a request with these fields."""
    seen: list[str] = []

    async def answer(scope: dict[str, tuple[str, int]], _receive: object, send: object) -> None:
        seen.append(scope["client"][0])
        await Health()(scope, _receive, send)  # type: ignore[arg-type]

    limits = HttpLimits(connections_each=1, proxies=list(map(parse_network, proxies)))
    listener = bind(host, 0, "POSTHORN_API_PORT")
    lines = "".join(f"{field}\r\n" for field in fields).encode("latin-1")
    async with http_server(answer, listener, grace=1, limits=limits) as port:
        asked = b"GET" + HEAD + lines + b"Connection: close\r\n\r\n"
        assert (await _answers(port, asked, to=to)).startswith(b"HTTP/1.1 200 ")
    (client,) = seen
    return client


@pytest.mark.parametrize("proxies", [[], ["192.0.2.0/24"], ["127.0.0.2"]])
async def test_the_client_is_who_has_connected_whatever_a_field_says(proxies: list[str]) -> None:
    assert await _client(proxies, "X-Forwarded-For: 192.0.2.1") == "127.0.0.1"


@pytest.mark.parametrize(
    ("fields", "client"),
    [
        ([], "127.0.0.1"),
        (["192.0.2.1"], "192.0.2.1"),
        (["192.0.2.1:4711"], "192.0.2.1"),
        (["2001:DB8::1"], "2001:db8::1"),
        (["[2001:db8::1]:4711"], "2001:db8::1"),
        (["::ffff:192.0.2.1"], "192.0.2.1"),
        (["198.51.100.9, 192.0.2.1"], "192.0.2.1"),
        (["198.51.100.9", "192.0.2.1"], "192.0.2.1"),
        (["198.51.100.9, 192.0.2.1 , 10.1.2.3"], "192.0.2.1"),
        (["198.51.100.9, 192.0.2.1", "10.1.2.3:80, ::ffff:10.1.2.4"], "192.0.2.1"),
        (["10.1.2.3, 10.1.2.4"], "10.1.2.3"),
        (["192.0.2.1, unknown"], "127.0.0.1"),
        (["192.0.2.1, "], "127.0.0.1"),
        (["192.0.2.1, 192.0.2.999"], "127.0.0.1"),
        (["192.0.2.1, [2001:db8::1"], "2001:db8::1"),
        (["\xe9" * 100], "127.0.0.1"),
    ],
)
async def test_proxies_that_are_listed_name_the_client(fields: list[str], client: str) -> None:
    named = [f"X-Forwarded-For: {field}" for field in fields]
    assert await _client(["127.0.0.0/8", "10.0.0.0/8"], *named) == client


@pytest.mark.parametrize("to", ["127.0.0.1", pytest.param("::1", marks=needs_ipv6)])
async def test_all_addresses_are_those_of_ipv4_and_ipv6(to: str) -> None:
    assert await _client([], host="", to=to) == to
    assert await _client([to], "X-Forwarded-For: 192.0.2.1", host="", to=to) == "192.0.2.1"


async def test_without_ipv6_all_addresses_are_those_of_ipv4(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = socket.socket

    def without(family: int = socket.AF_INET, *rest: Any, **named: Any) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        return made(family, *rest, **named)

    with monkeypatch.context() as patched:
        patched.setattr(socket, "socket", without)
        listener = bind("", 0, "POSTHORN_API_PORT")
    with listener:
        assert listener.getsockname()[0] == "0.0.0.0"


def test_a_port_that_is_taken_on_any_address_is_named() -> None:
    with bind("", 0, "POSTHORN_API_PORT") as listener:
        listener.listen()
        port = listener.getsockname()[1]
        said = f"POSTHORN_API_PORT: cannot listen on all addresses, port {port}: Address already in use"
        with pytest.raises(SystemExit, match=said):
            bind("", port, "POSTHORN_API_PORT")


async def test_a_listed_proxy_may_have_any_number_of_connections() -> None:
    limits = HttpLimits(connections_each=1, connections=3)
    for proxies, most in (((), 1), ((parse_network("127.0.0.1"),), 3)):
        limits.proxies = proxies
        listener = bind("127.0.0.1", 0, "POSTHORN_API_PORT")
        async with http_server(Health(), listener, grace=1, limits=limits) as port:
            writers = []
            for number in range(most + 1):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writers.append(writer)
                writer.write(b"GET" + HEAD + b"\r\n")
                answer = await asyncio.wait_for(reader.readline(), BUSY_SECONDS)
                assert answer.split()[1] == (b"200" if number < most else b"503")
            for writer in writers:
                writer.close()


async def test_a_reply_in_two_pieces_does_not_wait_for_the_acknowledgement_of_the_first() -> None:
    loop = asyncio.get_running_loop()
    accepted: asyncio.Future[socket.socket] = loop.create_future()

    class Accepting(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            accepted.set_result(transport.get_extra_info("socket"))

    async with await loop.create_server(Accepting, sock=bind("127.0.0.1", 0, "test")) as server:
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        is_sent_at_once = (await accepted).getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        writer.close()
    assert is_sent_at_once
