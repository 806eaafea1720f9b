"""Hosts that are slow in every way that no time limit of a single reply sees."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace

import pytest

from posthorn_relay.smtp import time_limits
from posthorn_relay.smtp.types import Accepted, Failed, SmtpResult
from tests.conformance.relay.client_env import (
    QUICK,
    connector,
    failure_of,
    post,
    remote,
    transaction,
    without,
)
from tests.support.polling import BUSY_SECONDS, repeated_when_late
from tests.support.scripted_smtp import ScriptedSmtp

LARGE = [(b"x" * 998 + b"\r\n") * 1000] * 60
PROMPT = {**QUICK, "relay_least_rate": 1e9}


@dataclass(slots=True)
class Slow(ScriptedSmtp):
    """Takes its time for each of these verbs' replies."""

    verbs_: Sequence[str] = ()
    seconds: float = 0.3

    async def _do(self, verb: str, writer: asyncio.StreamWriter) -> bytes | None:
        if verb in self.verbs_:
            await asyncio.sleep(self.seconds)
        return await ScriptedSmtp._do(self, verb, writer)


@dataclass
class Dripping(ScriptedSmtp):
    """Reads the content in sips, never pausing for long."""

    sips: int = 0

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        await ScriptedSmtp._talk(self, reader, writer)

    async def _do(self, verb: str, writer: asyncio.StreamWriter) -> bytes | None:
        said = await ScriptedSmtp._do(self, verb, writer)
        if verb in ("DATA", "BDAT"):
            while await self._reader.read(65536):
                await asyncio.sleep(0.005)
                self.sips += 1
        return said


async def timed(server: ScriptedSmtp, **settings: float) -> tuple[SmtpResult, float]:
    connection = await connector(**{**PROMPT, **settings}).connect(remote(server.port))
    began = time.monotonic()
    async with asyncio.timeout(BUSY_SECONDS):
        (result,) = await connection.send(transaction(content=LARGE))
    took = time.monotonic() - began
    assert not connection.usable
    await connection.close()
    return result, took


@pytest.mark.parametrize("keyword", [b"CHUNKING", b"nothing"])
@repeated_when_late(0.3)
async def test_a_host_that_takes_the_content_in_sips_is_cut_off(keyword: bytes) -> None:
    async with Dripping({"EHLO": without(keyword, b"SIZE")}) as server:
        result, _ = await timed(server, **dict.fromkeys(QUICK, 2.0))
    assert failure_of(result) == ("data", 0, "4.4.2", False)
    assert isinstance(result, Failed)
    assert "too slow" in result.reply
    assert server.sips > 2


@repeated_when_late(0.3)
async def test_the_bound_grows_with_the_size() -> None:
    async with Dripping({"EHLO": without(b"CHUNKING", b"SIZE")}) as server:
        result, took = await timed(server, relay_least_rate=sum(map(len, LARGE)))  # a second more
    assert failure_of(result) == ("data", 0, "4.4.2", False)
    assert took > 1.8


@pytest.mark.parametrize("keyword", [b"PIPELINING", b"nothing"])
@repeated_when_late(0.3)
async def test_many_slow_recipients_have_a_bound_in_common(
    keyword: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time_limits, "_RECIPIENT_SECONDS", 0.01)
    async with Slow({"EHLO": without(keyword)}, verbs_=("RCPT",)) as server:
        patient = {**QUICK, "relay_greeting_seconds": 1.0}
        connection = await connector(**patient).connect(remote(server.port))
        began = time.monotonic()
        results = await connection.send(transaction(*(f"{number}@y.test" for number in range(20))))
        took = time.monotonic() - began
        await connection.close()
    assert took > 1
    assert {failure_of(result) for result in results} == {("rcpt", 0, "4.4.2", False)}


@repeated_when_late(0.3)
async def test_chunks_that_are_answered_late_one_by_one_have_a_bound_in_common() -> None:
    async with Slow({"EHLO": without(b"SIZE")}, verbs_=("BDAT",)) as server:
        connection = await connector(**PROMPT).connect(remote(server.port))
        (result,) = await connection.send(transaction(content=[(b"x" * 998 + b"\r\n") * 70] * 15))
        await connection.close()
    assert failure_of(result) in (("data", 0, "4.4.2", False), ("end", 0, "4.4.2", False))


@pytest.mark.parametrize("keyword", [b"CHUNKING", b"nothing"])
@repeated_when_late(0.2)
async def test_after_the_end_of_data_the_host_has_all_its_time(keyword: bytes) -> None:
    settings = {**PROMPT, "relay_block_seconds": 0.5, "relay_end_seconds": BUSY_SECONDS}
    async with Slow({"EHLO": without(keyword)}, verbs_=("END",), seconds=0.7) as server:
        (result,) = await post(server, transaction(dots=True), **settings)
    assert isinstance(result, Accepted)


@pytest.mark.parametrize("keyword", [b"CHUNKING", b"nothing"])
@repeated_when_late(0.2)
async def test_a_slow_store_of_ours_is_not_the_hosts_fault(keyword: bytes) -> None:
    lines = (b"x" * 998 + b"\r\n") * 70

    async def give() -> AsyncGenerator[bytes]:
        for _ in range(3):
            yield lines
            await asyncio.sleep(0.6)

    async with ScriptedSmtp({"EHLO": without(keyword)}) as server:
        (result,) = await post(
            server,
            replace(transaction(), content=give, size=210_000),
            **{**PROMPT, "relay_end_seconds": BUSY_SECONDS},
        )
    assert isinstance(result, Accepted)
    assert b"".join(server.contents) == lines * 3


@repeated_when_late(0.2)
async def test_the_time_of_one_transaction_is_not_that_of_the_next() -> None:
    async with ScriptedSmtp() as server:
        connection = await connector(**PROMPT).connect(remote(server.port))
        for _ in range(4):
            assert isinstance((await connection.send(transaction()))[0], Accepted)
            await asyncio.sleep(0.6)
        assert connection.usable
        await connection.close()
