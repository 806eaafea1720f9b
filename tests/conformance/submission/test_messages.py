"""What is submitted (RFC 6409): in whose name, to whom, how much, and what is done to the
header."""

from __future__ import annotations

import asyncio
import re
import smtplib
from collections.abc import AsyncIterator
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default

import aiosmtplib
import pytest

from posthorn.model.directory_entry import RecipientStatus
from posthorn.model.events import ACCEPTED, REFUSED
from posthorn.model.outbound import Notify, RecipientDsn
from posthorn.ports.directory import DirectoryBehind
from posthorn.ports.errors import Full, Unavailable
from tests.conformance.smtp.env import after_trace
from tests.conformance.submission.env import (
    FROM_ALICE,
    MESSAGE,
    PASSWORD,
    TO_BOB,
    Certificates,
    SubmissionEnv,
    begun,
    submission_env,
)
from tests.support.polling import BUSY_SECONDS


@pytest.fixture
async def env(database_url: str, certificates: Certificates) -> AsyncIterator[SubmissionEnv]:
    async with submission_env(database_url, certificates) as made:
        yield made


async def test_a_message_is_completed_and_says_who_handed_it_in(env: SubmissionEnv) -> None:
    talk = await env.known()
    assert await talk.say(b"MAIL FROM:<Alice@Example.Test> RET=HDRS ENVID=e1\r\n") == "250 2.1.0"
    assert await talk.say(b"RCPT TO:<Bob@example.test> NOTIFY=NEVER\r\n") == "250 2.1.5"
    assert (
        await talk.say(b"RCPT TO:<Mixed.Case@Elsewhere.Example> NOTIFY=DELAY ORCPT=rfc822;x@y\r\n")
        == "250 2.1.5"
    )
    content = (
        b"From: Alice <alice@example.test>\r\nBcc: secret@example.org,\r\n\tother@example.org\r\n"
        b"To: bob@example.test\r\nBCC : third@example.org\r\nSubject: Hello\r\n\r\nBcc: body\r\n"
    )
    assert await talk.data(content + b".\r\n") == "250 2.0.0"
    envelope, octets = env.only()
    assert octets.startswith(b"Return-Path: <Alice@example.test>\r\n")
    assert envelope.reverse_path == "Alice@example.test"
    assert envelope.recipients == ("bob@example.test", "Mixed.Case@elsewhere.example")
    assert (envelope.role, envelope.submitter, envelope.signer) == (
        "submission",
        "alice@example.test",
        "example.test",
    )
    assert envelope.tenant is not None
    assert (envelope.ret, envelope.envid, envelope.protocol) == ("HDRS", "e1", "ESMTPSA")
    assert envelope.dsn == {
        "bob@example.test": RecipientDsn(Notify.NEVER),
        "Mixed.Case@elsewhere.example": RecipientDsn(Notify.DELAY, "rfc822;x@y"),
    }
    stored = after_trace(octets)
    head, _, body = stored.partition(b"\r\n\r\n")
    assert body == b"Bcc: body\r\n"
    assert head.startswith(
        b"From: Alice <alice@example.test>\r\nTo: bob@example.test\r\nSubject: Hello\r\nDate: "
    )
    assert head.endswith(f"\r\nMessage-ID: <{envelope.id}@example.test>".encode())
    assert envelope.summary.message_id == f"<{envelope.id}@example.test>"
    [event] = env.recorded.events
    assert (event.message, event.kind, event.at) == (envelope.id, ACCEPTED, envelope.received_at)
    assert event.detail == {
        "tenant": str(envelope.tenant),
        "service": "submission",
        "client": "127.0.0.1",
        "tls": "TLSv1.3 TLS_AES_256_GCM_SHA384",
        "recipients": 2,
        "size": len(octets),
        "account": "alice@example.test",
        "from": "Alice <alice@example.test>",
        "to": ["bob@example.test", "Mixed.Case@elsewhere.example"],
        "subject": "Hello",
        "reverse_path": "Alice@example.test",
        "message_id": f"<{envelope.id}@example.test>",
    }


@pytest.mark.parametrize("told", [False, True])
async def test_where_the_client_is_is_told_only_where_it_is_wanted(
    database_url: str, certificates: Certificates, told: bool
) -> None:
    async with submission_env(database_url, certificates, submission_trace_client=told) as env:
        talk = await begun(await env.known())
        assert await talk.data(MESSAGE + b".\r\n") == "250 2.0.0"
        envelope, octets = env.only()
        field = octets[envelope.body.return_path_octets :].partition(b"\r\n\t")[0]
        hidden, shown = b"localhost (client address withheld)", b"client.example.org ([127.0.0.1])"
        assert field == b"Received: from " + (shown if told else hidden)
        assert envelope.client_address == "127.0.0.1"


