"""Open submission sessions whose login does not hold any more, and accounts that are guessed at
from elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from posthorn.adapters.postgres.mailboxes.maildrops import PostgresMaildrops
from posthorn.wire.pop3.events import Login
from posthorn_pop3.service import LoginFailed
from tests.conformance.pop3.dialogue import Server, pop3_server
from tests.conformance.submission.env import (
    APP_PASSWORD,
    FROM_ALICE,
    MESSAGE,
    PASSWORD,
    Certificates,
    SubmissionEnv,
    begun,
    plain,
    submission_env,
)
from tests.conformance.submission.test_logins import Down
from tests.conformance.twins import MemoryBlobs
from tests.support.polling import BUSY_SECONDS, repeated_when_late

BOB = "bob@example.test"
REVOKED = "421 4.7.0"


@pytest.fixture
async def env(database_url: str, certificates: Certificates) -> AsyncIterator[SubmissionEnv]:
    async with submission_env(database_url, certificates) as made:
        yield made


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE accounts SET password_hash = 'another' WHERE address = 'alice@example.test'",
        "UPDATE accounts SET state = 'suspended' WHERE address = 'alice@example.test'",
        "DELETE FROM accounts WHERE address = 'alice@example.test'",
    ],
)
async def test_an_idle_session_ends_with_what_it_logged_in_with(
    env: SubmissionEnv, change: str
) -> None:
    alice, bob = await env.known(), await env.known(BOB)
    await env.seed.rows(change)
    assert await alice.code() == REVOKED
    assert await alice.ended()
    assert await bob.say(b"MAIL FROM:<bob@example.test>\r\n") == "250 2.1.0"


async def test_a_session_ends_with_its_app_password_alone(env: SubmissionEnv) -> None:
    ((account,),) = await env.seed.rows(
        "SELECT id FROM accounts WHERE address = 'alice@example.test'"
    )
    await env.app_password(account, "smtp")
    own, app = await env.known(), await env.secure()
    assert await app.say(plain("alice@example.test", APP_PASSWORD)) == "235 2.7.0"
    await env.seed.rows("DELETE FROM app_passwords")
    assert await app.code() == REVOKED
    assert await own.say(FROM_ALICE) == "250 2.1.0"


async def test_a_message_that_is_coming_in_is_not_taken(env: SubmissionEnv) -> None:
    talk = await begun(await env.known())
    assert await talk.say(b"DATA\r\n") == "354"
    await talk.send(MESSAGE)
    await env.seed.rows("UPDATE accounts SET password_hash = 'another'")
    assert await talk.code() == REVOKED
    assert await talk.ended()
    assert not env.ingest.kept


async def test_without_postgres_no_session_ends(
    env: SubmissionEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk = await env.known()
    asked = asyncio.Event()

    async def ended(*_: Any) -> Any:
        asked.set()
        return await Down().ended(())

    monkeypatch.setattr(type(env.senders), "ended", ended)
    async with asyncio.timeout(BUSY_SECONDS):
        await asked.wait()
    assert await talk.say(b"NOOP\r\n") == "250 2.0.0"


@repeated_when_late(0.5)
async def test_a_session_without_a_login_is_short_and_one_with_it_is_not(
    database_url: str, certificates: Certificates
) -> None:
    async with submission_env(database_url, certificates, submission_login_seconds=4.0) as env:
        known, silent = await env.known(), await env.secure()
        assert await silent.code() == "421 4.4.2"
        assert await known.say(FROM_ALICE) == "250 2.1.0"


@dataclass
class _House:
    """The accounts of the env, with no mail."""

    maildrops: PostgresMaildrops
    blobs: MemoryBlobs


@pytest.fixture
async def pods(env: SubmissionEnv) -> AsyncIterator[tuple[Server, Server]]:
    """Two POP3 processes beside the submission process."""
    house: Any = _House(PostgresMaildrops(env.seed.database), MemoryBlobs())
    parts = {"senders": env.senders, "throttle": env.throttle}
    async with pop3_server(house, **parts) as one, pop3_server(house, **parts) as other:
        yield one, other


async def tried(server: Server, client: str, password: str = "wrong") -> str:
    try:
        maildrop = await server.service.log_in(Login(BOB, password), client)
    except LoginFailed as failed:
        return failed.outcome
    await maildrop.leave()
    return "accepted"


async def test_guesses_from_elsewhere_shut_nobody_out_of_a_familiar_place_in_any_protocol_or_pod(
    env: SubmissionEnv, pods: tuple[Server, Server]
) -> None:
    one, other = pods
    assert await tried(one, "127.0.0.1", PASSWORD) == "accepted"
    async with asyncio.timeout(BUSY_SECONDS):
        while not await env.seed.rows("SELECT FROM familiar_places"):
            await asyncio.sleep(0.01)
    for number in range(11):
        assert await tried(other, f"198.51.100.{number}") in ("wrong", "throttled")
    assert await tried(other, "203.0.113.9", PASSWORD) == "throttled"
    assert await tried(other, "127.0.0.1", PASSWORD) == "accepted"
    assert await (await env.secure()).say(plain(BOB)) == "235 2.7.0"


async def test_a_place_is_familiar_by_submission_too(
    env: SubmissionEnv, pods: tuple[Server, Server]
) -> None:
    await env.known(BOB)
    async with asyncio.timeout(BUSY_SECONDS):
        while not await env.seed.rows("SELECT FROM familiar_places"):
            await asyncio.sleep(0.01)
    for number in range(11):
        await tried(pods[0], f"198.51.100.{number}")
    assert await tried(pods[0], "127.0.0.1", PASSWORD) == "accepted"


async def test_an_app_password_is_let_in_whatever_was_guessed(
    database_url: str, certificates: Certificates, tmp_path: Path
) -> None:
    async with submission_env(database_url, certificates, login_failures_per_account=2) as env:
        ((account,),) = await env.seed.rows(
            "SELECT id FROM accounts WHERE address = 'alice@example.test'"
        )
        await env.app_password(account, "smtp")
        guesser = await env.secure()
        for code in ("535 5.7.8", "535 5.7.8", "454 4.7.0"):
            assert await guesser.say(plain("alice@example.test", "wrong")) == code
        assert await (await env.secure()).say(plain("alice@example.test")) == "454 4.7.0"
        assert (
            await (await env.secure()).say(plain("alice@example.test", APP_PASSWORD)) == "235 2.7.0"
        )
