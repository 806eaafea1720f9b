"""Few clients that take all places, on real sockets: others still come in, and sessions that do
something stay."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.pop3.dialogue import Client, pop3_server
from tests.conformance.smtp.env import EHLO, MESSAGE, SmtpDialogue, SmtpEnv, smtp_env
from tests.conformance.submission.env import (
    FROM_ALICE,
    Certificates,
    SubmissionEnv,
    plain,
    submission_env,
)
from tests.conformance.twins import PASSWORD, MemoryMailStore, hash_of_password
from tests.support.polling import BUSY_SECONDS, repeated_when_late

GAVE_WAY = "421 4.7.0"
PLACES: dict[str, Any] = {"smtp_sessions": 20, "smtp_sessions_per_address": 5}


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("tls"))


async def talk_from(
    env: SmtpEnv, host: str, port: int | None = None, **options: Any
) -> SmtpDialogue:
    """A connection from an address of this host."""
    streams = await asyncio.open_connection(
        "127.0.0.1", port or env.port, local_addr=(host, 0), **options
    )
    env.talks.append(SmtpDialogue(*streams))
    return env.talks[-1]


async def crowd(env: SmtpEnv) -> list[SmtpDialogue]:
    """All places taken by four addresses that say nothing."""
    talks = [await talk_from(env, f"127.0.0.{host}") for host in (2, 3, 4, 5) for _ in range(5)]
    for talk in talks:
        assert await talk.code() == "220"
    assert env.listening is not None and len(env.listening.limiter) == 20
    return talks


async def test_a_few_addresses_that_hold_all_places_keep_nobody_out() -> None:
    async with smtp_env(**PLACES) as env:
        silent = await crowd(env)
        for number in range(8):
            newcomer = await talk_from(env, f"127.0.0.{number + 10}")
            await newcomer.begin()
            assert await newcomer.data(MESSAGE + b".\r\n") == "250 2.0.0"
        assert len(env.ingest.kept) == 8
        assert await silent[0].code() == GAVE_WAY
        assert await silent[0].ended()
        assert await (await talk_from(env, "127.0.0.2")).code() == "220", (
            "within its share it comes in again"
        )


async def test_who_is_in_a_transaction_is_not_driven_out() -> None:
    async with smtp_env(**PLACES) as env:
        talks = await crowd(env)
        for talk in talks[:19]:
            await talk.send(EHLO + b"MAIL FROM:<a@example.org>\r\n")
            assert [await talk.code(), await talk.code()] == ["250", "250 2.1.0"]
        await (await talk_from(env, "127.0.0.9")).begin()
        assert await talks[19].code() == GAVE_WAY
        assert await (await talk_from(env, "127.0.0.10")).code() == "421 4.7.0"
        assert await talks[0].say(b"RCPT TO:<alice@example.test>\r\n") == "250 2.1.5"
        assert await talks[0].data(MESSAGE + b".\r\n") == "250 2.0.0"
        assert await (await talk_from(env, "127.0.0.10")).code() == "220", (
            "between transactions it waits again"
        )


@repeated_when_late(0.2)
async def test_under_stress_silence_ends_soon_before_and_within_a_transaction() -> None:
    async with smtp_env(smtp_sessions=5, smtp_stress_seconds=1.0) as env:
        begun, silent, sending = [await env.talk() for _ in range(3)]
        await begun.begin()
        assert await silent.code() == "220"
        await sending.begin()
        assert await sending.say(b"DATA\r\n") == "354"
        await asyncio.sleep(1.2)
        assert await begun.say(b"NOOP\r\n") == "250 2.0.0", "there was no stress"
        last = [await env.talk() for _ in range(2)]
        assert await silent.code() == GAVE_WAY
        await asyncio.sleep(0.2)
        last.append(await env.talk())
        assert await begun.code() == GAVE_WAY
        assert await sending.say(MESSAGE + b".\r\n") == "250 2.0.0"


async def test_who_stalls_a_handshake_gives_way(certificates: Certificates) -> None:
    async with smtp_env(certificates.server, smtp_sessions=4, smtp_sessions_per_address=2) as env:
        stalled = [await talk_from(env, f"127.0.0.{host}") for host in (2, 2, 3, 3)]
        for talk in stalled:
            await talk.hello()
            assert await talk.say(b"STARTTLS\r\n") == "220 2.0.0"
        for host in (10, 11):
            await (await talk_from(env, f"127.0.0.{host}")).hello()
        assert await stalled[0].ended()


@pytest.fixture
async def submission(database_url: str, certificates: Certificates) -> AsyncIterator[SubmissionEnv]:
    limits: dict[str, Any] = {
        "smtp_sessions": 8,
        "smtp_sessions_per_address": 4,
        "submission_sessions_per_account": 2,
    }
    async with submission_env(database_url, certificates, **limits) as made:
        yield made


async def test_submission_is_open_to_people_while_strangers_hold_all_places(
    submission: SubmissionEnv,
) -> None:
    stalled = [
        await talk_from(submission, f"127.0.0.{host}", submission.tls_port) for host in (2, 2, 2, 2)
    ]
    silent = [await talk_from(submission, f"127.0.0.{host}") for host in (3, 3, 3, 3)]
    talk = await submission.known()
    assert await stalled[0].ended()
    assert await talk.say(FROM_ALICE) == "250 2.1.0"
    assert await silent[3].code() == "220"


async def test_an_account_holds_a_share_of_the_places(submission: SubmissionEnv) -> None:
    talks = [await submission.known() for _ in range(2)]
    third = await submission.secure()
    assert await third.say(plain("alice@example.test")) == "454 4.7.0"
    assert await third.say(FROM_ALICE) == "530 5.7.0"
    assert await third.say(plain("bob@example.test")) == "235 2.7.0"
    await talks[0].close()
    async with asyncio.timeout(BUSY_SECONDS):
        while (
            await (talk := await submission.secure()).say(plain("alice@example.test"))
            != "235 2.7.0"
        ):
            await talk.close()


async def pop3_from(port: int, host: str, **options: Any) -> Client:
    return await Client.connect(port, local_addr=(host, 0), **options)


async def test_pop3_is_open_to_people_while_strangers_hold_all_places(tmp_path: Path) -> None:
    house = MemoryMailStore(await hash_of_password())
    await house.account("alice@example.test")
    async with pop3_server(house, pop3_sessions=10, pop3_sessions_per_address=5) as server:
        silent = [
            await pop3_from(server.port, f"127.0.0.{host}") for host in (2, 3) for _ in range(5)
        ]
        for client in silent:
            assert (await client.line()).startswith(b"+OK")
        known = [await pop3_from(server.port, "127.0.0.1")]
        assert (await known[0].line()).startswith(b"+OK")
        assert await silent[0].line() == b"-ERR [SYS/TEMP] too many connections"
        await known[0].ask(b"USER alice@example.test")
        assert (await known[0].ask(f"PASS {PASSWORD}".encode())).startswith(b"+OK")
        for host in range(10, 19):
            assert (await (await pop3_from(server.port, f"127.0.0.{host}")).line()).startswith(
                b"+OK"
            )
        assert (await known[0].ask(b"STAT")).startswith(b"+OK"), "who is logged in stays"


@repeated_when_late(0.2)
async def test_pop3_under_stress_has_ten_seconds_until_login() -> None:
    house = MemoryMailStore(await hash_of_password())
    await house.account("alice@example.test")
    async with pop3_server(house, pop3_sessions=5, pop3_stress_seconds=0.5) as server:
        known = await server.login()
        silent = [await server.client() for _ in range(3)]
        assert await silent[0].line() == b"-ERR [SYS/TEMP] too many connections"
        assert (await known.ask(b"STAT")).startswith(b"+OK")
