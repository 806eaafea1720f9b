"""Clients that misbehave: banned, early, hasty and harvesting ones are sent away or held back
before they cost anything; our own side never is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from tests.conformance.smtp.env import BALANCED, EHLO, MESSAGE, SmtpDialogue, SmtpEnv, smtp_env
from tests.support.polling import BUSY_SECONDS, LONG_SECONDS, until

CLIENT = "192.0.2.7"


@pytest.fixture
async def env() -> AsyncIterator[SmtpEnv]:
    async with smtp_env(smtp_scan=True, **BALANCED) as made:
        yield made


async def refused(talk: SmtpDialogue, code: str) -> str:
    """The one reply that a client is sent, before the connection ends."""
    (line,) = await talk.reply()
    assert line.startswith(f"{code} "), line
    assert await talk.ended()
    return line


@pytest.mark.parametrize("client", ["192.0.2.7", "::ffff:192.0.2.7"])
async def test_a_banned_client_is_refused_at_once_and_for_now(env: SmtpEnv, client: str) -> None:
    env.bans.banned.add("192.0.2.7")
    line = await refused(await env.stranger(client), "421 4.7.1")
    assert "errors or unknown recipients" in line
    assert not env.scanner.senders and not env.scanner.reports
    await (await env.stranger("192.0.2.8")).begin()


async def test_our_own_side_is_never_banned(env: SmtpEnv) -> None:
    env.bans.banned |= {"127.0.0.1", "10.0.0.7"}
    await (await env.talk()).begin()
    await (await env.stranger("10.0.0.7")).begin()
    assert not env.scanner.reports


@pytest.mark.parametrize(
    "octets", [EHLO, b"\x16\x03\x01\x02\x00", b"SSH-2.0-x\r\n", b"x"], ids=["", "TLS", "SSH", "x"]
)
async def test_who_speaks_before_the_greeting_is_refused(octets: bytes) -> None:
    async with smtp_env(smtp_greeting_delay_seconds=10, smtp_scan=True, **BALANCED) as env:
        patient = await env.stranger("192.0.2.8")
        talk = await env.stranger()
        await talk.send(octets)
        await refused(talk, "554 5.5.1")
        assert not patient.reader._buffer, "who came before and waits is not greeted yet"  # type: ignore[attr-defined]
        assert (CLIENT, "protocol") in env.scanner.reports


async def test_who_waits_for_the_greeting_is_welcome_and_our_own_side_need_not() -> None:
    async with smtp_env(smtp_greeting_delay_seconds=0.3, **BALANCED) as env:
        began = time.monotonic()
        await (await env.stranger()).begin()
        assert time.monotonic() - began > 0.25
        early = await env.talk()
        await early.send(EHLO)
        assert [await early.code(), await early.code()] == ["220", "250"]
        gone = await env.stranger()
        gone.writer.transport.abort()


async def test_a_drain_does_not_wait_for_a_greeting() -> None:
    async with smtp_env(smtp_greeting_delay_seconds=10, **BALANCED) as env:
        talk = await env.stranger()
        assert env.listening is not None
        limiter = env.listening.limiter
        await until(lambda: limiter._by_address[CLIENT], what="the header's being read")
        async with asyncio.timeout(BUSY_SECONDS):
            await limiter.drain(LONG_SECONDS)
        assert await talk.code() == "421 4.3.2"


@pytest.mark.parametrize("hello", [EHLO, b"HELO client.example.org\r\n"])
async def test_who_pipelines_before_the_reply_to_the_first_hello_is_refused(
    env: SmtpEnv, hello: bytes
) -> None:
    talk = await env.stranger()
    assert await talk.code() == "220"
    await talk.send(hello + b"MAIL FROM:<a@example.org>\r\n")
    await refused(talk, "554 5.5.1")
    assert not env.scanner.senders
    assert (CLIENT, "protocol") in env.scanner.reports


async def test_who_knows_already_may_pipeline_with_ehlo(env: SmtpEnv) -> None:
    talk = await (await env.stranger()).hello()
    await talk.send(EHLO + b"MAIL FROM:<a@example.org>\r\n")
    assert [await talk.code(), await talk.code()] == ["250", "250 2.1.0"]


@pytest.mark.parametrize(
    "octets",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"SSH-2.0-OpenSSH_9.9\r\nHELO x\r\n",
        b"POST / HTTP/1.1\r\nHost: mx\r\n\r\nEHLO x\r\nMAIL FROM:<>\r\n",
    ],
    ids=["TLS", "SSH", "HTTP"],
)
async def test_another_protocol_ends_the_session(env: SmtpEnv, octets: bytes) -> None:
    for talk in (await env.talk(), await env.stranger()):
        assert await talk.code() == "220"
        await talk.send(octets)
        await refused(talk, "421 4.7.0")
    assert (CLIENT, "protocol") in env.scanner.reports


async def test_what_strangers_do_is_reported(env: SmtpEnv) -> None:
    talk = await (await env.stranger()).hello()
    await talk.say(b"MAIL FROM:<a@example.org>\r\n")
    assert await talk.say(b"RCPT TO:<nobody@example.test>\r\n") == "550 5.1.1"
    assert await talk.say(b"RCPT TO:<a@elsewhere.example>\r\n") == "550 5.7.1"
    assert await talk.say(b"VERB\r\n") == "500 5.5.2"
    assert env.scanner.reports == [
        (CLIENT, "connection"),
        (CLIENT, "unknown-recipient"),
        (CLIENT, "protocol"),
    ]


async def test_a_process_bans_by_its_own_count_and_pardons_by_good_mail() -> None:
    async with smtp_env(smtp_ban_faults=3, **BALANCED) as env:
        talk = await (await env.stranger()).hello()
        unknown = b"RCPT TO:<nobody@example.test>\r\n"
        for _ in range(3):
            await talk.say(b"MAIL FROM:<a@example.org>\r\n")
            assert await talk.say(unknown) == "550 5.1.1"
            assert await talk.say(b"RCPT TO:<alice@example.test>\r\n") == "250 2.1.5"
            assert await talk.data(MESSAGE + b".\r\n") == "250 2.0.0"
        await talk.say(b"MAIL FROM:<a@example.org>\r\n")
        for _ in range(3):
            await (await env.stranger()).hello()
            assert await talk.say(unknown) == "550 5.1.1"
        await refused(await env.stranger(), "421 4.7.1")
        # the session goes on, and so does everybody else
        assert await talk.say(b"NOOP\r\n") == "250 2.0.0"
        await (await env.stranger("192.0.2.8")).begin()


async def test_harvesters_are_held_back_and_others_are_not() -> None:
    async with smtp_env(smtp_tarpit_seconds=0.3, **BALANCED) as env:
        for talk, least in ((await env.stranger(), 0.55), (await env.talk(), 0.0)):
            await talk.hello()
            await talk.say(b"MAIL FROM:<a@example.org>\r\n")
            began = time.monotonic()
            for _ in range(5):
                assert await talk.say(b"RCPT TO:<nobody@example.test>\r\n") == "550 5.1.1"
            assert time.monotonic() - began >= least
            assert await talk.say(b"RCPT TO:<alice@example.test>\r\n") == "250 2.1.5"