@pytest.mark.parametrize("way", ["data", "octet by octet", "one chunk", "chunks of one octet"])
async def test_however_the_message_comes_it_is_completed_alike(
    env: SubmissionEnv, way: str
) -> None:
    talk = await begun(await env.known())
    message = MESSAGE.replace(b"To:", b"Bcc: x@y.example,\r\n z@y.example\r\nTo:")
    match way:
        case "data":
            assert await talk.data(message + b".\r\n") == "250 2.0.0"
        case "octet by octet":
            assert await talk.say(b"DATA\r\n") == "354"
            for octet in message + b".\r\n":
                await talk.send(bytes([octet]))
            assert await talk.code() == "250 2.0.0"
        case "one chunk":
            assert await talk.say(b"BDAT %d LAST\r\n" % len(message) + message) == "250 2.0.0"
        case _:
            await talk.send(
                b"".join(b"BDAT 1\r\n" + bytes([octet]) for octet in message) + b"BDAT 0 LAST\r\n"
            )
            for _ in range(len(message) + 1):
                assert await talk.code() == "250 2.0.0"
    stored = after_trace(env.only()[1])
    assert stored.startswith(MESSAGE.partition(b"\r\n\r\n")[0] + b"\r\nDate: ")
    assert stored.endswith(b"@example.test>\r\n\r\nDear Bob\r\n")


async def test_what_is_there_already_stays_as_it_is(env: SubmissionEnv) -> None:
    talk = await begun(await env.known())
    message = b"date: yesterday\r\nMESSAGE-ID: mine\r\n" + MESSAGE
    assert await talk.data(message + b".\r\n") == "250 2.0.0"
    assert after_trace(env.only()[1]) == message


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (b"Subject: x\r\n", "550 5.6.0"),
        (b"From:\r\n", "550 5.6.0"),
        (b"From: alice@example.test\r\nFrom: alice@example.test\r\n", "550 5.6.0"),
        (b"From: boss@victim.example <alice@example.test>\r\n", "550 5.7.1"),
        (b"From: group: alice@example.test;\r\n", "550 5.6.0"),
        (b"From: alice@example.test\r\nthis is no field\r\n", "550 5.6.0"),
        (b"no header at all\r\n", "550 5.6.0"),
        (b"", "550 5.6.0"),
        (b"From: bob@example.test\r\n", "550 5.7.1"),
        (b"From: alice@example.test, boss@victim.example\r\n", "550 5.7.1"),
        (b"From: x\r\n <boss@victim.example>\r\n", "550 5.7.1"),
    ],
)
async def test_an_author_that_is_not_the_account(
    env: SubmissionEnv, header: bytes, code: str
) -> None:
    talk = await begun(await env.known())
    assert await talk.data(header + b"\r\nText\r\n.\r\n") == code
    assert env.ingest.kept == []
    await begun(talk)
    assert await talk.data(MESSAGE + b".\r\n") == "250 2.0.0"


async def test_without_the_check_another_author_passes_but_is_not_signed(
    database_url: str, certificates: Certificates
) -> None:
    async with submission_env(database_url, certificates, submission_check_from=False) as env:
        talk = await env.known()
        for message in (b"From: boss@victim.example\r\n\r\n", b"Subject: none\r\n\r\n", MESSAGE):
            await begun(talk)
            assert await talk.data(message + b".\r\n") == "250 2.0.0"
        assert [envelope.signer for envelope, _ in env.kept()] == ["", "", "example.test"]


async def test_the_sender_is_an_address_of_the_account(env: SubmissionEnv) -> None:
    await env.seed.domain("other.test")
    await env.seed.alias("sales@other.test", "alice@example.test")
    await env.seed.alias("bobs@example.test", "bob@example.test")
    talk = await env.known()
    for sender, code in [
        ("alice@example.test", "250 2.1.0"),
        ("ALICE+news@example.test", "250 2.1.0"),
        ("sales@other.test", "250 2.1.0"),
        ("", "250 2.1.0"),
        ("bob@example.test", "550 5.7.1"),
        ("bobs@example.test", "550 5.7.1"),
        ("someone@elsewhere.example", "550 5.7.1"),
        ("nobody@example.test", "550 5.7.1"),
    ]:
        assert await talk.say(f"MAIL FROM:<{sender}>\r\n".encode()) == code, sender
        assert await talk.say(b"RSET\r\n") == "250 2.0.0"
    assert await talk.say(b"MAIL FROM:<sales@other.test>\r\n") == "250 2.1.0"
    assert await talk.say(TO_BOB) == "250 2.1.5"
    assert await talk.data(b"From: Sales <Sales@Other.Test>\r\n\r\n.\r\n") == "250 2.0.0"
    envelope, octets = env.only()
    assert (envelope.signer, envelope.submitter) == ("other.test", "alice@example.test")
    assert f"Message-ID: <{envelope.id}@other.test>\r\n".encode() in octets


