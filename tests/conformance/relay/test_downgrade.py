"""Messages that a host does not take as they are: converted on the way, or refused (RFC 6152 §3,
RFC 5321 §4.5.3.1.6)."""

from __future__ import annotations

import email
import email.policy
import tempfile
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import REGISTRY

from posthorn.ports.errors import Unavailable
from posthorn_relay.smtp.types import Accepted, Failed
from tests.conformance.relay.client_env import (
    connector,
    failure_of,
    post,
    remote,
    transaction,
    without,
)
from tests.support.scripted_smtp import FULL, ScriptedSmtp, Step

SEVEN = without(b"8BITMIME", b"SIZE")
FIELDS = b"Subject: hi\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
UMLAUTS = "Viele Grüße aus dem Süden, und noch mehr davon.\r\n".encode()
REMARK = "250 2.0.0 taken as 1 (sent in another transfer encoding)"


def count(outcome: str) -> float:
    return (
        REGISTRY.get_sample_value("posthorn_relay_conversions_total", {"outcome": outcome}) or 0.0
    )


def payload(octets: bytes) -> Any:
    return email.message_from_bytes(octets).get_payload(decode=True)


async def test_8_bits_are_converted_where_8bitmime_is_not_offered() -> None:
    before = count("converted")
    async with ScriptedSmtp({"EHLO": SEVEN}) as server:
        first, second = await post(
            server, transaction("b@y.test", "c@y.test", content=(FIELDS, UMLAUTS), eight_bit=True)
        )
    assert isinstance(first, Accepted)
    assert first == second
    assert first.reply == REMARK
    (sent,) = server.contents
    assert (
        sent
        == FIELDS.replace(b"8bit", b"quoted-printable")
        + b"Viele Gr=C3=BC=C3=9Fe aus dem S=C3=BCden, und noch mehr davon.\r\n"
    )
    assert not any("BODY" in command for command in server.commands)
    assert count("converted") == before + 1


async def test_the_size_that_is_declared_is_that_of_what_is_sent() -> None:
    async with ScriptedSmtp({"EHLO": without(b"8BITMIME")}) as server:
        await post(server, transaction(content=(FIELDS, UMLAUTS), eight_bit=True))
        (sent,) = server.contents
        assert f"SIZE={len(sent)}" in server.commands[1]
        server.script = {"EHLO": without(b"8BITMIME").replace(b"1000000", b"%d" % (len(sent) - 1))}
        (result,) = await post(server, transaction(content=(FIELDS, UMLAUTS), eight_bit=True))
    assert failure_of(result) == ("mail", 0, "5.3.4", True)
    assert len(server.contents) == 1


async def test_nothing_is_converted_that_the_host_takes() -> None:
    async with ScriptedSmtp({"EHLO": FULL}) as server:
        (result,) = await post(server, transaction(content=(FIELDS, UMLAUTS), eight_bit=True))
    assert isinstance(result, Accepted)
    assert result.reply == "250 2.0.0 taken as 1"
    assert server.contents == [FIELDS + UMLAUTS]
    assert "BODY=8BITMIME" in server.commands[1]


@pytest.mark.parametrize("keyword", [b"nothing", b"CHUNKING"])
@pytest.mark.parametrize("dots", [True, False])
async def test_a_line_longer_than_998_octets_is_never_sent(keyword: bytes, dots: bool) -> None:
    whole = FIELDS + b".long\r\n" + b"x" * 999 + b"\r\n" + UMLAUTS
    async with ScriptedSmtp({"EHLO": without(keyword)}) as server:
        (result,) = await post(server, transaction(content=(whole,), eight_bit=True, dots=dots))
    assert isinstance(result, Accepted)
    assert result.reply == REMARK
    sent = b"".join(server.contents)
    assert max(map(len, sent.split(b"\r\n"))) <= 998
    if server.verbs[-2] == "DATA":
        sent = sent.replace(b"\r\n..", b"\r\n.")
    assert payload(sent) == whole.partition(b"\r\n\r\n")[2]
    fit = FIELDS + b"x" * 998 + b"\r\n"
    async with ScriptedSmtp({"EHLO": without(keyword)}) as server:
        await post(server, transaction(content=(fit,), eight_bit=True, dots=dots))
    assert server.contents == [fit]


