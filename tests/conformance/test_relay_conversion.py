"""Letters that a host does not take as they are: converted on the way, or refused (RFC 6152 §3, RFC 5321 §4.5.3.1.6)."""

from __future__ import annotations

import email
import tempfile
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import REGISTRY

from posthorn.ports.faults import Unavailable
from posthorn_relay.transport import Accepted, Failed
from tests.conformance.relay_stage import connector, hop, parcel, post, told, without
from tests.servers.scripted_smtp import FULL, ScriptedSmtp

SEVEN = without(b"8BITMIME", b"SIZE")
FIELDS = b"Subject: hi\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
UMLAUTS = "Viele Grüße aus dem Süden, und noch mehr davon.\r\n".encode()
REMARK = "250 2.0.0 taken as 1 (sent in another transfer encoding)"


def count(outcome: str) -> float:
    return REGISTRY.get_sample_value("posthorn_relay_conversions_total", {"outcome": outcome}) or 0.0


def payload(octets: bytes) -> Any:
    return email.message_from_bytes(octets).get_payload(decode=True)


async def test_8_bits_are_converted_where_8bitmime_is_not_offered() -> None:
    before = count("converted")
    async with ScriptedSmtp({"EHLO": SEVEN}) as server:
        first, second = await post(server, parcel("b@y.test", "c@y.test", content=(FIELDS, UMLAUTS), eight_bit=True))
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
        await post(server, parcel(content=(FIELDS, UMLAUTS), eight_bit=True))
        (sent,) = server.contents
        assert f"SIZE={len(sent)}" in server.commands[1]
        server.script = {"EHLO": without(b"8BITMIME").replace(b"1000000", b"%d" % (len(sent) - 1))}
        (verdict,) = await post(server, parcel(content=(FIELDS, UMLAUTS), eight_bit=True))
    assert told(verdict) == ("mail", 0, "5.3.4", True)
    assert len(server.contents) == 1


async def test_nothing_is_converted_that_the_host_takes() -> None:
    async with ScriptedSmtp({"EHLO": FULL}) as server:
        (verdict,) = await post(server, parcel(content=(FIELDS, UMLAUTS), eight_bit=True))
    assert isinstance(verdict, Accepted)
    assert verdict.reply == "250 2.0.0 taken as 1"
    assert server.contents == [FIELDS + UMLAUTS]
    assert "BODY=8BITMIME" in server.commands[1]


@pytest.mark.parametrize("keyword", [b"nothing", b"CHUNKING"])
@pytest.mark.parametrize("dots", [True, False])
async def test_a_line_longer_than_998_octets_is_never_sent(keyword: bytes, dots: bool) -> None:
    whole = FIELDS + b".long\r\n" + b"x" * 999 + b"\r\n" + UMLAUTS
    async with ScriptedSmtp({"EHLO": without(keyword)}) as server:
        (verdict,) = await post(server, parcel(content=(whole,), eight_bit=True, dots=dots))
    assert isinstance(verdict, Accepted)
    assert verdict.reply == REMARK
    sent = b"".join(server.contents)
    assert max(map(len, sent.split(b"\r\n"))) <= 998
    if server.verbs[-2] == "DATA":
        sent = sent.replace(b"\r\n..", b"\r\n.")
    assert payload(sent) == whole.partition(b"\r\n\r\n")[2]
    fit = FIELDS + b"x" * 998 + b"\r\n"
    async with ScriptedSmtp({"EHLO": without(keyword)}) as server:
        await post(server, parcel(content=(fit,), eight_bit=True, dots=dots))
    assert server.contents == [fit]


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (FIELDS.replace(b"hi", "ä".encode()) + UMLAUTS, "5.6.7"),
        (
            FIELDS.replace(b"text/plain", b"multipart/signed; boundary=x") + b"--x\r\n\r\n" + UMLAUTS + b"--x--\r\n",
            "5.6.3",
        ),
    ],
)
async def test_what_cannot_be_converted_is_refused_and_the_connection_stays(content: bytes, status: str) -> None:
    before = count("impossible")
    async with ScriptedSmtp({"EHLO": SEVEN}) as server:
        connection = await connector().connect(hop(server.port))
        first, second = await connection.send(parcel("b@y.test", "c>@y.test", content=(content,), eight_bit=True))
        assert told(first) == ("mail", 0, status, True)
        assert told(second) == ("rcpt", 0, "5.1.3", True)
        assert connection.usable
        assert isinstance((await connection.send(parcel()))[0], Accepted)
        await connection.close()
    assert server.verbs == ["EHLO", "MAIL", "RCPT", "DATA", "QUIT"]
    assert count("impossible") == before + 1


async def test_a_refusal_of_what_was_converted_says_so() -> None:
    async with ScriptedSmtp({"EHLO": SEVEN, "END": [b"550 5.7.1 bad signature\r\n", b"250 2.0.0 ok\r\n"]}) as server:
        connection = await connector().connect(hop(server.port))
        (verdict,) = await connection.send(parcel(content=(FIELDS, UMLAUTS), eight_bit=True))
        assert isinstance(verdict, Failed)
        assert verdict.reply == "550 5.7.1 bad signature (sent in another transfer encoding)"
        (verdict,) = await connection.send(parcel())
        assert isinstance(verdict, Accepted)
        assert verdict.reply == "250 2.0.0 ok"
        await connection.close()


# Large ones, which are not held in memory


@pytest.mark.parametrize("keyword", [b"nothing", b"CHUNKING"])
async def test_a_large_letter_is_converted(keyword: bytes) -> None:
    pieces = (FIELDS, *([UMLAUTS * 500] * 8))
    async with ScriptedSmtp({"EHLO": without(b"8BITMIME", b"SIZE", keyword)}) as server:
        (verdict,) = await post(server, parcel(content=pieces, eight_bit=True))
    assert isinstance(verdict, Accepted)
    assert verdict.reply == REMARK
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
async def test_long_lines_are_found_however_a_large_letter_is_cut(pieces: list[bytes], is_long: bool) -> None:
    content = [FIELDS, (b"x" * 98 + b"\r\n") * 700, *pieces]
    async with ScriptedSmtp() as server:
        (verdict,) = await post(server, parcel(content=content))
    assert isinstance(verdict, Accepted)
    assert verdict.reply.endswith("encoding)") is is_long
    assert (b"".join(server.contents) == b"".join(content) + b"\r\n") is not is_long


async def test_no_room_for_a_large_letter_is_a_fault_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    async with ScriptedSmtp({"EHLO": SEVEN}) as server:
        connection = await connector().connect(hop(server.port))
        with pytest.raises(Unavailable):
            await connection.send(parcel(content=[FIELDS, *([UMLAUTS * 500] * 4)], eight_bit=True))
        assert connection.usable
        await connection.close()


async def test_a_fault_of_the_store_while_a_letter_is_laid_out_comes_through() -> None:
    reads = 0

    async def give() -> AsyncIterator[bytes]:
        nonlocal reads
        reads += 1
        yield FIELDS
        yield b"x" * 70_000
        if reads == 3:  # begun, looked through, laid out
            raise Unavailable("blobs")
        yield b"\r\n"

    async with ScriptedSmtp() as server:
        connection = await connector().connect(hop(server.port))
        with pytest.raises(Unavailable, match="blobs"):
            await connection.send(replace(parcel(), content=give))
        assert connection.usable
        await connection.close()
    assert server.verbs == ["EHLO", "QUIT"]