async def test_recipients_of_ours_are_judged_and_others_taken(env: SubmissionEnv) -> None:
    env.directory.standings["full@example.test"] = RecipientStatus.OVER_QUOTA
    talk = await env.known()
    assert await talk.say(FROM_ALICE) == "250 2.1.0"
    for recipient, code in [
        ("nobody@example.test", "550 5.1.1"),
        ("full@example.test", "452 4.2.2"),
        ("Any@elsewhere.example", "250 2.1.5"),
        ("Any@elsewhere.example", "250 2.1.5"),
        ("no address", "553 5.1.3"),
    ]:
        assert await talk.say(f"RCPT TO:<{recipient}>\r\n".encode()) == code, recipient
    env.directory.fault = Unavailable("directory", "down")
    assert await talk.say(b"RCPT TO:<any@other.example>\r\n") == "451 4.3.0"
    assert await talk.data(MESSAGE + b".\r\n") == "250 2.0.0"
    assert env.only()[0].recipients == ("Any@elsewhere.example",)


@pytest.mark.parametrize("is_allowed", [False, True])
async def test_domains_of_recipients_are_fully_qualified(
    database_url: str, certificates: Certificates, is_allowed: bool
) -> None:
    changes = {"submission_single_labels": is_allowed}
    async with submission_env(database_url, certificates, **changes) as env:
        talk = await env.known()
        assert await talk.say(FROM_ALICE) == "250 2.1.0"
        for domain in ("printserver", "printserver."):
            code = await talk.say(f"RCPT TO:<any@{domain}>\r\n".encode())
            assert code == ("250 2.1.5" if is_allowed else "554 5.1.2"), domain
        assert await talk.say(TO_BOB) == "250 2.1.5"


async def test_messages_per_hour_of_an_account_and_of_its_domain(env: SubmissionEnv) -> None:
    await env.seed.rows(
        "UPDATE accounts SET max_messages_per_hour = 2 WHERE address = 'alice@example.test'"
    )
    await env.seed.rows("UPDATE domains SET max_messages_per_hour = 3")
    alice, bob = await env.known(), await env.known("bob@example.test")
    for code in ("250 2.0.0", "250 2.0.0", "452 4.7.1"):
        await begun(alice)
        assert await alice.data(MESSAGE + b".\r\n") == code
    for code in ("250 2.0.0", "452 4.7.1"):
        assert await bob.say(b"MAIL FROM:<>\r\n") == "250 2.1.0"
        assert await bob.say(TO_BOB) == "250 2.1.5"
        assert await bob.data(b"From: bob@example.test\r\n\r\n.\r\n") == code
    assert len(env.ingest.kept) == 3


async def test_messages_and_recipients_per_hour_of_a_tenant_over_all_its_domains(
    env: SubmissionEnv,
) -> None:
    await env.seed.rows("UPDATE tenants SET max_messages_per_hour = 2, max_recipients_per_hour = 5")
    alice, bob = await env.known(), await env.known("bob@example.test")
    assert await (await begun(alice)).data(MESSAGE + b".\r\n") == "250 2.0.0"
    assert await bob.say(b"MAIL FROM:<>\r\n") == "250 2.1.0"
    codes = [await bob.say(b"RCPT TO:<r%d@elsewhere.example>\r\n" % number) for number in range(6)]
    assert codes == ["250 2.1.5"] * 5 + ["452 4.5.3"], "more than five would never go through"
    assert await bob.data(b"From: bob@example.test\r\n\r\n.\r\n") == "452 4.7.1", (
        "four are left to the tenant"
    )
    for code in ("250 2.0.0", "452 4.7.1"):
        assert await bob.say(b"MAIL FROM:<>\r\n") == "250 2.1.0"
        assert await bob.say(TO_BOB) == "250 2.1.5"
        assert await bob.data(b"From: bob@example.test\r\n\r\n.\r\n") == code


