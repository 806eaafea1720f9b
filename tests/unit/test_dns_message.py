"""DNS messages: read as dnspython writes them, bounded, and never beyond their end."""

from __future__ import annotations

import contextlib

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthorn.wire.dns_message import (
    NXDOMAIN,
    Answer,
    DnsMessageError,
    Kind,
    OtherAnswer,
    decode_answer,
    encode_name,
    encode_question,
    identifier_of,
)

NAME = b"\x07example\x03net\x00"


def _reply(*rrsets: str, kind: Kind = Kind.TXT, soa: str = "", code: int = 0) -> bytes:
    query = dns.message.from_wire(encode_question(7, NAME, kind))
    reply = dns.message.make_response(query, recursion_available=True)
    reply.set_rcode(dns.rcode.Rcode(code))
    for text in rrsets:
        name, ttl, type_, *rest = text.split(" ")
        reply.answer.append(dns.rrset.from_text(name, int(ttl), "IN", type_, " ".join(rest)))
    if soa:
        reply.authority.append(dns.rrset.from_text("net.", 300, "IN", "SOA", soa))
    return reply.to_wire()


def test_a_question_reads_as_one() -> None:
    query = dns.message.from_wire(encode_question(513, NAME, Kind.MX))
    assert query.id == 513 and query.flags & dns.flags.RD
    assert query.question[0].to_text() == "example.net. IN MX"
    assert query.edns == 0 and query.payload == 1232
    assert identifier_of(encode_question(513, NAME, Kind.MX)) == 513
    assert identifier_of(b"\x02\x01") == -1


@pytest.mark.parametrize(
    ("text", "wire"),
    [
        ("Example.NET.", NAME),
        ("a..b", None),
        ("", None),
        (".", None),
        ("x" * 64, None),
        (".".join(["x" * 63] * 4), None),
        ("faß.de", None),
        ("_dmarc.a", b"\x06_dmarc\x01a\x00"),
    ],
)
def test_names_that_can_be_asked(text: str, wire: bytes | None) -> None:
    assert encode_name(text) == wire


def test_records_of_each_kind() -> None:
    text = _reply('example.net. 60 TXT "v=spf1 " "-all"', "example.net. 60 HINFO a b")
    assert decode_answer(text, 7, NAME, Kind.TXT) == Answer(0, False, (b"v=spf1 -all",), 60)
    found = decode_answer(_reply("example.net. 9 A 192.0.2.1", kind=Kind.A), 7, NAME, Kind.A)
    assert found == Answer(0, False, ("192.0.2.1",), 9)
    found = decode_answer(
        _reply("example.net. 9 AAAA 2001:db8::1", kind=Kind.AAAA), 7, NAME, Kind.AAAA
    )
    assert found.values == ("2001:db8::1",)
    mx = _reply("example.net. 9 MX 10 MX.Example.net.", kind=Kind.MX)
    assert decode_answer(mx, 7, NAME, Kind.MX).values == ((10, "mx.example.net"),)
    null = _reply("example.net. 9 MX 0 .", kind=Kind.MX)
    assert decode_answer(null, 7, NAME, Kind.MX).values == ((0, ""),)
    odd = _reply("example.net. 9 PTR a\\.b.example.net.", kind=Kind.PTR)
    assert decode_answer(odd, 7, NAME, Kind.PTR).values == ()


def test_aliases_are_followed_and_the_shortest_ttl_counts() -> None:
    wire = _reply(
        "b.test. 30 CNAME c.test.",
        "example.net. 600 CNAME B.test.",
        "c.test. 60 TXT x",
        "d.test. 5 TXT y",
    )
    assert decode_answer(wire, 7, NAME, Kind.TXT) == Answer(0, False, (b"x",), 30)
    bare = decode_answer(_reply("example.net. 60 CNAME b.test."), 7, NAME, Kind.TXT)
    assert bare == Answer(0, False, (), 60, b"\x01b\x04test\x00"), "the rest is to be asked for"
    loop = _reply("example.net. 60 CNAME b.test.", "b.test. 60 CNAME example.net.")
    with pytest.raises(DnsMessageError, match="aliases"):
        decode_answer(loop, 7, NAME, Kind.TXT)


def test_absence_is_kept_as_the_soa_says() -> None:
    soa = "ns.test. admin.test. 1 3600 600 86400 45"
    assert decode_answer(_reply(soa=soa), 7, NAME, Kind.TXT) == Answer(0, False, (), 45)
    assert decode_answer(_reply(soa=soa, code=3), 7, NAME, Kind.TXT) == Answer(
        NXDOMAIN, False, (), 45
    )
    assert decode_answer(_reply(), 7, NAME, Kind.TXT) == Answer(0, False, (), None)


def test_only_the_answer_to_the_question_counts() -> None:
    wire = _reply("example.net. 60 TXT x")
    for identifier, name, kind in (
        (8, NAME, Kind.TXT),
        (7, b"\x01x\x00", Kind.TXT),
        (7, NAME, Kind.A),
    ):
        with pytest.raises(OtherAnswer):
            decode_answer(wire, identifier, name, kind)
    with pytest.raises(OtherAnswer):  # a question is no answer
        decode_answer(encode_question(7, NAME, Kind.TXT), 7, NAME, Kind.TXT)
    with pytest.raises(OtherAnswer):
        decode_answer(b"\0\7", 7, NAME, Kind.TXT)
    assert decode_answer(b"\0\7\x81\x82" + bytes(8), 7, NAME, Kind.TXT).code == 2
    cut = bytearray(wire)
    cut[2] |= 2
    assert decode_answer(bytes(cut), 7, NAME, Kind.TXT).is_truncated


def test_names_that_loop_or_leave_the_message() -> None:
    head = b"\0\7\x81\x80\0\1\0\1\0\0\0\0" + NAME + b"\0\x10\0\1"
    for name in (
        b"\xc0" + bytes([len(head)]),  # itself
        b"\xc0\xff",  # forwards
        b"\x40x",
        b"\x3fx",
        b"\xc0",
        (b"\x3f" + b"x" * 63) * 5 + b"\0",
    ):
        with pytest.raises(DnsMessageError):
            decode_answer(head + name + b"\0\x10\0\1\0\0\0\1\0\0", 7, NAME, Kind.TXT)


@given(st.binary(max_size=300), st.sampled_from(list(Kind)))
def test_any_bytes_after_the_question(rest: bytes, kind: Kind) -> None:
    head = b"\0\7\x81\x80\0\1\0\3\0\2\0\0" + NAME + int(kind).to_bytes(2) + b"\0\1"
    with contextlib.suppress(DnsMessageError):
        decode_answer(head + rest, 7, NAME, kind)


@given(st.data())
def test_answers_cut_or_changed_anywhere(data: st.DataObject) -> None:
    wire = bytearray(
        _reply(
            'example.net. 60 TXT "a" "b"',
            "example.net. 60 CNAME b.test.",
            soa="ns.test. admin.test. 1 3600 600 86400 45",
        )
    )
    for _ in range(data.draw(st.integers(0, 4))):
        wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(DnsMessageError):
        decode_answer(bytes(wire[: data.draw(st.integers(0, len(wire)))]), 7, NAME, Kind.TXT)
