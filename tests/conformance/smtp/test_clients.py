"""Clients that people use: Python's smtplib and aiosmtplib, plain and with STARTTLS."""

from __future__ import annotations

import asyncio
import email.message
import email.policy
import smtplib
import ssl
from collections.abc import AsyncIterator

import aiosmtplib
import pytest

from posthorn.model.directory_entry import RecipientStatus
from tests.conformance.smtp.env import SmtpEnv, after_trace, smtp_env
from tests.support.polling import BUSY_SECONDS


@pytest.fixture
async def env(server_tls: ssl.SSLContext) -> AsyncIterator[SmtpEnv]:
    async with smtp_env(server_tls) as made:
        yield made


def sample() -> email.message.EmailMessage:
    message = email.message.EmailMessage()
    message["From"] = "a@example.org"
    message["To"] = "alice@example.test"
    message["Subject"] = "By a library"
    message.set_content("First line\n.\n..\nLast line\n")
    return message


async def test_smtplib_over_starttls(env: SmtpEnv, trust: ssl.SSLContext) -> None:
    def send() -> None:
        with smtplib.SMTP(
            "localhost", env.port, local_hostname="c.example.org", timeout=BUSY_SECONDS
        ) as client:
            client.starttls(context=trust)
            for _ in range(3):
                client.send_message(sample())

    await asyncio.to_thread(send)
    assert [envelope.protocol for envelope, _ in env.kept()] == ["ESMTPS"] * 3
    expected = sample().as_bytes(policy=email.policy.SMTP)
    assert all(after_trace(octets) == expected for _, octets in env.kept())


async def test_smtplib_with_smtputf8(env: SmtpEnv) -> None:
    env.directory.standings["jiří@example.test"] = RecipientStatus.DELIVERABLE

    def send() -> None:
        message = email.message.EmailMessage(email.policy.SMTPUTF8)
        message["From"] = "a@example.org"
        message["To"] = "jiří@example.test"
        message["Subject"] = "Příliš žluťoučký"
        message.set_content("ahoj\n")
        with smtplib.SMTP(
            "localhost", env.port, local_hostname="c.example.org", timeout=BUSY_SECONDS
        ) as client:
            client.send_message(message)

    await asyncio.to_thread(send)
    envelope, octets = env.only()
    assert envelope.recipients == ("jiří@example.test",)
    assert envelope.summary.subject == "Příliš žluťoučký"
    assert "To: jiří@example.test\r\n".encode() in octets


async def test_smtplib_learns_which_recipients_were_refused(env: SmtpEnv) -> None:
    def send() -> dict[str, tuple[int, bytes]]:
        with smtplib.SMTP(
            "localhost", env.port, local_hostname="c.example.org", timeout=BUSY_SECONDS
        ) as client:
            return client.sendmail(
                "a@example.org", ["alice@example.test", "nobody@example.test"], b"A: b\r\n\r\n"
            )

    assert await asyncio.to_thread(send) == {"nobody@example.test": (550, b"5.1.1 user unknown")}
    assert env.only()[0].recipients == ("alice@example.test",)


async def test_aiosmtplib_with_a_20_mb_attachment_over_tls(
    env: SmtpEnv, trust: ssl.SSLContext
) -> None:
    message = sample()
    message.add_attachment(
        bytes(range(256)) * 60_000, maintype="application", subtype="octet-stream", filename="big"
    )
    async with aiosmtplib.SMTP(
        hostname="localhost", port=env.port, start_tls=True, tls_context=trust, timeout=BUSY_SECONDS
    ) as client:
        await client.send_message(message)
    envelope, octets = env.only()
    assert envelope.body.size > 20_000_000
    assert envelope.blob is not None
    parsed = email.message_from_bytes(octets, policy=email.policy.default)
    (attachment,) = parsed.iter_attachments()
    assert attachment.get_content() == bytes(range(256)) * 60_000


async def test_aiosmtplib_sends_many_in_parallel(env: SmtpEnv) -> None:
    async def send(number: int) -> None:
        await aiosmtplib.send(
            b"Subject: %d\r\n\r\ntext\r\n" % number,
            sender="a@example.org",
            recipients=["alice@example.test"],
            hostname="127.0.0.1",
            port=env.port,
            start_tls=False,
        )

    await asyncio.gather(*(send(number) for number in range(40)))
    assert {envelope.summary.subject for envelope, _ in env.kept()} == {
        str(number) for number in range(40)
    }