async def test_recipients_per_hour(env: SubmissionEnv) -> None:
    await env.seed.rows("UPDATE accounts SET max_recipients_per_hour = 3")
    talk = await env.known()
    for count, last, code in (
        (2, "250 2.1.5", "250 2.0.0"),
        (2, "250 2.1.5", "452 4.7.1"),
        (4, "452 4.5.3", "452 4.7.1"),
    ):
        assert await talk.say(FROM_ALICE) == "250 2.1.0"
        codes = [
            await talk.say(b"RCPT TO:<r%d@elsewhere.example>\r\n" % number)
            for number in range(count)
        ]
        assert codes[-1] == last
        assert await talk.data(MESSAGE + b".\r\n") == code
    assert await talk.say(FROM_ALICE) == "250 2.1.0"
    assert await talk.say(TO_BOB) == "250 2.1.5"
    assert await talk.data(MESSAGE + b".\r\n") == "250 2.0.0"  # one was left


async def test_a_header_without_end_is_refused_and_leaves_nothing(env: SubmissionEnv) -> None:
    talk = await begun(await env.known())
    assert (
        await talk.data(b"From: alice@example.test\r\n" + b"X: y\r\n" * 50_000 + b"\r\n.\r\n")
        == "552 5.3.4"
    )
    await begun(talk)
    assert (
        await talk.data(b"From: alice@example.test\r\n" + b"X: y\r\n" * 40_000 + b"\r\n.\r\n")
        == "250 2.0.0"
    )


async def test_a_full_stream_is_a_matter_for_later(env: SubmissionEnv) -> None:
    env.ingest.faults.append(Full("nats", "full"))
    talk = await begun(await env.known())
    assert await talk.data(MESSAGE + b".\r\n") == "452 4.3.1"
    [event] = env.recorded.events
    assert (event.kind, event.detail["reason"]) == (REFUSED, "full")
    assert event.detail["reply"].startswith("452 4.3.1 ")


async def test_a_large_message_goes_to_the_store_with_its_header_completed(
    env: SubmissionEnv,
) -> None:
    talk = await begun(await env.known())
    body = (b"x" * 998 + b"\r\n") * 1000
    assert await talk.data(MESSAGE + body + b".\r\n") == "250 2.0.0"
    envelope, octets = env.only()
    assert envelope.blob is not None
    assert re.search(rb"\r\nMessage-ID: <[^>]+@example.test>\r\n\r\nDear Bob\r\nxxx", octets)
    assert octets.endswith(body)


def _composed() -> EmailMessage:
    message = EmailMessage()
    message["From"] = "Alice Ümlaut <alice@example.test>"
    message["To"] = "bob@example.test, someone@elsewhere.example"
    message["Bcc"] = "hidden@elsewhere.example"
    message["Subject"] = "Grüße"
    message.set_content("Schöne Grüße\n.\n")
    return message


async def test_aiosmtplib_over_both_ports(env: SubmissionEnv, certificates: Certificates) -> None:
    for port, tls_first in ((env.tls_port, True), (env.port, False)):
        errors, _ = await aiosmtplib.send(
            _composed(),
            hostname="localhost",
            port=port,
            use_tls=tls_first,
            start_tls=not tls_first,
            tls_context=certificates.trusting,
            username="alice@example.test",
            password=PASSWORD,
            timeout=BUSY_SECONDS,
        )
        assert errors == {}
    for envelope, octets in env.kept():
        assert envelope.recipients == (
            "bob@example.test",
            "someone@elsewhere.example",
            "hidden@elsewhere.example",
        )
        message = BytesParser(policy=default).parsebytes(octets)
        assert message["Subject"] == "Grüße"
        assert message["Bcc"] is None
        assert len(message.get_all("Date", [])) == len(message.get_all("Message-ID", [])) == 1
        assert b"hidden" not in octets


async def test_smtplib_logs_in_by_login_too(env: SubmissionEnv, certificates: Certificates) -> None:
    def send() -> None:
        with smtplib.SMTP_SSL(
            "localhost", env.tls_port, context=certificates.trusting, timeout=BUSY_SECONDS
        ) as client:
            client.ehlo()
            client.esmtp_features["auth"] = "LOGIN"
            client.login("alice@example.test", PASSWORD)
            client.send_message(_composed())

    await asyncio.to_thread(send)
    assert len(env.kept()) == 1


