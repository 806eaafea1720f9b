"""Time, numbers, and the end: limits that hold whatever clients do, and a drain that loses
nothing."""

from __future__ import annotations

import asyncio
import socket
import struct
import time

import pytest
from prometheus_client import REGISTRY

from posthorn_smtp_in.composition import Backends, build_mx
from posthorn_smtp_in.server import serving
from tests.conformance.smtp.env import (
    EHLO,
    MESSAGE,
    ScriptedBlobs,
    ScriptedDirectory,
    ScriptedIngest,
    SmtpDialogue,
    SmtpEnv,
    settings_of,
    smtp_env,
)
from tests.support.polling import BUSY_SECONDS, LONG_SECONDS, repeated_when_late


def refused(reason: str) -> float:
    return REGISTRY.get_sample_value("posthorn_smtp_in_refused_total", {"reason": reason}) or 0.0


async def test_a_client_that_says_nothing_is_told_that_time_is_up() -> None:
    async with smtp_env(smtp_command_seconds=0.15) as env:
        began = time.monotonic()
        silent = await env.talk()
        assert await silent.code() == "220"
        assert await silent.code() == "421 4.4.2"
        assert time.monotonic() - began > 0.1
        assert await silent.ended()


@repeated_when_late(0.5)
async def test_each_command_begins_the_time_anew() -> None:
    async with smtp_env(smtp_command_seconds=1.0) as env:
        talk = await (await env.talk()).hello()
        began = time.monotonic()
        while time.monotonic() - began < 1.5:
            assert await talk.say(b"NOOP\r\n") == "250 2.0.0"
            await asyncio.sleep(0.1)


async def test_a_session_has_an_end_whatever_is_sent() -> None:
    async with smtp_env(smtp_command_seconds=LONG_SECONDS, smtp_session_seconds=3.0) as env:
        began = time.monotonic()
        talk = await (await env.talk()).hello()
        async with asyncio.timeout(BUSY_SECONDS):
            while (code := await talk.say(b"NOOP\r\n")) == "250 2.0.0":
                await asyncio.sleep(0.05)
        assert code == "421 4.4.2"
        assert time.monotonic() - began > 2.5
        assert await talk.ended()


async def test_a_message_that_stops_is_given_up() -> None:
    async with smtp_env(smtp_data_seconds=0.15) as env:
        talk = await (await env.talk()).begin()
        assert await talk.say(b"DATA\r\n") == "354"
        assert await talk.say(MESSAGE) == "421 4.4.2"
        assert await talk.ended()
        chunks = await (await env.talk()).begin()
        assert await chunks.say(b"BDAT 100 LAST\r\nonly some") == "421 4.4.2"
        await env.nothing_is_left()
        assert not env.ingest.tried


async def test_a_trickle_of_data_is_bounded_by_the_session() -> None:
    async with smtp_env(smtp_data_seconds=LONG_SECONDS, smtp_session_seconds=3.0) as env:
        talk = await (await env.talk()).begin()
        assert await talk.say(b"DATA\r\n") == "354"
        began = time.monotonic()
        answer = asyncio.create_task(talk.code())
        while not answer.done() and time.monotonic() - began < BUSY_SECONDS:
            await talk.send(b"x")
            await asyncio.sleep(0.05)
        assert await answer == "421 4.4.2"
        assert not env.ingest.tried


@repeated_when_late(1.0)
async def test_the_end_of_a_session_s_time_waits_for_a_message_that_is_complete() -> None:
    async with smtp_env(smtp_session_seconds=4.0) as env:
        began = time.monotonic()
        env.ingest.open.clear()
        talk = await (await env.talk()).begin()
        assert await talk.say(b"DATA\r\n") == "354"
        await talk.send(MESSAGE + b".\r\n")
        await asyncio.sleep(began + 4.3 - time.monotonic())
        env.ingest.open.set()
        assert [await talk.code(), await talk.code()] == ["250 2.0.0", "421 4.4.2"]
        assert len(env.kept()) == 1


async def test_a_client_that_takes_no_replies_is_cut_and_holds_little() -> None:
    async with smtp_env(smtp_command_seconds=0.4) as env:
        deaf = socket.socket()
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(deaf, ("127.0.0.1", env.port))
        sent = 0
        began = time.monotonic()
        try:
            while time.monotonic() - began < BUSY_SECONDS:
                async with asyncio.timeout(3):
                    await loop.sock_sendall(deaf, b"HELP\r\n" * 1000)
                sent += 6000
        except (ConnectionError, TimeoutError):
            pass
        finally:
            deaf.close()
        assert time.monotonic() - began < BUSY_SECONDS, "it was read for ever"
        await env.nothing_is_left()


