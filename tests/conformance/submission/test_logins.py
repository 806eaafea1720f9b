"""Logins at submission (RFC 4954): what is offered where, who gets in, and what a guesser meets."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Collection, Sequence
from pathlib import Path

import pytest

from posthorn.ports import sending
from posthorn.ports.access import Ending, Proof
from posthorn.ports.errors import Unavailable
from posthorn.ports.sending import Charge, Credentials
from posthorn.wire.address import Address
from posthorn_smtp_in import account_readings
from tests.conformance.submission.env import (
    APP_PASSWORD,
    EHLO,
    FROM_ALICE,
    PASSWORD,
    Certificates,
    SubmissionEnv,
    plain,
    submission_env,
)
from tests.support.polling import BUSY_SECONDS, LONG_SECONDS

ALICE = plain("alice@example.test")
WRONG = plain("alice@example.test", "wrong")


@pytest.fixture
async def env(database_url: str, certificates: Certificates) -> AsyncIterator[SubmissionEnv]:
    async with submission_env(database_url, certificates) as made:
        yield made


async def test_a_dialogue_from_starttls_to_the_message(
    env: SubmissionEnv, certificates: Certificates
) -> None:
    talk = await env.talk()
    await talk.play(r"""
        S: 220 out.example.test ESMTP Posthorn
        C: EHLO laptop
        S: 250-out.example.test
        S: 250-SIZE 52428800
        S: 250-8BITMIME
        S: 250-SMTPUTF8
        S: 250-PIPELINING
        S: 250-ENHANCEDSTATUSCODES
        S: 250-CHUNKING
        S: 250-DSN
        S: 250 STARTTLS
        C: AUTH PLAIN AGEAYg==
        S: 538 5.7.11 encryption required for authentication; send STARTTLS first
        C: MAIL FROM:<alice@example.test>
        S: 530 5.7.0 authentication required
        C: STARTTLS
        S: 220 2.0.0 …
    """)
    await talk.start_tls(certificates.trusting)
    await talk.send(EHLO)
    assert (await talk.reply())[-1] == "250 AUTH PLAIN LOGIN"
    assert await talk.say(FROM_ALICE) == "530 5.7.0"
    assert await talk.say(ALICE) == "235 2.7.0"
    assert await talk.say(ALICE) == "503 5.5.1"
    assert await talk.say(b"MAIL FROM:<alice@example.test> AUTH=<>\r\n") == "250 2.1.0"
    assert await talk.say(b"AUTH LOGIN\r\n") == "503 5.5.1"
    assert await talk.say(b"RCPT TO:<someone@elsewhere.example>\r\n") == "250 2.1.5"
    assert await talk.data(b"From: alice@example.test\r\n\r\nHello\r\n.\r\n") == "250 2.0.0"
    envelope, octets = env.only()
    assert envelope.protocol == "ESMTPSA"
    assert envelope.recipients == ("someone@elsewhere.example",)
    assert b"\tby out.example.test with ESMTPSA\r\n" in octets


@pytest.mark.parametrize("way", ["plain", "plain in two steps", "login", "login with the name"])
async def test_the_ways_to_log_in(env: SubmissionEnv, way: str) -> None:
    talk = await env.secure()
    name, password = (
        base64.b64encode(part.encode()) + b"\r\n" for part in ("Alice@Example.Test", PASSWORD)
    )
    if way == "plain":
        assert await talk.say(plain("Alice@Example.Test")) == "235 2.7.0"
        return
    if way == "plain in two steps":
        await talk.send(b"AUTH PLAIN\r\n")
        assert await talk.line() == "334 "
        assert await talk.say(ALICE.removeprefix(b"AUTH PLAIN ")) == "235 2.7.0"
        return
    if way == "login":
        await talk.send(b"AUTH LOGIN\r\n")
        assert await talk.line() == "334 VXNlcm5hbWU6"
        await talk.send(name)
    else:
        await talk.send(b"AUTH LOGIN " + name)
    assert await talk.line() == "334 UGFzc3dvcmQ6"
    assert await talk.say(password) == "235 2.7.0"
    assert await talk.say(FROM_ALICE) == "250 2.1.0"


async def test_a_login_that_is_broken_off_or_does_not_read_leaves_the_session_usable(
    env: SubmissionEnv,
) -> None:
    talk = await env.secure()
    for lines, code in [
        (b"AUTH PLAIN\r\n*\r\n", "501 5.7.0"),
        (b"AUTH LOGIN\r\n*\r\n", "501 5.7.0"),
        (b"AUTH LOGIN\r\nYQ==\r\n*\r\n", "501 5.7.0"),
        (b"AUTH PLAIN\r\nno base64\r\n", "501 5.5.2"),
        (b"AUTH PLAIN\r\n" + b"A" * 13_000 + b"\r\n", "500 5.5.6"),
        (b"AUTH PLAIN AAA=\r\n", "501 5.5.2"),
        (b"AUTH CRAM-MD5\r\n", "504 5.5.4"),
    ]:
        await talk.send(lines)
        while (said := await talk.code()) == "334":
            pass
        assert said == code, lines
    assert await talk.say(ALICE) == "235 2.7.0"


@pytest.mark.parametrize(
    "command",
    [
        WRONG,
        plain("nobody@example.test"),
        plain("alice"),
        plain("alice@example.test", "phap_wrong"),
        plain("nobody@example.test", APP_PASSWORD),
        plain("alice@example.test", acts_as="bob@example.test"),
    ],
)
async def test_a_wrong_login_says_nothing_of_its_reason(env: SubmissionEnv, command: bytes) -> None:
    talk = await env.secure()
    await talk.send(command)
    assert await talk.reply() == ["535 5.7.8 authentication failed: wrong name or password"]
    assert await talk.say(FROM_ALICE) == "530 5.7.0"


async def test_an_app_password_is_for_what_it_was_made_for(env: SubmissionEnv) -> None:
    alice = await env.seed.value("SELECT id FROM accounts WHERE address = 'alice@example.test'")
    await env.app_password(alice, "pop3")
    command = plain("alice@example.test", APP_PASSWORD, acts_as="alice@example.test")
    assert await (await env.secure()).say(command) == "535 5.7.8"
    await env.seed.rows("UPDATE app_passwords SET scopes = '{smtp,pop3}'")
    assert await (await env.secure()).say(command) == "235 2.7.0"
    assert await (await env.secure()).say(plain("bob@example.test", APP_PASSWORD)) == "535 5.7.8"


async def test_who_may_not_send(env: SubmissionEnv) -> None:
    await env.account("gone@example.test", state="suspended")
    await env.account("reader@example.test", state="receive-only")
    talk = await env.secure()
    assert await talk.say(plain("gone@example.test")) == "535 5.7.8"
    assert await talk.say(plain("reader@example.test")) == "550 5.7.1"
    assert await talk.say(FROM_ALICE) == "530 5.7.0"


async def test_logins_come_from_the_networks_that_are_allowed(env: SubmissionEnv) -> None:
    await env.seed.rows("UPDATE domains SET allowed_networks = '{192.0.2.0/24}'")
    assert await (await env.secure()).say(ALICE) == "535 5.7.8"
    await env.seed.rows("UPDATE accounts SET allowed_networks = '{2001:db8::/32,127.0.0.0/8}'")
    assert await (await env.secure()).say(ALICE) == "235 2.7.0"


async def test_three_failures_end_the_connection_and_each_takes_longer(
    database_url: str, certificates: Certificates
) -> None:
    async with submission_env(
        database_url, certificates, submission_failure_delay_seconds=0.1
    ) as env:
        talk = await env.secure()
        times = []
        for _ in range(3):
            began = time.monotonic()
            assert await talk.say(WRONG) == "535 5.7.8"
            times.append(time.monotonic() - began)
        assert await talk.code() == "421 4.7.0"
        assert await talk.ended()
        assert times[0] > 0.09 and times[1] > 0.19 and times[2] > 0.39, times


async def test_a_drain_does_not_wait_with_a_client_that_guesses(
    database_url: str, certificates: Certificates
) -> None:
    async with submission_env(
        database_url, certificates, submission_failure_delay_seconds=8
    ) as env:
        talk = await env.secure()
        await talk.send(WRONG)
        async with asyncio.timeout(BUSY_SECONDS):
            while not await env.seed.rows(
                "SELECT FROM throttles WHERE key = 'auth-account:alice@example.test'"
            ):
                await asyncio.sleep(0.01)
        assert env.listening is not None
        await env.listening.limiter.drain(6)  # whoever is not answered by then is cut
        assert [await talk.code(), await talk.code()] == ["535 5.7.8", "421 4.3.2"]


async def test_beyond_the_limit_of_an_account_nothing_is_looked_at_but_from_a_familiar_place(
    database_url: str, certificates: Certificates
) -> None:
    limits = {"login_failures_per_account": 2, "submission_login_attempts": 9}
    async with submission_env(database_url, certificates, **limits) as env:
        guesser = await env.secure()
        for code in ("535 5.7.8", "535 5.7.8", "454 4.7.0"):
            assert await guesser.say(WRONG) == code
        assert await guesser.say(ALICE) == "454 4.7.0"  # even when it is right at last
        assert await guesser.say(plain("bob@example.test")) == "235 2.7.0"
        other = await env.secure()
        for _ in range(2):
            assert await other.say(plain("bob@example.test", "wrong")) == "535 5.7.8"
        assert await other.say(plain("bob@example.test")) == "235 2.7.0"  # bob was here before
        await env.seed.rows(
            "UPDATE throttles SET full_at = full_at - make_interval(secs => $1)",
            sending.FAILURES_SECONDS * 2 / 3,
        )
        assert await (await env.secure()).say(ALICE) == "235 2.7.0"


async def test_guesses_made_at_the_same_time_see_each_other_counted(
    database_url: str, certificates: Certificates
) -> None:
    async with submission_env(database_url, certificates, login_failures_per_account=3) as env:
        talks = [await env.secure() for _ in range(12)]
        answers = await asyncio.gather(*(talk.say(WRONG) for talk in talks))
        assert sorted(answers) == ["454 4.7.0"] * 9 + ["535 5.7.8"] * 3


async def test_beyond_the_limit_of_an_address_no_account_is_looked_at(
    database_url: str, certificates: Certificates
) -> None:
    limits = {"login_failures_per_address": 2, "submission_login_attempts": 9}
    async with submission_env(database_url, certificates, **limits) as env:
        talk = await env.secure()
        for name in ("a@example.test", "no address"):
            assert await talk.say(plain(name)) == "535 5.7.8"
        assert await talk.say(ALICE) == "454 4.7.0"


async def test_passwords_are_never_taken_in_plain_but_from_this_host_where_it_is_allowed(
    database_url: str,
) -> None:
    with pytest.raises(SystemExit, match="POSTHORN_TLS_DIR"):
        async with submission_env(database_url, None):
            pass


async def test_cleartext_on_loopback(database_url: str) -> None:
    async with submission_env(database_url, None, smtp_cleartext_auth="loopback") as env:
        talk = await env.talk()
        assert await talk.code() == "220"
        await talk.send(EHLO)
        assert (await talk.reply())[-1] == "250 AUTH PLAIN LOGIN"
        assert await talk.say(ALICE) == "235 2.7.0"
        assert await talk.say(FROM_ALICE) == "250 2.1.0"
        assert await talk.say(b"RCPT TO:<x@elsewhere.example>\r\n") == "250 2.1.5"
        assert await talk.data(b"From: alice@example.test\r\n\r\n.\r\n") == "250 2.0.0"
        assert env.only()[0].protocol == "ESMTPA"


class Down:
    """Senders and Throttle whose store does not answer."""

    async def credentials(self, address: str, network: bytes = b"") -> Credentials | None:
        raise Unavailable("postgres", "down")

    async def ended(self, proofs: Collection[Proof]) -> dict[Proof, Ending]:
        raise Unavailable("postgres", "down")

    async def none_ended(self, proofs: Collection[Proof]) -> dict[Proof, Ending]:
        return {}

    async def app_password(
        self, account: int, key_hash: bytes, scope: str, client: str = ""
    ) -> bool:
        raise Unavailable("postgres", "down")

    async def owns(self, account: int, address: Address) -> bool:
        raise Unavailable("postgres", "down")

    async def take(self, charges: Sequence[Charge]) -> float:
        raise Unavailable("postgres", "down")


async def test_a_store_that_is_down_is_a_matter_for_later(
    env: SubmissionEnv, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    known = await env.known()
    waiting = await env.secure()
    down = Down()
    for name in ("credentials", "owns"):
        monkeypatch.setattr(type(env.senders), name, getattr(down, name).__func__)
    assert await waiting.say(ALICE) == "454 4.7.0"
    assert await known.say(b"MAIL FROM:<other@example.test>\r\n") == "451 4.3.0"
    monkeypatch.setattr(account_readings, "REREAD_SECONDS", 0.0)
    assert await known.say(FROM_ALICE) == "451 4.3.0"


async def test_without_counters_people_still_log_in_but_messages_wait(
    env: SubmissionEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(env.throttle), "take", Down.take)
    assert await (await env.secure()).say(WRONG) == "535 5.7.8"
    talk = await env.known()
    assert await talk.say(FROM_ALICE) == "250 2.1.0"
    assert await talk.say(b"RCPT TO:<bob@example.test>\r\n") == "250 2.1.5"
    assert await talk.data(b"From: alice@example.test\r\n\r\n.\r\n") == "451 4.3.0"
    assert env.ingest.kept == []


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("UPDATE accounts SET state = 'suspended'", "550 5.7.1"),
        ("UPDATE accounts SET state = 'receive-only'", "550 5.7.1"),
        ("UPDATE accounts SET allowed_networks = '{192.0.2.1/32}'", "550 5.7.1"),
        ("UPDATE accounts SET password_hash = 'another'", "530 5.7.0"),
    ],
)
async def test_a_change_of_the_account_is_noticed_on_open_connections(
    env: SubmissionEnv, monkeypatch: pytest.MonkeyPatch, change: str, code: str
) -> None:
    # what is read at MAIL shows it by itself
    monkeypatch.setattr(type(env.senders), "ended", Down.none_ended)
    monkeypatch.setattr(account_readings, "REREAD_SECONDS", LONG_SECONDS)
    talk = await env.known()
    await env.seed.rows(change)
    assert await talk.say(FROM_ALICE) == "250 2.1.0"  # read a moment ago
    assert await talk.say(b"RSET\r\n") == "250 2.0.0"
    monkeypatch.setattr(account_readings, "REREAD_SECONDS", 0.0)
    assert await talk.say(FROM_ALICE) == code
    assert await talk.say(FROM_ALICE) == code


async def test_a_revoked_app_password_ends_what_is_going_on(
    env: SubmissionEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    ((account,),) = await env.seed.rows(
        "SELECT id FROM accounts WHERE address = 'alice@example.test'"
    )
    await env.app_password(account, "smtp")
    talk = await env.secure()
    assert await talk.say(plain("alice@example.test", APP_PASSWORD)) == "235 2.7.0"
    monkeypatch.setattr(type(env.senders), "ended", Down.none_ended)
    monkeypatch.setattr(account_readings, "REREAD_SECONDS", 0.0)
    assert await talk.say(FROM_ALICE) == "250 2.1.0"
    assert await talk.say(b"RSET\r\n") == "250 2.0.0"
    await env.seed.rows("DELETE FROM app_passwords")
    assert await talk.say(FROM_ALICE) == "530 5.7.0"


async def test_a_login_in_plain_does_not_outlive_the_handshake(
    database_url: str, certificates: Certificates
) -> None:
    async with submission_env(database_url, certificates, smtp_cleartext_auth="loopback") as env:
        talk = await (await env.talk()).hello()
        assert await talk.say(ALICE) == "235 2.7.0"
        assert await talk.say(b"STARTTLS\r\n") == "220 2.0.0"
        await talk.start_tls(certificates.trusting)
        assert await talk.say(EHLO) == "250"
        assert await talk.say(FROM_ALICE) == "530 5.7.0"
