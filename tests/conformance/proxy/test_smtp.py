"""SMTP behind balancers: the client that the header names is the client everywhere, and is
trusted with nothing for it."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncIterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from posthorn_smtp_in.server import Listening
from tests.conformance.smtp.env import EHLO, MESSAGE, SmtpDialogue, SmtpEnv, smtp_env
from tests.conformance.submission.env import Certificates, SubmissionEnv, plain, submission_env

NETWORKS: dict[str, Any] = {"proxy_networks": "127.0.0.0/8, ::1/128"}
ALICE = "alice@example.test"


def header(client: str) -> bytes:
    version = ipaddress.ip_address(client).version
    here = "198.51.100.1" if version == 4 else "2001:db8::1"
    return f"PROXY TCP{version} {client} {here} 4711 25\r\n".encode()


def port_of(listening: Listening | None) -> int:
    assert listening is not None and listening.proxy_port is not None
    return listening.proxy_port


async def behind(env: SmtpEnv, octets: bytes) -> SmtpDialogue:
    """A connection by the balancer, which says these octets."""
    talk = SmtpDialogue(*await asyncio.open_connection("127.0.0.1", port_of(env.listening)))
    env.talks.append(talk)
    await talk.send(octets)
    return talk


@pytest.fixture
async def env(certificates: Certificates) -> AsyncIterator[SmtpEnv]:
    async with smtp_env(
        certificates.server, smtp_proxy_port=0, smtp_sessions_per_address=2, **NETWORKS
    ) as made:
        yield made


@pytest.mark.parametrize(
    ("client", "literal"),
    [
        ("192.0.2.7", b"[192.0.2.7]"),
        ("2001:db8::7", b"[IPv6:2001:db8::7]"),
        ("::ffff:192.0.2.7", b"[192.0.2.7]"),
    ],
)
async def test_received_envelope_and_log_name_the_client(
    env: SmtpEnv, client: str, literal: bytes
) -> None:
    with capture_logs() as logs:
        talk = await (await behind(env, header(client))).begin()
        assert await talk.data(MESSAGE + b".\r\n") == "250 2.0.0"
        assert await talk.say(b"RCPT TO:<x@example.test>\r\n") == "503 5.5.1"
    envelope, octets = env.only()
    told = client.removeprefix("::ffff:")
    assert envelope.client_address == told
    assert b"Received: from client.example.org (" + literal in octets.replace(b"\r\n\t", b" ")
    assert {entry["client"] for entry in logs if "client" in entry} == {told}


async def test_commands_sent_with_the_header_are_obeyed(env: SmtpEnv) -> None:
    # a client of our own side: strangers may not send more before the reply to EHLO
    talk = await behind(env, header("10.0.0.7") + EHLO + b"NOOP\r\n")
    assert [await talk.code() for _ in range(3)] == ["220", "250", "250 2.0.0"]


async def test_the_client_stays_the_same_after_starttls(
    env: SmtpEnv, certificates: Certificates
) -> None:
    talk = await (await behind(env, header("192.0.2.7"))).hello()
    assert await talk.say(b"STARTTLS\r\n") == "220 2.0.0"
    await talk.start_tls(certificates.trusting)
    assert await talk.say(EHLO) == "250"
    await talk.send(b"MAIL FROM:<a@example.org>\r\nRCPT TO:<alice@example.test>\r\n")
    assert [await talk.code(), await talk.code()] == ["250 2.1.0", "250 2.1.5"]
    assert await talk.data(MESSAGE + b".\r\n") == "250 2.0.0"
    assert (env.only()[0].client_address, env.only()[0].protocol) == ("192.0.2.7", "ESMTPS")


async def test_each_client_has_its_own_limit_and_the_balancer_none(env: SmtpEnv) -> None:
    for client in ("192.0.2.7", "192.0.2.7", "192.0.2.8", "192.0.2.8"):
        await (await behind(env, header(client))).hello()
    one_more = await behind(env, header("192.0.2.7"))
    assert await one_more.code() == "421 4.7.0"
    assert await one_more.ended()
    await (await behind(env, header("192.0.2.9"))).hello()


async def test_a_balancer_that_speaks_for_itself_is_the_client(env: SmtpEnv) -> None:
    talk = await (await behind(env, b"PROXY UNKNOWN\r\n")).begin()
    assert await talk.data(MESSAGE + b".\r\n") == "250 2.0.0"
    assert env.only()[0].client_address == "127.0.0.1"


async def test_no_banner_without_a_header(env: SmtpEnv) -> None:
    for octets in (EHLO, b"QUIT\r\n", b"PROXY TCP4 192.0.2.7 198.51.100.1 1\r\n"):
        assert await (await behind(env, octets)).ended()


async def test_the_plain_port_takes_a_header_for_a_command_nobody_knows(env: SmtpEnv) -> None:
    talk = await env.talk()
    await talk.send(header("192.0.2.7"))
    assert [await talk.code(), await talk.code()] == ["220", "500 5.5.2"]
    assert await talk.say(EHLO) == "250"
    await talk.send(b"MAIL FROM:<a@example.org>\r\nRCPT TO:<alice@example.test>\r\n")
    assert [await talk.code(), await talk.code()] == ["250 2.1.0", "250 2.1.5"]
    assert await talk.data(MESSAGE + b".\r\n") == "250 2.0.0"
    assert env.only()[0].client_address == "127.0.0.1"


@pytest.mark.parametrize("client", ["127.0.0.1", "::1", "10.0.0.1", "192.0.2.7"])
async def test_no_address_opens_the_way_to_others(env: SmtpEnv, client: str) -> None:
    talk = await (await behind(env, header(client))).hello()
    assert await talk.say(b"MAIL FROM:<a@example.org>\r\n") == "250 2.1.0"
    assert await talk.say(b"RCPT TO:<b@elsewhere.test>\r\n") == "550 5.7.1"


async def test_no_port_for_balancers_unless_asked_for() -> None:
    async with smtp_env() as env:
        assert env.listening is not None
        assert env.listening.proxy_port is None


@pytest.fixture
async def submission(database_url: str, certificates: Certificates) -> AsyncIterator[SubmissionEnv]:
    ports: dict[str, Any] = {
        "submission_proxy_port": 0,
        "submissions_proxy_port": 0,
        "login_failures_per_address": 2,
    }
    async with submission_env(
        database_url, certificates, smtp_cleartext_auth="loopback", **NETWORKS, **ports
    ) as made:
        yield made


async def over_tls(made: SubmissionEnv, octets: bytes) -> SmtpDialogue:
    """A connection by the balancer to the port where TLS comes after the header, greeted."""
    assert (
        made.listening is not None
        and made.listening.proxy_tls_port is not None
        and made.certificates is not None
    )
    talk = SmtpDialogue(*await asyncio.open_connection("127.0.0.1", made.listening.proxy_tls_port))
    made.talks.append(talk)
    await talk.send(octets)
    await talk.start_tls(made.certificates.trusting)
    return await talk.hello()


@pytest.mark.parametrize("client", ["127.0.0.1", "::1", "192.0.2.7"])
async def test_no_password_without_tls_from_whoever_came_by_a_balancer(
    submission: SubmissionEnv, client: str
) -> None:
    direct = await (await submission.talk()).hello()
    assert await direct.say(plain(ALICE)) == "235 2.7.0"
    for octets in (header(client), b"PROXY UNKNOWN\r\n"):
        talk = await behind(submission, octets)
        assert await talk.code() == "220"
        await talk.send(EHLO)
        assert not any("AUTH" in said for said in await talk.reply())
        assert await talk.say(plain(ALICE)) == "538 5.7.11"


async def test_the_header_stands_before_tls_and_networks_of_an_account_look_at_whom_it_names(
    submission: SubmissionEnv,
) -> None:
    await submission.seed.rows("UPDATE accounts SET allowed_networks = '{192.0.2.0/24}'")
    talk = await over_tls(submission, header("192.0.2.7"))
    assert await talk.say(plain(ALICE)) == "235 2.7.0"
    for octets in (header("198.51.100.7"), b"PROXY UNKNOWN\r\n"):
        talk = await over_tls(submission, octets)
        assert await talk.say(plain(ALICE)) == "535 5.7.8"


async def test_failed_logins_are_counted_against_whom_the_header_names(
    submission: SubmissionEnv,
) -> None:
    for _ in range(2):
        talk = await over_tls(submission, header("192.0.2.7"))
        assert await talk.say(plain("nobody@example.test", "wrong")) == "535 5.7.8"
    talk = await over_tls(submission, header("192.0.2.7"))
    assert await talk.say(plain(ALICE)) == "454 4.7.0"
    talk = await over_tls(submission, header("192.0.2.8"))
    assert await talk.say(plain(ALICE)) == "235 2.7.0"