async def test_while_the_directory_is_behind_mail_elsewhere_goes_on(env: SubmissionEnv) -> None:
    talk = await env.known()
    await talk.say(b"MAIL FROM:<alice@example.test>\r\n")
    env.directory.fault = DirectoryBehind(RecipientStatus.FOREIGN)
    assert await talk.say(b"RCPT TO:<someone@elsewhere.example>\r\n") == "250 2.1.5"
    env.directory.fault = DirectoryBehind(RecipientStatus.UNKNOWN)
    assert await talk.say(b"RCPT TO:<carol@example.test>\r\n") == "451 4.3.0"


@pytest.mark.parametrize(
    "field",
    [
        b"Sender: ceo@bank.example",
        b"Resent-From: ceo@bank.example",
        b"Resent-Sender: Bob <bob@example.test>",
        b"Sender: alice@example.test\r\nSender: alice@example.test",
        b"Sender: no address",
    ],
)
async def test_who_is_shown_as_sender_besides_the_author_is_the_account_too(
    env: SubmissionEnv, field: bytes
) -> None:
    talk = await begun(await env.known())
    answer = await talk.data(field + b"\r\n" + MESSAGE + b".\r\n")
    assert answer in ("550 5.7.1", "550 5.6.0")
    assert not env.ingest.kept
    await begun(talk)
    own = b"Sender: Alice <alice@example.test>\r\nResent-From: alice+tag@example.test\r\n"
    assert await talk.data(own + MESSAGE + b".\r\n") == "250 2.0.0"


async def test_a_message_with_nul_is_refused(env: SubmissionEnv) -> None:
    talk = await begun(await env.known())
    smuggled = b"\0.\r\nMAIL FROM:<ceo@bank.example>\r\n"
    assert await talk.data(MESSAGE + smuggled + b".\r\n") == "554 5.6.0"
    await begun(talk)
    assert await talk.data(MESSAGE + b"a\0b\r\n.\r\n") == "554 5.6.0"
    assert not env.ingest.kept
    await begun(talk)
    assert await talk.data(MESSAGE + b".\r\n") == "250 2.0.0"


@pytest.mark.parametrize("end", [b"\n", b"\r\r\n", b"\r"])
async def test_line_ends_of_clients_that_logged_in_are_made_whole(
    env: SubmissionEnv, end: bytes
) -> None:
    talk = await begun(await env.known())
    content = (
        end.join([b"From: alice@example.test", b"Subject: bare", b"", b"one", b"two"]) + b"\r\n"
    )
    assert await talk.data(content + b".\r\n") == "250 2.0.0"
    ((_, octets),) = env.ingest.kept
    assert octets is not None
    assert b"Subject: bare\r\n" in octets
    assert octets.endswith(b"\r\n\r\none\r\ntwo\r\n")


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (b"From printer Sat Nov  7 09:10:11 2026\r\nFrom: alice@example.test\r\n", "250 2.0.0"),
        (b"\xef\xbb\xbfFrom: alice@example.test\r\n", "250 2.0.0"),
        (b"From: alice@example.test <alice@example.test>\r\n", "250 2.0.0"),
        (b"From: 'Alice@Example.test' <alice@example.test>\r\n", "250 2.0.0"),
        (b"From: someone@elsewhere.example <alice@example.test>\r\n", "550 5.7.1"),
        (b"From: a..b@elsewhere.example\r\n", "550 5.7.1"),
        (b"From: Doe, Alice <alice@example.test>\r\n", "550 5.6.0"),
    ],
)
async def test_headers_as_programs_write_them(env: SubmissionEnv, header: bytes, code: str) -> None:
    talk = await begun(await env.known())
    await talk.send(b"DATA\r\n")
    assert await talk.code() == "354"
    await talk.send(header + b"\r\ntext\r\n.\r\n")
    (line,) = await talk.reply()
    assert line.startswith(code)
    assert ("quoted" in line) == (code == "550 5.6.0")


@pytest.mark.parametrize(
    "recipient",
    [
        "A..b@mobile.example",
        "a.@mobile.example",
        "Info@abc_d.example",
        f"reply+{'0' * 84}@reply.example",
    ],
)
async def test_recipients_elsewhere_are_labels_kept_as_written(
    env: SubmissionEnv, recipient: str
) -> None:
    talk = await begun(await env.known())
    assert await talk.say(f"RCPT TO:<{recipient}>\r\n".encode()) == "250 2.1.5"
    assert await talk.data(b"From: alice@example.test\r\n\r\nx\r\n.\r\n") == "250 2.0.0"
    ((envelope, _),) = env.ingest.kept
    assert recipient in envelope.recipients