async def test_one_address_has_a_limit_and_is_told_so() -> None:
    async with smtp_env(smtp_sessions_per_address=2) as env:
        before = refused("too-many-connections")
        first, second = await env.talk(), await env.talk()
        assert [await first.code(), await second.code()] == ["220", "220"]
        third = await env.talk()
        assert await third.code() == "421 4.7.0"
        assert await third.ended()
        assert refused("too-many-connections") == before + 1
        assert await first.say(b"QUIT\r\n") == "221 2.0.0"
        assert await first.ended()
        async with asyncio.timeout(BUSY_SECONDS):
            while await (await env.talk()).code() != "220":
                await asyncio.sleep(0.01)


async def test_the_process_has_a_limit() -> None:
    async with smtp_env(smtp_sessions=1) as env:
        assert await (await env.talk()).code() == "220"
        refused_one = await env.talk()
        assert await refused_one.code() == "421 4.7.0"
        assert await refused_one.ended()


async def drain(env: SmtpEnv) -> asyncio.Task[None]:
    assert env.listening is not None
    task = asyncio.create_task(env.listening.limiter.drain(LONG_SECONDS))
    await asyncio.sleep(0)
    return task


async def test_a_drain_ends_idle_sessions_at_once_and_refuses_new_ones() -> None:
    async with smtp_env() as env:
        fresh, midway = await (await env.talk()).hello(), await (await env.talk()).begin()
        draining = await drain(env)
        assert [await fresh.code(), await midway.code()] == ["421 4.3.2", "421 4.3.2"]
        assert await fresh.ended() and await midway.ended()
        late = await env.talk()
        assert await late.code() == "421 4.3.2"
        await asyncio.wait_for(draining, BUSY_SECONDS)


async def test_a_drain_waits_for_a_message_that_is_coming_in() -> None:
    async with smtp_env() as env:
        data, chunks = await (await env.talk()).begin(), await (await env.talk()).begin()
        assert await data.say(b"DATA\r\n") == "354"
        await data.send(b"Subject: x\r\n")
        assert await chunks.say(b"BDAT 6\r\nA: b\r\n") == "250 2.0.0"
        draining = await drain(env)
        await asyncio.sleep(0.1)
        assert not draining.done()
        await data.send(b"\r\ntext\r\n.\r\n")
        assert [await data.code(), await data.code()] == ["250 2.0.0", "421 4.3.2"]
        assert await chunks.say(b"BDAT 2 LAST\r\n\r\n") == "250 2.0.0"
        assert await chunks.code() == "421 4.3.2"
        await asyncio.wait_for(draining, BUSY_SECONDS)
        assert len(env.kept()) == 2


async def test_a_drain_waits_for_the_promise_but_not_for_ever() -> None:
    async with smtp_env() as env:
        env.ingest.open.clear()
        talk = await (await env.talk()).begin()
        assert await talk.say(b"DATA\r\n") == "354"
        await talk.send(MESSAGE + b".\r\n")
        async with asyncio.timeout(BUSY_SECONDS):
            while not env.ingest.tried:
                await asyncio.sleep(0.001)
        assert env.listening is not None
        await asyncio.wait_for(env.listening.limiter.drain(0.3), BUSY_SECONDS)
        assert await talk.code() == "421 4.3.2"  # never a 250 that nobody promised
        assert not env.ingest.kept


async def test_leaving_the_server_ends_sessions_that_are_idle() -> None:
    began = time.monotonic()
    async with serving(
        build_mx(
            settings_of(), Backends(ScriptedDirectory(), ScriptedIngest(), ScriptedBlobs()), None
        ),
        grace=LONG_SECONDS,
    ) as listening:
        talk = SmtpDialogue(*await asyncio.open_connection("127.0.0.1", listening.port))
        await talk.hello()
    assert time.monotonic() - began < BUSY_SECONDS
    assert await talk.code() == "421 4.3.2"
    assert await talk.ended()
    await talk.close()


async def test_sessions_come_and_go_without_a_trace() -> None:
    async with smtp_env(smtp_sessions_per_address=30) as env:
        gauge = REGISTRY.get_sample_value("posthorn_smtp_in_sessions")
        for _ in range(20):
            for octets in (
                b"",
                EHLO,
                EHLO + b"QUIT\r\n",
                EHLO + b"MAIL FROM:<>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\nx",
            ):
                talk = SmtpDialogue(*await asyncio.open_connection("127.0.0.1", env.port))
                await talk.send(octets)
                talk.writer.transport.abort()
        await env.nothing_is_left()
        assert REGISTRY.get_sample_value("posthorn_smtp_in_sessions") == gauge


async def test_a_client_that_resets_after_the_last_word_is_no_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with smtp_env(smtp_command_seconds=0.1) as env:
        talk = await env.talk()
        assert [await talk.code(), await talk.code()] == ["220", "421 4.4.2"]
        endpoint: socket.socket = talk.writer.get_extra_info("socket")
        endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        talk.writer.transport.abort()
        await env.nothing_is_left()
    said = capsys.readouterr().out
    assert "timed-out" in said
    assert "session failed" not in said
