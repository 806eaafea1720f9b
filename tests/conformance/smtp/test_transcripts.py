"""SMTP dialogues: greeting, commands in and out of order, pipelining (RFC 5321, 2034, 2920,
1870, 6152, 6531)."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator

import pytest

from posthorn.model.directory_entry import RecipientStatus
from posthorn.model.outbound import Notify, RecipientDsn
from posthorn.ports.errors import Unavailable
from posthorn.wire import srs
from posthorn.wire.address import Address
from tests.conformance.smtp.env import EHLO, MESSAGE, TO_ALICE, SmtpEnv, after_trace, smtp_env
from tests.support.polling import BUSY_SECONDS

KEY = b"k" * 32


@pytest.fixture
async def env() -> AsyncIterator[SmtpEnv]:
    async with smtp_env() as made:
        yield made


async def test_a_message_is_taken(env: SmtpEnv) -> None:
    await env.play(r"""
        S: 220 mx.example.test ESMTP Posthorn
        C: EHLO client.example.org
        S: 250-mx.example.test
        S: 250-SIZE 52428800
        S: 250-8BITMIME
        S: 250-SMTPUTF8
        S: 250-PIPELINING
        S: 250-ENHANCEDSTATUSCODES
        S: 250 CHUNKING
        C: MAIL FROM:<a@example.org>
        S: 250 2.1.0 sender OK
        C: RCPT TO:<alice@example.test>
        S: 250 2.1.5 recipient OK
        C: DATA
        S: 354 end data with <CR><LF>.<CR><LF>
        C: Subject: hello
        C:
        C: text
        C: ..
        C: .
        S: 250 2.0.0 …-…-7…-…-… accepted
        C: QUIT
        S: 221 2.0.0 bye
        S: <end>
    """)
    envelope, octets = env.only()
    assert after_trace(octets) == b"Subject: hello\r\n\r\ntext\r\n.\r\n"
    assert envelope.recipients == ("alice@example.test",)
    assert envelope.reverse_path == "a@example.org"
    assert envelope.summary.subject == "hello"
    assert envelope.body.has_dot_lines
    assert envelope.protocol == "ESMTP"
    assert envelope.client_address == "127.0.0.1"
    assert envelope.role == "mx"


async def test_the_reply_names_the_message(env: SmtpEnv) -> None:
    talk = await (await env.talk()).begin()
    await talk.send(b"DATA\r\n")
    assert await talk.code() == "354"
    await talk.send(MESSAGE + b".\r\n")
    reply = await talk.line()
    envelope, octets = env.only()
    assert reply == f"250 2.0.0 {envelope.id} accepted"
    assert str(envelope.id).encode() in octets[:400]


async def test_the_trace_fields_say_how_it_came(env: SmtpEnv) -> None:
    talk = await (await env.talk()).begin()
    assert await talk.data(MESSAGE + b".\r\n") == "250 2.0.0"
    envelope, octets = env.only()
    assert re.fullmatch(
        rb"Return-Path: <a@example\.org>\r\n"
        rb"Received: from client\.example\.org \(\[127\.0\.0\.1\]\)\r\n"
        rb"\tby mx\.example\.test with ESMTP\r\n"
        rb"\tid " + str(envelope.id).encode() + rb"\r\n\tfor <alice@example\.test>;\r\n"
        rb"\t(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d \w{3} \d{4} \d\d:\d\d:\d\d \+0000\r\n",
        octets.removesuffix(MESSAGE),
    )
    assert all(len(line) < 78 for line in octets.split(b"\r\n"))
    assert envelope.body.return_path_octets == len(b"Return-Path: <a@example.org>\r\n")


async def test_several_recipients_do_not_learn_of_each_other(env: SmtpEnv) -> None:
    await env.play(r"""
        S: 220 …
        C: HELO client
        S: 250 mx.example.test
        C: MAIL FROM:<>
        S: 250 2.1.0 …
        C: RCPT TO:<alice@example.test>
        S: 250 2.1.5 …
        C: RCPT TO:<bob@example.test>
        S: 250 2.1.5 …
        C: DATA
        S: 354 …
        C: .
        S: 250 2.0.0 …
    """)
    envelope, octets = env.only()
    assert envelope.recipients == ("alice@example.test", "bob@example.test")
    assert envelope.reverse_path == ""
    assert envelope.protocol == "SMTP"
    assert octets.startswith(b"Return-Path: <>\r\nReceived: from client ")
    assert b"for <" not in octets


async def test_an_incoming_return_path_stays(env: SmtpEnv) -> None:
    talk = await (await env.talk()).begin()
    content = b"Return-Path: <liar@example.net>\r\n" + MESSAGE
    assert await talk.data(content + b".\r\n") == "250 2.0.0"
    assert after_trace(env.only()[1]) == content


async def test_helo_cannot_inject_a_header(env: SmtpEnv) -> None:
    await env.play(r"""
        S: 220 …
        C: EHLO evil)\;(<x>"/é
        S: 250-…
        S: 250-…
        S: 250-…
        S: 250-…
        S: 250-…
        S: 250-…
        S: 250 …
        C: MAIL FROM:<>
        C: RCPT TO:<alice@example.test>
        C: DATA
        S: 250 …
        S: 250 …
        S: 354 …
        C: .
        S: 250 …
        R: EHLO a\rReceived: b\r\n
        S: 500 5.5.2 …
    """)
    octets = env.only()[1]
    assert octets.split(b"\r\n")[1] == b"Received: from evil?????x???? ([127.0.0.1])"


async def test_a_client_that_speaks_first_is_answered_in_order(env: SmtpEnv) -> None:
    # RFC 5321 §3.1: the greeting should be awaited; see connection.py for why it is not enforced
    talk = await env.talk()
    await talk.send(b"NOOP\r\nVRFY x\r\n")
    assert [await talk.code() for _ in range(3)] == ["220", "250 2.0.0", "252 2.1.5"]


async def test_a_pipelined_group_is_answered_in_one_write(env: SmtpEnv) -> None:
    talk = await (await env.talk()).hello()
    message = b"Subject: x\r\n\r\ntext\r\n.\r\n"
    group = b"MAIL FROM:<a@example.org>\r\nRCPT TO:<alice@example.test>\r\nRCPT TO:<nobody@example.test>\r\nDATA\r\n"
    await talk.send(group)
    answers = await asyncio.wait_for(talk.reader.read(4096), BUSY_SECONDS)
    assert [line[:3] for line in answers.split(b"\r\n")] == [b"250", b"250", b"550", b"354", b""]
    await talk.send(message + group)  # the next transaction behind the end of data
    answers = await asyncio.wait_for(
        talk.reader.readuntil(b"354 end data with <CR><LF>.<CR><LF>\r\n"), 5
    )
    assert [line[:3] for line in answers.split(b"\r\n")] == [
        b"250",
        b"250",
        b"250",
        b"550",
        b"354",
        b"",
    ]
    await talk.send(message + b"QUIT\r\n")
    assert [await talk.code(), await talk.code()] == ["250 2.0.0", "221 2.0.0"]
    assert await talk.ended()
    assert len(env.kept()) == 2


async def test_a_whole_session_in_one_segment(env: SmtpEnv) -> None:
    talk = await env.talk()
    await talk.send(
        b"EHLO c.example.org\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n"
        b"Subject: x\r\n\r\n.\r\nRSET\r\nQUIT\r\n"
    )
    talk.writer.write_eof()
    codes = [await talk.code() for _ in range(8)]
    assert codes == [
        "220",
        "250",
        "250 2.1.0",
        "250 2.1.5",
        "354",
        "250 2.0.0",
        "250 2.0.0",
        "221 2.0.0",
    ]
    assert len(env.kept()) == 1


async def test_a_session_octet_by_octet(env: SmtpEnv) -> None:
    talk = await env.talk()
    for octet in b"EHLO c\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\nA: b\r\n\r\n..\r\n.\r\nQUIT\r\n":
        await talk.send(bytes([octet]))
        await asyncio.sleep(0)
    codes = [await talk.code() for _ in range(7)]
    assert codes == ["220", "250", "250 2.1.0", "250 2.1.5", "354", "250 2.0.0", "221 2.0.0"]
    assert after_trace(env.only()[1]) == b"A: b\r\n\r\n.\r\n"


async def test_a_client_that_closes_its_half_still_gets_its_answers(env: SmtpEnv) -> None:
    talk = await (await env.talk()).begin()
    await talk.send(b"DATA\r\n" + MESSAGE + b".\r\n")
    talk.writer.write_eof()
    assert [await talk.code(), await talk.code()] == ["354", "250 2.0.0"]
    assert await talk.ended()


async def test_a_connection_lost_in_a_message_keeps_nothing(env: SmtpEnv) -> None:
    talk = await (await env.talk()).begin()
    assert await talk.say(b"DATA\r\n") == "354"
    await talk.send(MESSAGE)
    talk.writer.transport.abort()
    await env.nothing_is_left()
    assert not env.ingest.tried


async def test_commands_out_of_order(env: SmtpEnv) -> None:
    await env.play(r"""
        S: 220 …
        C: MAIL FROM:<a@example.org>
        S: 503 5.5.1 send EHLO or HELO first
        C: DATA
        S: 503 5.5.1 send EHLO or HELO first
        C: HELO c
        S: 250 …
        C: RCPT TO:<alice@example.test>
        S: 503 5.5.1 MAIL first
        C: DATA
        S: 503 5.5.1 MAIL first
        C: MAIL FROM:<a@example.org>
        S: 250 2.1.0 …
        C: MAIL FROM:<b@example.org>
        S: 503 5.5.1 …
        C: DATA
        S: 554 5.5.1 no valid recipients
        C: RSET
        S: 250 2.0.0 OK
        C: RCPT TO:<alice@example.test>
        S: 503 5.5.1 MAIL first
        C: MAIL FROM:<a@example.org>
        S: 250 2.1.0 …
        C: EHLO again
        S: 250-…
        S: 250-…
        S: 250-…
        S: 250-…
        S: 250-…
        S: 250-…
        S: 250 …
        C: RCPT TO:<alice@example.test>
        S: 503 5.5.1 MAIL first
        C: QUIT
        S: 221 2.0.0 bye
        S: <end>
    """)


async def test_commands_that_cannot_be_obeyed(env: SmtpEnv) -> None:
    talk = await (await env.talk()).hello()
    for line, code in [
        (b"", "500 5.5.2"),
        (b"FOO", "500 5.5.2"),
        (b"STARTTLS", "502 5.5.1"),
        (b"EXPN staff", "502 5.5.1"),
        (b"NOOP whatever", "250 2.0.0"),
        (b"HELP", "214 2.0.0"),
        (b"VRFY alice", "252 2.1.5"),
        (b"VRFY", "501 5.5.4"),
        (b"RSET now", "501 5.5.4"),
        (b"EHLO", "501 5.5.4"),
        (b"MAIL FROM:a@example.org>", "501 5.5.4"),
        (b"MAIL FROM:<a@example.org> RET=ALL", "501 5.5.4"),
        (b"QUIT", "221 2.0.0"),
    ]:
        assert await talk.say(line + b"\r\n") == code, line
    assert await talk.ended()


async def test_there_are_no_logins_where_mail_for_others_is_not_taken(env: SmtpEnv) -> None:
    talk = await (await env.talk()).hello()
    assert await talk.say(b"AUTH PLAIN AGEAYg==\r\n") == "502 5.5.1"
    assert await talk.say(b"MAIL FROM:<a@example.org> AUTH=<>\r\n") == "555 5.5.4"


async def test_what_is_asked_about_notices_and_the_case_of_the_sender_are_kept(
    env: SmtpEnv,
) -> None:
    talk = await (await env.talk()).hello()
    assert (
        await talk.say(b"MAIL FROM:<Some.One@Example.ORG> RET=HDRS ENVID=QQ+2B314159\r\n")
        == "250 2.1.0"
    )
    for line in (
        b"RCPT TO:<alice@example.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;Old@example.net\r\n",
        b"RCPT TO:<Bob@example.test>\r\n",
        b"RCPT TO:<alice@example.test> NOTIFY=NEVER\r\n",
    ):
        assert await talk.say(line) == "250 2.1.5"
    assert await talk.data(MESSAGE + b".\r\n") == "250 2.0.0"
    envelope, octets = env.only()
    assert octets.startswith(b"Return-Path: <Some.One@example.org>\r\n")
    assert envelope.reverse_path == "Some.One@example.org"
    assert envelope.recipients == ("alice@example.test", "bob@example.test")
    assert (envelope.ret, envelope.envid) == ("HDRS", "QQ+314159")
    assert envelope.dsn == {
        "alice@example.test": RecipientDsn(
            Notify.SUCCESS | Notify.FAILURE, "rfc822;Old@example.net"
        )
    }


async def test_a_bounce_finds_its_way_to_a_rewritten_reverse_path() -> None:
    today = int(time.time() // 86_400)
    path = srs.rewrite("someone@elsewhere.example", "example.test", KEY, today)
    forged = srs.rewrite("someone@elsewhere.example", "example.test", b"f" * 32, today)
    stale = srs.rewrite("someone@elsewhere.example", "example.test", KEY, today - 40)
    async with smtp_env(srs_keys=(b"n" * 32, KEY)) as env:
        talk = await (await env.talk()).hello()
        assert await talk.say(b"MAIL FROM:<>\r\n") == "250 2.1.0"
        for address, code in (
            (path.lower(), "250 2.1.5"),
            (forged, "550 5.1.1"),
            (stale, "550 5.1.1"),
        ):
            assert await talk.say(f"RCPT TO:<{address}>\r\n".encode()) == code
        assert await talk.data(MESSAGE + b".\r\n") == "550 5.7.1"
        assert env.ingest.kept == []
        for kind in (
            b"Auto-Submitted: auto-replied",
            b"Content-Type: multipart/report; boundary=x",
        ):
            env.ingest.kept.clear()
            assert await talk.say(b"MAIL FROM:<>\r\n") == "250 2.1.0"
            assert await talk.say(f"RCPT TO:<{path.lower()}>\r\n".encode()) == "250 2.1.5"
            assert await talk.data(kind + b"\r\n" + MESSAGE + b".\r\n") == "250 2.0.0"
            assert env.only()[0].recipients == (path.lower(),)
        assert await talk.say(b"MAIL FROM:<spammer@example.org>\r\n") == "250 2.1.0"
        assert await talk.say(f"RCPT TO:<{path}>\r\n".encode()) == "550 5.1.1"


async def test_a_bounce_for_a_stored_long_sender_is_judged_without_the_store() -> None:
    today = int(time.time() // 86_400)
    sender = "x" * 60 + "@elsewhere.example"
    path, forged = (
        srs.rewrite_long(sender, "example.test", key, today, "AAAA") for key in (KEY, b"f" * 32)
    )
    stale = srs.rewrite_long(sender, "example.test", KEY, today - 40)
    report = b"Content-Type: multipart/report; boundary=x\r\n" + MESSAGE + b".\r\n"
    async with smtp_env(srs_keys=(b"n" * 32, KEY)) as env:
        talk = await (await env.talk()).hello()
        assert await talk.say(b"MAIL FROM:<>\r\n") == "250 2.1.0"
        for address, code in (
            (path.upper(), "250 2.1.5"),
            (forged, "550 5.1.1"),
            (stale, "550 5.1.1"),
        ):
            assert await talk.say(f"RCPT TO:<{address}>\r\n".encode()) == code
        assert await talk.data(report) == "250 2.0.0"
        (kept,) = env.only()[0].recipients
        assert kept.lower() == path.lower()
        assert await talk.say(b"MAIL FROM:<spammer@example.org>\r\n") == "250 2.1.0"
        assert await talk.say(f"RCPT TO:<{path}>\r\n".encode()) == "550 5.1.1"


async def test_strangers_are_not_offered_notices_of_delivery(env: SmtpEnv) -> None:
    talk = await env.talk()
    assert await talk.code() == "220"
    await talk.send(b"EHLO client.example.org\r\n")
    assert not any("DSN" in line for line in await talk.reply())


async def test_what_has_been_here_too_often_loops(env: SmtpEnv) -> None:
    talk = await (await env.talk()).hello()
    here = b"Received: from a.test (a [192.0.2.1])\r\n\tby MX.example.test with ESMTP; today\r\n"
    mark = b"X-Posthorn-Passed: abc\r\n"
    elsewhere = here.replace(b"MX.example", b"mx.elsewhere")
    for fields, code in (
        (here * 5, "250 2.0.0"),
        (here * 6, "554 5.4.6"),
        (mark * 6, "554 5.4.6"),
        (elsewhere * 20, "250 2.0.0"),
    ):
        assert await talk.say(b"MAIL FROM:<a@example.org>\r\n") == "250 2.1.0"
        assert await talk.say(b"RCPT TO:<alice@example.test>\r\n") == "250 2.1.5"
        assert await talk.data(fields + MESSAGE + b".\r\n") == code


async def test_an_alias_whose_owner_may_send_no_more_takes_nothing_for_now(env: SmtpEnv) -> None:
    env.directory.standings["team@example.test"] = RecipientStatus.LIMITED
    talk = await (await env.talk()).hello()
    assert await talk.say(b"MAIL FROM:<a@example.org>\r\n") == "250 2.1.0"
    assert await talk.say(b"RCPT TO:<team@example.test>\r\n") == "450 4.7.1"
    assert await talk.say(b"DATA\r\n") == "451 4.5.1"


async def test_marks_of_aliases_go_into_the_envelope(env: SmtpEnv) -> None:
    talk = await (await env.talk()).begin()
    assert await talk.data(b"X-Posthorn-Passed: AbC2\r\n" + MESSAGE + b".\r\n") == "250 2.0.0"
    assert env.only()[0].passed == ("abc2",)


@pytest.mark.parametrize(
    "first", [b"POST / HTTP/1.1", b"get / HTTP/1.0", b"Host: mail.example.test:25"]
)
async def test_another_protocol_ends_the_session_before_anything_behind_it(
    env: SmtpEnv, first: bytes
) -> None:
    talk = await env.talk()
    assert await talk.code() == "220"
    await talk.send(
        first + b"\r\nX: y\r\n\r\n" + EHLO + TO_ALICE + b"DATA\r\n" + MESSAGE + b".\r\nQUIT\r\n"
    )
    assert await talk.code() == "421 4.7.0"
    assert await talk.ended()
    assert not env.ingest.tried


@pytest.mark.parametrize(
    "name", [b"M\xdcLLER-PC", b"Bob's iPhone", b"pc\tone", b"\xca\xe0\xf1", b"a" * 2000, b"\x01"]
)
@pytest.mark.parametrize("verb", [b"EHLO ", b"HELO "])
async def test_no_name_of_a_client_is_a_reason_to_refuse_it(
    env: SmtpEnv, verb: bytes, name: bytes
) -> None:
    talk = await env.talk()
    assert await talk.code() == "220"
    assert (await talk.say(verb + name + b"\r\n")).startswith("250")
    await talk.send(TO_ALICE)
    assert [await talk.code(), await talk.code()] == ["250 2.1.0", "250 2.1.5"]
    assert await talk.data(MESSAGE + b".\r\n") == "250 2.0.0"
    envelope, octets = env.only()
    assert re.search(rb"Received: from [A-Za-z0-9.:_\[\]?-]+ \(\[127", octets)
    assert len(envelope.helo) <= 255


@pytest.mark.parametrize(
    "sender",
    [
        "Try..This.@docomo.example",
        f"bounces+{'a' * 100}@Em.example",
        "root@web_1.internal",
        "root",
        '"a".B@x_y.example',
    ],
)
async def test_senders_are_labels_kept_as_written(env: SmtpEnv, sender: str) -> None:
    talk = await (await env.talk()).hello()
    assert await talk.say(f"MAIL FROM: {sender}\r\n".encode()) == "250 2.1.0"
    assert await talk.say(b"RCPT TO: alice@example.test\r\n") == "250 2.1.5"
    for recipient, code in (
        ("a..b@example.test", "550 5.1.1"),
        ("a..b@my_host.example", "550 5.7.1"),
    ):
        assert await talk.say(f"RCPT TO:<{recipient}>\r\n".encode()) == code
    assert await talk.data(MESSAGE + b".\r\n") == "250 2.0.0"
    envelope, octets = env.only()
    local, at, domain = sender.rpartition("@")
    written = f"{local}{at}{domain.lower()}" if at else sender
    assert envelope.reverse_path == written
    assert octets.startswith(f"Return-Path: <{written}>\r\n".encode())


async def test_too_many_errors_end_the_session(env: SmtpEnv) -> None:
    talk = await (await env.talk()).hello()
    for _ in range(9):
        assert await talk.say(b"GET / HTTP/1.1\r\n") == "500 5.5.2"
    assert await talk.say(b"Host: example.test\r\n") == "421 4.7.0"
    assert await talk.ended()


async def test_a_line_end_without_cr_is_an_error_not_silence(env: SmtpEnv) -> None:
    talk = await (await env.talk()).hello()
    assert await talk.say(b"NOOP\n") == "500 5.5.2"
    assert await talk.say(b"NOOP\r\r\n") == "500 5.5.2"
    assert await talk.say(b"NO\0OP\r\n") == "500 5.5.2"
    assert await talk.say(b"NOOP\r\n") == "250 2.0.0"


async def test_long_command_lines_are_refused_and_forgotten(env: SmtpEnv) -> None:
    talk = await (await env.talk()).hello()
    assert await talk.say(b"NOOP " + b"x" * 505 + b"\r\n") == "250 2.0.0"  # 512 with CRLF
    assert await talk.say(b"NOOP " + b"x" * 506 + b"\r\n") == "500 5.5.2"
    for _ in range(300):
        await talk.send(b"NOOP " + b"x" * 10_000)
    assert await talk.say(b"\r\n") == "500 5.5.2"
    assert await talk.say(b"MAIL FROM:<a@example.org>" + b" " * 530 + b"SIZE=1\r\n") == "250 2.1.0"
    assert await talk.say(b"RSET\r\n") == "250 2.0.0"


async def test_size_is_judged_at_mail(env: SmtpEnv) -> None:
    talk = await (await env.talk()).hello()
    assert await talk.say(b"MAIL FROM:<a@example.org> SIZE=52428801\r\n") == "552 5.3.4"
    assert await talk.say(b"RCPT TO:<alice@example.test>\r\n") == "503 5.5.1"
    assert (
        await talk.say(b"MAIL FROM:<a@example.org> SIZE=52428800 BODY=8BITMIME SMTPUTF8\r\n")
        == "250 2.1.0"
    )


async def test_addresses_in_another_script_need_smtputf8(env: SmtpEnv) -> None:
    env.directory.standings["jiří@example.test"] = RecipientStatus.DELIVERABLE
    talk = await (await env.talk()).hello()
    assert await talk.say("MAIL FROM:<jiří@example.org>\r\n".encode()) == "553 5.6.7"
    assert await talk.say(b"MAIL FROM:<a@example.org>\r\n") == "250 2.1.0"
    assert await talk.say("RCPT TO:<jiří@example.test>\r\n".encode()) == "553 5.6.7"
    assert await talk.say(b"RSET\r\n") == "250 2.0.0"
    assert await talk.say("MAIL FROM:<jiří@dvůr.example> SMTPUTF8\r\n".encode()) == "250 2.1.0"
    assert await talk.say("RCPT TO:<JIŘÍ@example.test>\r\n".encode()) == "250 2.1.5"
    assert await talk.data("Subject: Dobrý den\r\n\r\n.\r\n".encode()) == "250 2.0.0"
    envelope, octets = env.only()
    assert envelope.recipients == ("jiří@example.test",)
    assert (
        envelope.reverse_path == "jiří@xn--dvr-cza70c.example"
        or envelope.reverse_path.startswith("jiří@xn--")
    )
    assert envelope.protocol == "UTF8SMTP"
    assert envelope.smtputf8
    assert "for <jiří@example.test>".encode() in octets


async def test_each_standing_has_its_answer(env: SmtpEnv) -> None:
    env.directory.standings |= {
        "full@example.test": RecipientStatus.OVER_QUOTA,
        "away@example.test": RecipientStatus.SUSPENDED,
    }
    talk = await (await env.talk()).hello()
    assert (
        await talk.say(b"MAIL FROM:<alice@example.test>\r\n") == "250 2.1.0"
    )  # whoever says to be whom: never a relay
    for recipient, code in [
        (b"full@example.test", "452 4.2.2"),
        (b"away@example.test", "450 4.2.1"),
        (b"nobody@example.test", "550 5.1.1"),
        (b"a@elsewhere.example", "550 5.7.1"),
        (b"alice@[127.0.0.1]", "550 5.7.1"),
        (b"alice%elsewhere.example@example.test", "550 5.1.1"),
        (b'"a@elsewhere.example"@example.test', "550 5.1.1"),
        (b"@elsewhere.example:alice@example.test", "250 2.1.5"),
        (b"alice@EXAMPLE.test", "250 2.1.5"),
        (b"not an address", "553 5.1.3"),
    ]:
        assert await talk.say(b"RCPT TO:<%b>\r\n" % recipient) == code, recipient
    assert await talk.data(MESSAGE + b".\r\n") == "250 2.0.0"
    assert env.only()[0].recipients == ("alice@example.test",)


async def test_postmaster_without_a_domain_is_the_host_s(env: SmtpEnv) -> None:
    talk = await (await env.talk()).hello()
    assert await talk.say(b"MAIL FROM:<a@example.org>\r\n") == "250 2.1.0"
    # there is none: not a matter of relaying
    assert await talk.say(b"RCPT TO:<Postmaster>\r\n") == "550 5.1.1"
    env.directory.standings["postmaster@mx.example.test"] = RecipientStatus.DELIVERABLE
    assert await talk.say(b"RCPT TO:<POSTMASTER>\r\n") == "250 2.1.5"
    assert {env.directory.asked[0], env.directory.asked[-1]} == {"postmaster@mx.example.test"}


async def test_postmaster_without_a_domain_is_who_the_settings_say() -> None:
    async with smtp_env(smtp_postmaster="Alice@Example.test") as env:
        talk = await (await env.talk()).hello()
        assert await talk.say(b"MAIL FROM:<>\r\n") == "250 2.1.0"
        assert await talk.say(b"RCPT TO:<postmaster>\r\n") == "250 2.1.5"
        assert await talk.data(MESSAGE + b".\r\n") == "250 2.0.0"
        assert env.only()[0].recipients == ("alice@example.test",)


async def test_the_hundred_and_first_recipient_is_for_another_transaction(env: SmtpEnv) -> None:
    env.directory.everybody = True
    talk = await (await env.talk()).hello()
    recipients = b"".join(b"RCPT TO:<r%d@example.test>\r\n" % number for number in range(102))
    await talk.send(
        b"MAIL FROM:<a@example.org>\r\n" + recipients + b"RCPT TO:<R7@example.test>\r\n"
    )
    codes = [await talk.code() for _ in range(104)]
    assert codes == ["250 2.1.0"] + ["250 2.1.5"] * 100 + ["452 4.5.3"] * 2 + ["250 2.1.5"]
    assert await talk.data(MESSAGE + b".\r\n") == "250 2.0.0"
    assert len(env.only()[0].recipients) == 100


async def test_an_old_list_with_a_good_address_in_it_gets_through(env: SmtpEnv) -> None:
    talk = await (await env.talk()).begin()
    for number in range(60):
        assert await talk.say(b"RCPT TO:<gone%d@example.test>\r\n" % number) == "550 5.1.1"
    assert await talk.data(MESSAGE + b".\r\n") == "250 2.0.0"


async def test_harvesting_ends_the_session(env: SmtpEnv) -> None:
    talk = await (await env.talk()).hello()
    for number in range(19):
        if number % 5 == 0:
            assert await talk.say(b"RSET\r\n") == "250 2.0.0"  # a new transaction is no new start
            assert await talk.say(b"MAIL FROM:<a@example.org>\r\n") == "250 2.1.0"
        assert await talk.say(b"RCPT TO:<guess%d@example.test>\r\n" % number) == "550 5.1.1"
    assert await talk.say(b"RCPT TO:<guess@example.test>\r\n") == "421 4.7.0"
    assert await talk.ended()


@pytest.mark.parametrize(
    ("standings", "setting", "recipient", "code", "kept"),
    [
        ({}, None, "postmaster@example.test", "550 5.1.1", None),
        ({}, None, "Postmaster", "550 5.1.1", None),
        ({}, "alice@example.test", "PostMaster@example.test", "250 2.1.5", "alice@example.test"),
        ({}, "alice@example.test", "Postmaster", "250 2.1.5", "alice@example.test"),
        (
            {"postmaster@example.test": RecipientStatus.DELIVERABLE},
            "alice@example.test",
            "postmaster@example.test",
            "250 2.1.5",
            "",
        ),
        (
            {"postmaster@example.test": RecipientStatus.DELIVERABLE},
            None,
            "Postmaster",
            "250 2.1.5",
            "postmaster@example.test",
        ),
        (
            {"alice@example.test": RecipientStatus.OVER_QUOTA},
            "alice@example.test",
            "postmaster@example.test",
            "452 4.2.2",
            None,
        ),
        (
            {"postmaster@example.test": RecipientStatus.SUSPENDED},
            "alice@example.test",
            "postmaster@example.test",
            "450 4.2.1",
            None,
        ),
        ({}, "alice@example.test", "postmaster@elsewhere.example", "550 5.7.1", None),
        ({}, "alice@example.test", "postmasters@example.test", "550 5.1.1", None),
        ({}, "nobody@example.test", "postmaster@example.test", "550 5.1.1", None),
    ],
)
async def test_mail_for_a_postmaster_goes_where_somebody_reads_it(
    standings: dict[str, RecipientStatus],
    setting: str | None,
    recipient: str,
    code: str,
    kept: str | None,
) -> None:
    async with smtp_env(smtp_postmaster=setting, smtp_hostname="mx1.mail.example.test") as env:
        env.directory.standings |= standings
        talk = await (await env.talk()).hello()
        assert await talk.say(b"MAIL FROM:<>\r\n") == "250 2.1.0"
        assert await talk.say(f"RCPT TO:<{recipient}>\r\n".encode()) == code
        if kept is not None:
            assert await talk.data(MESSAGE + b".\r\n") == "250 2.0.0"
            assert env.only()[0].recipients == (kept or recipient,)


@pytest.mark.parametrize(
    ("standings", "setting", "recipient", "code", "kept"),
    [
        ({}, None, "postmaster@example.test", "250 2.1.5", "bob@example.test"),
        ({}, None, "Postmaster", "250 2.1.5", "bob@example.test"),
        ({}, "nobody@example.test", "postmaster@example.test", "250 2.1.5", "bob@example.test"),
        ({}, "alice@example.test", "postmaster@example.test", "250 2.1.5", "alice@example.test"),
        (
            {"bob@example.test": RecipientStatus.SUSPENDED},
            None,
            "postmaster@example.test",
            "450 4.2.1",
            None,
        ),
        (
            {"bob@example.test": RecipientStatus.OVER_QUOTA},
            None,
            "postmaster@example.test",
            "452 4.2.2",
            None,
        ),
        ({}, None, "postmaster@elsewhere.example", "550 5.7.1", None),
        ({}, None, "abuse@example.test", "550 5.1.1", None),
    ],
)
async def test_the_oldest_account_of_a_domain_is_its_postmaster_where_nobody_else_is(
    standings: dict[str, RecipientStatus],
    setting: str | None,
    recipient: str,
    code: str,
    kept: str | None,
) -> None:
    async with smtp_env(smtp_postmaster=setting, smtp_hostname="mx1.mail.example.test") as env:
        env.directory.standings |= standings
        env.directory.oldest["example.test"] = Address("bob", "example.test")
        talk = await (await env.talk()).hello()
        assert await talk.say(b"MAIL FROM:<>\r\n") == "250 2.1.0"
        assert await talk.say(f"RCPT TO:<{recipient}>\r\n".encode()) == code
        if kept is not None:
            assert await talk.data(MESSAGE + b".\r\n") == "250 2.0.0"
            assert env.only()[0].recipients == (kept,)


async def test_a_directory_that_does_not_answer_leaves_a_postmaster_for_later() -> None:
    async with smtp_env(smtp_postmaster="alice@example.test") as env:
        env.directory.fault = Unavailable("directory", "gone")
        talk = await (await env.talk()).hello()
        assert await talk.say(b"MAIL FROM:<>\r\n") == "250 2.1.0"
        for recipient in (b"postmaster@example.test", b"Postmaster"):
            assert await talk.say(b"RCPT TO:<" + recipient + b">\r\n") == "451 4.3.0"


@pytest.mark.parametrize(
    ("size", "recipient", "code"),
    [
        (b"SIZE=900000", "alice@example.test", "452 4.2.2"),
        (b"SIZE=2926", "alice@example.test", "452 4.2.2"),
        (b"SIZE=2925", "alice@example.test", "250 2.1.5"),
        (b"", "alice@example.test", "250 2.1.5"),
        (b"SIZE=900000", "bob@example.test", "250 2.1.5"),
        (b"SIZE=900000", "nobody@example.test", "550 5.1.1"),
    ],
)
async def test_a_declared_size_that_cannot_fit_is_told_at_rcpt(
    env: SmtpEnv, size: bytes, recipient: str, code: str
) -> None:
    env.directory.rooms["alice@example.test"] = 2925
    talk = await (await env.talk()).hello()
    assert await talk.say(b"MAIL FROM:<a@example.org> " + size + b"\r\n") == "250 2.1.0"
    assert await talk.say(f"RCPT TO:<{recipient}>\r\n".encode()) == code
    assert await talk.say(b"RCPT TO:<bob@example.test>\r\n") == "250 2.1.5"
