"""Engines that answer what no engine may, over sockets: none of it is a judgement, and none of it
grows in memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime

import pytest
from prometheus_client import REGISTRY

from posthorn.model.verdict import EngineState
from posthorn.ports.scan import MessageQuestion
from posthorn_scan.engines.clamav import ClamAv
from posthorn_scan.engines.engine import ConfiguredEngine, EngineClient
from posthorn_scan.engines.rspamd import Rspamd
from tests.support.polling import LONG_SECONDS

MESSAGE = b"From: a@b.test\r\n\r\n" + b"x" * 3_000_000
QUESTION = MessageQuestion("id", "192.0.2.1", "helo", "a@b.test", ("c@d.test",), 1.0, "mx")
_GIVEN_BYTES = 64 * 1024**2
"""Much more than a client may read."""

type Says = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def lying(says: Says) -> AsyncIterator[tuple[str, list[int]]]:
    """Run a server; yield its address and the bytes it could give to each client."""
    given: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            await says(reader, writer)
        given.append(getattr(writer, "given", 0))
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield "{}:{}".format(*server.sockets[0].getsockname()), given
    finally:
        server.close()
        await server.wait_closed()


def after(answer: bytes) -> Says:
    """Answer so when the question has begun, and close."""

    async def says(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(answer)
        await writer.drain()

    return says


def endless(start: bytes) -> Says:
    """Answer so, and then go on and on."""

    async def says(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(start)
        given = 0
        while given < _GIVEN_BYTES:
            writer.given = given  # type: ignore[attr-defined]
            writer.write(b" " * 65_536)
            given += 65_536
            await writer.drain()

    return says


_OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize("is_endless", [False, True])
@pytest.mark.parametrize(
    ("engine", "answer"),
    [
        ("clamav", b""),
        ("clamav", b"\0"),
        ("clamav", b"220 mail.test ESMTP\r\n"),
        ("clamav", b"stream: "),
        ("rspamd", b""),
        ("rspamd", b"stream: OK\0"),
        ("rspamd", _OK + b"Content-Length: -1\r\n\r\n"),
        ("rspamd", _OK + b"Content-Length: 99999999999\r\n\r\n{"),
        ("rspamd", _OK + b'Content-Length: 40\r\n\r\n{"symbols": {'),
        (
            "rspamd",
            b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\nContent-Length: 0\r\n\r\n",
        ),
        ("rspamd", b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"),
        ("rspamd", b"HTTP/1.1 200 OK\r\nX: "),
    ],
)
async def test_an_engine_that_lies_has_judged_nothing(
    engine: str, answer: bytes, *, is_endless: bool
) -> None:
    async with lying((endless if is_endless else after)(answer)) as (address, given):
        client: EngineClient = (
            ClamAv(address) if engine == "clamav" else Rspamd(f"http://{address}")
        )
        asked = ConfiguredEngine(client, seconds=60, max_bytes=10**7, away="hold")
        for _ in range(2):
            found = await asked.scan(MESSAGE, QUESTION, client_name="")
            assert found.engine.state is EngineState.DOWN, found.engine
            assert (found.away, found.findings.rules, found.findings.virus) == ("hold", (), "")
            assert found.engine.detail.isprintable()
        if isinstance(client, Rspamd):
            await client.close()
    assert len(given) >= 2 and max(given) < _GIVEN_BYTES // 2


async def test_rspamds_own_limit_is_too_large_and_not_away() -> None:
    says = after(b"HTTP/1.1 413 Too large\r\nContent-Length: 0\r\n\r\n")
    async with lying(says) as (address, _):
        client = Rspamd(f"http://{address}")
        asked = ConfiguredEngine(client, seconds=60, max_bytes=10**7, away="hold")
        found = await asked.scan(b"small", QUESTION, client_name="")
        assert (found.engine.state, found.away) == (EngineState.TOO_LARGE, None)
        await client.close()


async def test_the_age_of_signatures_is_a_metric() -> None:
    """PosthornSignaturesOld goes by it."""
    async with lying(after(b"ClamAV 1.4.3/27500/Mon Jan  5 09:30:00 2026\0")) as (address, _):
        engine = ConfiguredEngine(ClamAv(address), seconds=60, max_bytes=10**7, away="hold")
        await engine.look()
    assert engine.is_up and engine.detail.startswith("ClamAV 1.4.3/27500/")
    made = datetime(2026, 1, 5, 9, 30, tzinfo=UTC).timestamp()
    age = REGISTRY.get_sample_value("posthorn_scan_clamav_signatures_age_seconds")
    assert age is not None and abs(time.time() - made - age) < LONG_SECONDS
