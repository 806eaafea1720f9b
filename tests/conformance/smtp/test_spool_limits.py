"""Messages that use up the room for others, on real sockets: unfinished ones, slow ones, and
commands sent far ahead."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from posthorn_smtp_in.pace import Pace
from tests.conformance.smtp.env import MESSAGE, TO_ALICE, SmtpDialogue, SmtpEnv, smtp_env
from tests.conformance.smtp.test_crowded_listeners import talk_from
from tests.support.polling import BUSY_SECONDS

MIB = 1024**2
SMALL_ROOM: dict[str, Any] = {
    "smtp_memory_bytes": 2 * MIB,
    "smtp_spool_bytes": 8 * MIB,
    "smtp_message_max_bytes": 8 * MIB,
}
LINE = b"x" * 98 + b"\r\n"


def message(octets: int) -> bytes:
    return MESSAGE + LINE * (octets // len(LINE))


async def unfinished(env: SmtpEnv, host: str, octets: int) -> SmtpDialogue:
    """A message whose end does not come."""
    talk = await talk_from(env, host)
    await talk.begin()
    assert await talk.say(b"DATA\r\n") == "354"
    await talk.send(message(octets))
    return talk


async def sent(env: SmtpEnv, host: str, octets: int) -> str:
    talk = await talk_from(env, host)
    await talk.begin()
    return await talk.data(message(octets) + b".\r\n")


async def settled(env: SmtpEnv) -> None:
    """What was sent has been taken: the counters stand still."""
    assert env.listening is not None
    room, before = env.listening.spool_limits, (-1, -1)
    async with asyncio.timeout(BUSY_SECONDS):
        while before != (now := (room.memory.used, room.spool.used)):
            before = now
            await asyncio.sleep(0.2)


async def test_unfinished_messages_of_one_address_leave_room_for_others() -> None:
    async with smtp_env(**SMALL_ROOM) as env:
        hoard = [await unfinished(env, "127.0.0.2", 380_000) for _ in range(27)]
        await settled(env)
        assert env.listening is not None
        room = env.listening.spool_limits
        for where in (room.memory, room.spool):
            # half of it, and the message that may always go on
            assert where.used <= where.limit * 3 // 4
        for octets in (8_000, 200_000, 600_000):
            assert await sent(env, "127.0.0.3", octets) == "250 2.0.0"
        answers = [await talk.say(b".\r\n") for talk in hoard]
        assert "452 4.3.1" in answers and "250 2.0.0" in answers


async def test_when_all_is_taken_the_slowest_of_who_holds_more_gives_way() -> None:
    async with smtp_env(**SMALL_ROOM) as env:
        hoard = [await unfinished(env, f"127.0.0.{host}", 1_600_000) for host in range(2, 8)]
        await settled(env)
        for octets in (8_000, 200_000, 600_000, 1_000_000):
            assert await sent(env, "127.0.0.30", octets) == "250 2.0.0"
        answers = [await talk.say(b".\r\n") for talk in hoard]
        assert "452 4.3.1" in answers and "250 2.0.0" in answers
        assert len(env.kept()) == 4 + answers.count("250 2.0.0")


async def test_a_network_of_the_internet_holds_an_eighth_of_what_is_free() -> None:
    networks: dict[str, Any] = {
        "smtp_proxy_port": 0,
        "proxy_networks": "127.0.0.0/8",
        "smtp_sessions_per_address": 50,
    }
    async with smtp_env(**SMALL_ROOM, **networks) as env:
        assert env.listening is not None and env.listening.proxy_port is not None
        room = env.listening.spool_limits
        for number in range(12):
            talk = await talk_from(env, "127.0.0.2", env.listening.proxy_port)
            await talk.send(b"PROXY TCP4 8.8.4.%d 127.0.0.1 4000 25\r\n" % number)
            await talk.begin()
            assert await talk.say(b"DATA\r\n") == "354"
            await talk.send(message(380_000))
        await settled(env)
        assert room.spool.of("8.8.4.0/24") <= room.spool.limit // 8
        assert room.memory.of("8.8.4.0/24") <= room.memory.limit // 4  # its first message may go on


@pytest.mark.parametrize("way", ["data", "bdat", "between chunks", "after a burst"])
async def test_a_message_that_comes_too_slowly_is_ended(way: str) -> None:
    async with smtp_env(smtp_least_rate_seconds=1.0) as env:
        talk = await env.talk()
        await talk.begin()
        if way in ("data", "after a burst"):
            assert await talk.say(b"DATA\r\n") == "354"
        elif way == "bdat":
            await talk.send(b"BDAT 5000\r\n")
        if way == "after a burst":
            await talk.send(message(300_000))
        dripping = asyncio.create_task(
            _drip(talk, b"BDAT 1\r\nx" if way == "between chunks" else b"x")
        )
        while (said := await talk.code()) == "250 2.0.0":
            pass
        assert said == "421 4.4.2"
        dripping.cancel()
        assert not env.ingest.kept


async def _drip(talk: SmtpDialogue, octets: bytes) -> None:
    while True:
        await talk.send(octets)
        await asyncio.sleep(0.1)


def test_a_burst_earns_no_right_to_be_silent() -> None:
    pace = Pace(1000, 60)
    pace.note(waited=1, octets=50_000_000)
    assert pace.left == 60
    for _ in range(59):
        pace.note(waited=1, octets=1)
    assert 0 < pace.left < 2
    pace.note(waited=1, octets=1000)
    assert 0 < pace.left < 2, "at the least rate it may go on for ever"
    pace.note(waited=3, octets=100)
    assert pace.left < 0


async def test_who_sends_too_far_ahead_is_closed_and_what_was_kept_is_answered() -> None:
    async with smtp_env(smtp_input_bytes=100_000) as env:
        env.ingest.open.clear()
        talk = await env.talk()
        await talk.begin()
        assert await talk.say(b"DATA\r\n") == "354"
        await talk.send(MESSAGE + b".\r\n")
        async with asyncio.timeout(BUSY_SECONDS):
            while not env.ingest.tried:
                await asyncio.sleep(0.01)
        talk.writer.write(b"NOOP\r\n" * 200_000)
        assert env.listening is not None
        room = env.listening.spool_limits
        await asyncio.sleep(0.5)
        assert room.input.used <= 100_000
        other = await env.talk()
        await other.hello()
        await other.send(TO_ALICE)
        assert [await other.code(), await other.code()] == ["250 2.1.0", "250 2.1.5"]
        env.ingest.open.set()
        assert await talk.code() == "250 2.0.0"
        while (said := await talk.code()) == "250 2.0.0":
            pass
        assert said == "421 4.3.1"
        assert await other.data(MESSAGE + b".\r\n") == "250 2.0.0"
        await talk.close()
        await other.close()
        async with asyncio.timeout(BUSY_SECONDS):
            while room.input.used or room.unfinished:
                await asyncio.sleep(0.01)
