"""Replies of other servers, parsed whole, octet by octet, and in any pieces."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthorn.wire.smtp.client_replies import (
    LONGEST_LINE,
    LONGEST_SHOWN,
    MOST_LINES,
    HostReply,
    ReplyParser,
    extensions,
    printable,
)

SAMPLES: dict[bytes, list[HostReply]] = {
    b"250 ok\r\n": [HostReply(250, (b"ok",))],
    b"250\r\n": [HostReply(250, (b"",))],
    b"250 \r\n": [HostReply(250, (b"",))],
    b"250-a\r\n250-\r\n250 c\r\n": [HostReply(250, (b"a", b"", b"c"))],
    b"250-a\r\n250\r\n": [HostReply(250, (b"a", b""))],
    b"220 bare\n250-lf\n250 end\n": [HostReply(220, (b"bare",)), HostReply(250, (b"lf", b"end"))],
    b"250 2.1.0 a\r\n550 5.1.1 b\r\n354 c\r\n": [
        HostReply(250, (b"2.1.0 a",)), HostReply(550, (b"5.1.1 b",)), HostReply(354, (b"c",)),
    ],
    b"250 " + b"x" * 4000 + b"\r\n": [HostReply(250, (b"x" * 4000,))],
    b"250-a\r\n" * (MOST_LINES - 1) + b"250 z\r\n": [HostReply(250, (b"a",) * (MOST_LINES - 1) + (b"z",))],
}  # fmt: skip


@pytest.mark.parametrize("sample", SAMPLES)
def test_whole_octet_by_octet_and_with_more_behind(sample: bytes) -> None:
    parser = ReplyParser()
    assert parser.feed(sample) == SAMPLES[sample]
    assert not parser.is_within
    parser = ReplyParser()
    assert [reply for octet in sample for reply in parser.feed(bytes([octet]))] == SAMPLES[sample]
    assert not parser.is_within
    parser = ReplyParser()
    assert parser.feed(sample + b"25") == SAMPLES[sample]
    assert parser.is_within
    assert parser.feed(b"1 next\r\n") == [HostReply(251, (b"next",))]
    assert parser.broken == ""


@pytest.mark.parametrize(
    "bad",
    [
        b"\r\n", b"ok\r\n", b"25 ok\r\n", b"2500 ok\r\n", b"250ok\r\n", b"250\tok\r\n", b"150 ok\r\n", b"600 ok\r\n",
        b" 250 ok\r\n", b"250-a\r\n251 b\r\n", b"250-a\r\n251-b\r\n", b"\xb2\xb5\xb0 ok\r\n", b"HTTP/1.1 200 OK\r\n",
        b"250-a\r\n" * MOST_LINES, b"x" * LONGEST_LINE, b"250 " + b"x" * LONGEST_LINE + b"\r\n",
    ],
)  # fmt: skip
def test_what_is_no_reply_ends_the_reading(bad: bytes) -> None:
    for pieces in ([bad], [bytes([octet]) for octet in bad]):
        parser = ReplyParser()
        assert parser.feed(b"220 before\r\n") == [HostReply(220, (b"before",))]
        assert [reply for piece in pieces for reply in parser.feed(piece)] == []
        assert parser.broken
        assert parser.feed(b"250 after\r\n") == []
    parser = ReplyParser()
    assert parser.feed(b"220 before\r\n" + bad) == [HostReply(220, (b"before",))]
    assert parser.broken


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=8))
def test_any_octets_in_any_pieces_give_the_same(octets: bytes, cuts: list[int]) -> None:
    whole = ReplyParser()
    expected = whole.feed(octets)
    parser = ReplyParser()
    places = [0, *sorted(cuts), len(octets)]
    found = [
        reply
        for start, end in itertools.pairwise(places)
        for reply in parser.feed(octets[start:end])
    ]
    assert (found, bool(parser.broken)) == (expected, bool(whole.broken))
    for reply in found:
        assert reply.line.isprintable()
        assert len(reply.line) <= LONGEST_SHOWN


@given(
    st.lists(
        st.tuples(
            st.integers(200, 599),
            st.lists(st.binary(max_size=40).filter(lambda x: b"\n" not in x), min_size=1),
        )
    ),
    st.integers(1, 50),
)
def test_every_reply_comes_back_as_it_was_said(
    said: list[tuple[int, list[bytes]]], step: int
) -> None:
    said = [(code, [text.rstrip(b"\r") for text in texts[:MOST_LINES]]) for code, texts in said]
    wire = b"".join(
        b"%d%s%s\r\n" % (code, b"-" if number < len(texts) - 1 else b" ", text)
        for code, texts in said
        for number, text in enumerate(texts)
    )
    parser = ReplyParser()
    found = [
        reply
        for start in range(0, len(wire), step)
        for reply in parser.feed(wire[start : start + step])
    ]
    assert parser.broken == ""
    assert found == [HostReply(code, tuple(texts)) for code, texts in said]


@pytest.mark.parametrize(
    ("reply", "status", "line"),
    [
        (HostReply(250, (b"2.0.0 ok",)), "2.0.0", "250 2.0.0 ok"),
        (HostReply(550, (b"5.7.123 a", b"5.7.123 b", b"c")), "5.7.123", "550 5.7.123 a b c"),
        (HostReply(550, (b"5.1.1",)), "5.1.1", "550 5.1.1"),
        (HostReply(550, (b"4.1.1 two minds",)), "", "550 4.1.1 two minds"),
        (HostReply(550, (b"5.1 short",)), "", "550 5.1 short"),
        (HostReply(550, (b"5.1.1234 long",)), "", "550 5.1.1234 long"),
        (HostReply(550, (b"5.1.1.1 many",)), "", "550 5.1.1.1 many"),
        (HostReply(354, (b"  go \t on ",)), "", "354 go on"),
        (
            HostReply(451, ("b\u00fccher \u202e\x00".encode() + b"\xff",)),
            "",
            "451 b\u00fccher ??\ufffd",
        ),
    ],
)
def test_status_and_line(reply: HostReply, status: str, line: str) -> None:
    assert reply.status == status
    assert reply.line == line


def test_a_long_text_is_cut() -> None:
    assert printable("x" * 501) == "x" * 499 + "…"
    assert printable("x" * 500) == "x" * 500


def test_extensions() -> None:
    lines = (
        b"mx.test Hello",
        b"size 100",
        b"8bitmime",
        b"AUTH PLAIN",
        b"AUTH=LOGIN",
        b"",
        b"\xff",
        b"X-A  b c ",
    )
    offered = extensions(HostReply(250, lines))
    assert offered.pop("\ufffd") == ""
    assert offered == {"SIZE": "100", "8BITMIME": "", "AUTH": "PLAIN LOGIN", "X-A": "b c"}
    assert extensions(HostReply(250, (b"mx.test PIPELINING",))) == {}


@pytest.mark.parametrize(
    ("octets", "code", "status", "line"),
    [
        (
            b"220-mx.test ESMTP\r\n521 5.7.1 listed at bl.test\r\n",
            521,
            "5.7.1",
            "521 5.7.1 listed at bl.test (before it: 220 mx.test ESMTP)",
        ),
        (
            b"220-hello\r\n421-busy\r\n421 later\r\n",
            421,
            "",
            "421 busy later (before it: 220 hello)",
        ),
        (
            b"250-2.1.0 ok\r\n451-4.7.1 grey\r\n550 5.7.1 no\r\n",
            550,
            "5.7.1",
            "550 5.7.1 no (before it: 250 2.1.0 ok; 451 4.7.1 grey)",
        ),
        (
            b"554-5.7.1 no\n554-5.7.1 see x\n250 fine\n",
            250,
            "",
            "250 fine (before it: 554 5.7.1 no; 554 5.7.1 see x)",
        ),
        (b"220-\r\n521\r\n", 521, "", "521 (before it: 220 )"),
    ],
)
def test_of_several_codes_the_last_one_decides_and_all_texts_are_kept(
    octets: bytes, code: int, status: str, line: str
) -> None:
    """Trial 25: the text behind the refusal, such as a blocklist's name, was lost."""
    for pieces in ([octets], [bytes([octet]) for octet in octets]):
        parser = ReplyParser()
        (reply,) = [reply for piece in pieces for reply in parser.feed(piece)]
        assert (reply.code, reply.status, " ".join(reply.line.split())) == (
            code,
            status,
            " ".join(line.split()),
        )
        assert not parser.broken and not parser.is_within
