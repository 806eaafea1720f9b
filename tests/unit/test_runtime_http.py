"""HTTP servers before clients that break the protocol: refused by 400 or the end of the connection, and
no error of ours is logged."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator

import pytest

from posthorn.runtime.health import Health
from posthorn.runtime.http import bind, http_server
from tests.support.polling import BUSY_SECONDS

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
    assert [each.message for each in caplog.records if each.levelno >= logging.ERROR] == []


async def _answers(port: int, *pieces: bytes) -> bytes:
    """Send pieces, each once the one before is answered; return what comes until the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
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


async def test_a_body_that_becomes_malformed_after_its_answer_ends_the_connection(
    port: int,
) -> None:
    answers = await _answers(port, b"POST" + HEAD + CHUNKED, b"zz\r\n")
    assert answers.startswith(b"HTTP/1.1 200 ")
    assert answers.count(b"HTTP/1.1 ") == 1


async def test_the_client_is_who_has_connected_whatever_a_field_says() -> None:
    seen: list[str] = []

    async def answer(scope: dict[str, tuple[str, int]], _receive: object, send: object) -> None:
        seen.append(scope["client"][0])
        await Health()(scope, _receive, send)  # type: ignore[arg-type]

    async with http_server(answer, bind("127.0.0.1", 0, "POSTHORN_API_PORT"), grace=1) as port:
        fields = b"X-Forwarded-For: 192.0.2.1\r\nConnection: close\r\n\r\n"
        assert (await _answers(port, b"GET" + HEAD + fields)).startswith(b"HTTP/1.1 200 ")
    assert seen == ["127.0.0.1"]


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