@pytest.mark.parametrize(
    "content",
    [
        FIELDS.replace(b"text/plain", b"multipart/signed; boundary=x")
        + b"--x\r\n\r\n"
        + UMLAUTS
        + b"--x--\r\n",
        b"no field\r\n\r\n" + UMLAUTS,
        b"X-Link: " + b"a" * 2000 + b"\r\n\r\nx\r\n",
        b"Message-ID: <\xe4@x.test>\r\n\r\nx\r\n",
    ],
)
@pytest.mark.parametrize("reply", [b"250 2.0.0 ok\r\n", b"554 5.6.1 not this\r\n"])
async def test_what_cannot_be_converted_is_offered_as_it_is_and_the_host_decides(
    content: bytes, reply: bytes
) -> None:
    async with ScriptedSmtp({"EHLO": SEVEN, "END": [reply, b"250 2.0.0 ok\r\n"]}) as server:
        connection = await connector().connect(remote(server.port))
        first, second = await connection.send(
            transaction("b@y.test", "c>@y.test", content=(content,), eight_bit=True)
        )
        assert isinstance(first, Accepted) is reply.startswith(b"250")
        assert not isinstance(first, Failed) or (first.code, first.stage) == (554, "end")
        assert failure_of(second) == ("rcpt", 0, "5.1.3", True)
        assert server.contents == [content]
        assert isinstance((await connection.send(transaction()))[0], Accepted)
        await connection.close()


RAW = "Subject: Grüße\r\nFrom: Jörg <a@x.test>\r\n\r\nx\r\n".encode()


async def test_a_raw_header_is_encoded_where_the_host_takes_none() -> None:
    for keywords, smtputf8, is_raw in (
        ((b"8BITMIME", b"SMTPUTF8"), False, False),
        ((b"SMTPUTF8",), True, False),
        ((b"SMTPUTF8",), False, True),
        ((b"nothing",), True, True),
    ):
        async with ScriptedSmtp({"EHLO": without(*keywords)}) as server:
            (result,) = await post(
                server, transaction(content=(RAW,), eight_bit=True, smtputf8=smtputf8)
            )
        assert isinstance(result, Accepted)
        (got,) = server.contents
        read = email.message_from_bytes(got, policy=email.policy.default)
        assert (read["Subject"], read["From"]) == ("Grüße", "Jörg <a@x.test>")
        assert (got == RAW) is is_raw
        assert ("SMTPUTF8" in server.commands[1]) is (is_raw and smtputf8)


# Signatures of ours

OURS, OTHER = b"DKIM-Signature: as it is\r\n", b"DKIM-Signature: seven\r\n"
MARK = b"Delivered-To: alias@x.test\r\n"


@pytest.mark.parametrize("other", [OTHER, b""])
@pytest.mark.parametrize("size", ["small", "large"])
@pytest.mark.parametrize("takes", [True, False])
async def test_the_signature_goes_that_holds_or_none(other: bytes, size: str, takes: bool) -> None:
    body = UMLAUTS * (1 if size == "small" else 5000)
    content = (
        MARK + OURS + FIELDS,
        *(body[at : at + 90_000] for at in range(0, len(body), 90_000)),
    )
    what = replace(
        transaction(content=content, eight_bit=True),
        signature_at=len(MARK),
        signature_bytes=len(OURS),
        seven_bit_signature=other,
    )
    async with ScriptedSmtp(
        {"EHLO": without(b"nothing" if takes else b"8BITMIME", b"SIZE", b"CHUNKING")}
    ) as server:
        (result,) = await post(server, what)
    assert isinstance(result, Accepted)
    (got,) = server.contents
    if takes:
        assert got == b"".join(content)
        return
    assert got.startswith(other + MARK + b"Subject: hi\r\n")
    assert OURS not in got
    assert payload(got) == body
    assert result.reply == (REMARK if other else REMARK.replace("g)", "g, without our signature)"))


