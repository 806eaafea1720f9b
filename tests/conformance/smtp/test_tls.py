"""STARTTLS (RFC 3207): offered when there is a certificate, and nothing said before it counts."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from tests.conformance.smtp.env import EHLO, MESSAGE, TO_ALICE, SmtpDialogue, SmtpEnv, smtp_env
from tests.support.polling import BUSY_SECONDS, LONG_SECONDS


@pytest.fixture
async def env(server_tls: ssl.SSLContext) -> AsyncIterator[SmtpEnv]:
    async with smtp_env(server_tls) as made:
        yield made


async def secured(env: SmtpEnv, trust: ssl.SSLContext) -> SmtpDialogue:
    talk = await (await env.talk()).hello()
    assert await talk.say(b"STARTTLS\r\n") == "220 2.0.0"
    await talk.start_tls(trust)
    return talk


async def test_a_message_over_tls(env: SmtpEnv, trust: ssl.SSLContext) -> None:
    talk = await env.talk()
    assert await talk.code() == "220"
    await talk.send(EHLO)
    assert (await talk.reply())[-1] == "250 STARTTLS"
    assert await talk.say(b"STARTTLS\r\n") == "220 2.0.0"
    await talk.start_tls(trust)
    await talk.send(b"EHLO secure.example.org\r\n")
    assert not any("STARTTLS" in line for line in await talk.reply())
    assert await talk.say(b"STARTTLS\r\n") == "503 5.5.1"
    await talk.send(TO_ALICE)
    assert [await talk.code(), await talk.code()] == ["250 2.1.0", "250 2.1.5"]
    assert await talk.data(MESSAGE * 1000 + b".\r\n") == "250 2.0.0"
    envelope, octets = env.only()
    assert envelope.protocol == "ESMTPS"
    assert envelope.helo == "secure.example.org"
    assert b"\tby mx.example.test with ESMTPS\r\n\t(TLSv1.3 TLS_" in octets
    assert await talk.say(b"QUIT\r\n") == "221 2.0.0"
    assert await talk.ended()


async def test_what_was_pipelined_before_the_handshake_is_never_a_command(
    env: SmtpEnv, trust: ssl.SSLContext
) -> None:
    talk = await (await env.talk()).hello()
    await talk.send(b"STARTTLS\r\nMAIL FROM:<x@example.org>\r\nNOOP\r\n")
    assert await talk.code() == "220 2.0.0"
    await talk.start_tls(trust)
    assert await talk.say(EHLO) == "250"  # no answer to MAIL or NOOP came before it
    # and no transaction is open
    assert await talk.say(b"RCPT TO:<alice@example.test>\r\n") == "503 5.5.1"
    assert await talk.say(b"MAIL FROM:<a@example.org>\r\n") == "250 2.1.0"


async def test_the_handshake_begins_the_session_anew(env: SmtpEnv, trust: ssl.SSLContext) -> None:
    talk = await secured(env, trust)
    assert await talk.say(b"MAIL FROM:<a@example.org>\r\n") == "503 5.5.1"  # EHLO again


async def test_starttls_within_a_transaction_is_out_of_order(env: SmtpEnv) -> None:
    talk = await (await env.talk()).begin()
    assert await talk.say(b"STARTTLS\r\n") == "503 5.5.1"
    assert await talk.say(b"STARTTLS now\r\n") == "501 5.5.4"
    assert await talk.data(MESSAGE + b".\r\n") == "250 2.0.0"


@pytest.mark.parametrize(
    "hello", [b"EHLO this is no handshake\r\n", b"\x16\x03\x01\x00\x05hello", b"\0" * 500]
)
async def test_a_bad_handshake_just_closes(env: SmtpEnv, hello: bytes) -> None:
    talk = await (await env.talk()).hello()
    assert await talk.say(b"STARTTLS\r\n") == "220 2.0.0"
    await talk.send(hello)
    octets = b""
    with suppress(ConnectionError):
        octets = await asyncio.wait_for(talk.reader.read(), BUSY_SECONDS)  # a TLS alert may come
    assert octets[:1] in (b"", b"\x15")
    await env.nothing_is_left()


async def test_a_handshake_that_never_comes_is_given_up(server_tls: ssl.SSLContext) -> None:
    async with smtp_env(server_tls, smtp_handshake_seconds=0.2) as env:
        talk = await (await env.talk()).hello()
        assert await talk.say(b"STARTTLS\r\n") == "220 2.0.0"
        assert await talk.ended()
        await env.nothing_is_left()


async def test_limits_and_drain_hold_under_tls(
    server_tls: ssl.SSLContext, trust: ssl.SSLContext
) -> None:
    async with smtp_env(server_tls, smtp_command_seconds=2.0) as env:
        talk = await secured(env, trust)
        assert await talk.code() == "421 4.4.2"
        assert await talk.ended()
    async with smtp_env(server_tls) as env:
        talk = await secured(env, trust)
        assert await talk.say(EHLO) == "250"
        assert env.listening is not None
        draining = asyncio.create_task(env.listening.limiter.drain(LONG_SECONDS))
        assert await talk.code() == "421 4.3.2"
        assert await talk.ended()
        await asyncio.wait_for(draining, BUSY_SECONDS)


async def test_a_client_that_leaves_without_a_word(env: SmtpEnv, trust: ssl.SSLContext) -> None:
    talk = await secured(env, trust)
    talk.writer.transport.abort()
    await env.nothing_is_left()
    half = await (await env.talk()).hello()
    assert await half.say(b"STARTTLS\r\n") == "220 2.0.0"
    half.writer.transport.abort()
    await env.nothing_is_left()