@pytest.mark.parametrize(
    ("refusal", "is_sent_again"),
    [
        (b"500 line too long\r\n", True),
        (b"554 5.6.0 bad\r\n", True),
        (b"554 5.7.1 spam\r\n", False),
    ],
)
@pytest.mark.parametrize("pieces", [1, 3])
async def test_long_lines_of_forwarded_mail_go_as_they_are_unless_the_host_refuses_them(
    refusal: bytes, is_sent_again: bool, pieces: int
) -> None:
    content = (FIELDS + b"x" * 2000 + b"\r\n", *([b"y" * 70_000 + b"\r\n"] * (pieces - 1)))
    what = replace(transaction("b@y.test", "c@y.test", content=content), forwarded=True)
    script: dict[str, Step] = {
        "EHLO": without(b"CHUNKING", b"SIZE"),
        "RCPT": [b"250 ok\r\n", b"550 5.1.1 no\r\n", b"250 ok\r\n"],
    }
    async with ScriptedSmtp(script) as server:
        first, second = await post(server, what)
        assert isinstance(first, Accepted) and not first.reply.endswith("encoding)")
        assert server.contents == [b"".join(content)]
    async with ScriptedSmtp({**script, "END": [refusal, b"250 2.0.0 ok\r\n"]}) as server:
        first, second = await post(server, what)
    assert failure_of(second) == ("rcpt", 550, "5.1.1", True)
    assert isinstance(first, Accepted) is is_sent_again
    assert len(server.contents) == 1 + is_sent_again
    if is_sent_again:
        assert payload(server.contents[1]) == b"".join(content).partition(b"\r\n\r\n")[2]


async def test_a_refusal_of_what_was_converted_says_so() -> None:
    async with ScriptedSmtp(
        {"EHLO": SEVEN, "END": [b"550 5.7.1 bad signature\r\n", b"250 2.0.0 ok\r\n"]}
    ) as server:
        connection = await connector().connect(remote(server.port))
        (result,) = await connection.send(transaction(content=(FIELDS, UMLAUTS), eight_bit=True))
        assert isinstance(result, Failed)
        assert result.reply == "550 5.7.1 bad signature (sent in another transfer encoding)"
        (result,) = await connection.send(transaction())
        assert isinstance(result, Accepted)
        assert result.reply == "250 2.0.0 ok"
        await connection.close()


# Large ones, which are not held in memory


@pytest.mark.parametrize("keyword", [b"nothing", b"CHUNKING"])
async def test_a_large_message_is_converted(keyword: bytes) -> None:
    pieces = (FIELDS, *([UMLAUTS * 500] * 8))
    async with ScriptedSmtp({"EHLO": without(b"8BITMIME", b"SIZE", keyword)}) as server:
        (result,) = await post(server, transaction(content=pieces, eight_bit=True))
    assert isinstance(result, Accepted)
    assert result.reply == REMARK
    assert payload(b"".join(server.contents)) == UMLAUTS * 4000
    assert b"".join(server.contents).isascii()


@pytest.mark.parametrize(
    ("pieces", "is_long"),
    [
        ([b"y" * 500, b"y" * 498 + b"\r", b"\nend"], False),
        ([b"y" * 500, b"y" * 499 + b"\r", b"\nend"], True),
        ([b"y" * 500, b"y" * 498, b"\r\nend"], False),
        ([b"y" * 500, b"y" * 499], True),
        ([b"y" * 500, b"", b"y" * 498], False),
        ([b"y", *([b"y"] * 998)], True),
    ],
)
async def test_long_lines_are_found_however_a_large_message_is_cut(
    pieces: list[bytes], is_long: bool
) -> None:
    content = [FIELDS, (b"x" * 98 + b"\r\n") * 700, *pieces]
    async with ScriptedSmtp() as server:
        (result,) = await post(server, transaction(content=content))
    assert isinstance(result, Accepted)
    assert result.reply.endswith("encoding)") is is_long
    assert (b"".join(server.contents) == b"".join(content) + b"\r\n") is not is_long


async def test_no_room_for_a_large_message_is_a_fault_of_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full() -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    async with ScriptedSmtp({"EHLO": SEVEN}) as server:
        connection = await connector().connect(remote(server.port))
        with pytest.raises(Unavailable):
            await connection.send(
                transaction(content=[FIELDS, *([UMLAUTS * 500] * 4)], eight_bit=True)
            )
        assert connection.usable
        await connection.close()


async def test_a_fault_of_the_store_while_a_message_is_laid_out_comes_through() -> None:
    reads = 0

    async def give() -> AsyncGenerator[bytes]:
        nonlocal reads
        reads += 1
        yield FIELDS
        yield b"x" * 70_000
        if reads == 3:  # begun, looked through, laid out
            raise Unavailable("blobs")
        yield b"\r\n"

    async with ScriptedSmtp() as server:
        connection = await connector().connect(remote(server.port))
        with pytest.raises(Unavailable, match="blobs"):
            await connection.send(replace(transaction(), content=give))
        assert connection.usable
        await connection.close()
    assert server.verbs == ["EHLO", "QUIT"]
