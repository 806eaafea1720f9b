"""Dot-stuffing and TOP: whole, byte by byte and cut anywhere."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from posthorn.wire.pop3.text import DotStuffer, TopCut, terminated, top

_text = st.lists(
    st.sampled_from(
        [b"\r\n", b".", b"..", b"\r\n.", b"\r", b"\n", b"a", b"word: x", b"\0", b"\xff"]
    )
).map(b"".join)
_cuts = st.lists(st.integers(1, 6), min_size=1, max_size=8)


def pieces(octets: bytes, sizes: list[int]) -> list[bytes]:
    found, at, turn = [], 0, 0
    while at < len(octets):
        found.append(octets[at : at + sizes[turn % len(sizes)]])
        at += len(found[-1])
        turn += 1
    return found


def read_back(reply: bytes) -> bytes:
    """What a client makes of a multi-line reply (RFC 1939 §3)."""
    assert reply.endswith(b".\r\n")
    lines = reply.split(b"\r\n")
    assert lines[-2:] == [b".", b""]
    assert b"." not in lines[:-2], "the reply would end early"
    return b"".join((line[1:] if line.startswith(b".") else line) + b"\r\n" for line in lines[:-2])


@given(_text)
def test_a_client_reads_back_what_was_stuffed(message: bytes) -> None:
    canonical = message if not message or message.endswith(b"\r\n") else message + b"\r\n"
    assert read_back(terminated(message, stuffing=True)) == canonical


@given(_text, _cuts)
@example(b"a\r\n.\r\n.b", [1])
@example(b".", [1])
@example(b"\r\n.", [2])
def test_stuffing_at_any_chunk_border_equals_the_whole(message: bytes, cuts: list[int]) -> None:
    for sizes in (cuts, [1]):
        stuffer = DotStuffer()
        out = b"".join(stuffer.feed(piece) for piece in pieces(message, sizes)) + stuffer.end()
        assert out == terminated(message, stuffing=True)


@given(_text, _cuts)
def test_without_dot_lines_stuffing_is_skipped_and_changes_nothing(
    message: bytes, cuts: list[int]
) -> None:
    message = message.replace(b".", b"-")
    stuffer = DotStuffer(stuffing=False)
    out = b"".join(stuffer.feed(piece) for piece in pieces(message, cuts)) + stuffer.end()
    assert out == terminated(message, stuffing=False) == terminated(message, stuffing=True)


def test_an_empty_message_is_the_final_dot_alone() -> None:
    assert (
        terminated(b"", stuffing=True)
        == terminated(b"", stuffing=False)
        == DotStuffer().end()
        == b".\r\n"
    )


def plain_top(message: bytes, lines: int) -> bytes:
    """TOP said simply, over the whole message."""
    if message.startswith(b"\r\n"):
        header, body = b"", message[2:]
    else:
        header, blank, body = message.partition(b"\r\n\r\n")
        if not blank:
            return message + (b"\r\n" if not message or message.endswith(b"\r\n") else b"\r\n\r\n")
        header += b"\r\n"
    *whole, rest = body.split(b"\r\n")
    wanted = [line + b"\r\n" for line in whole][:lines]
    if len(wanted) < lines:
        wanted.append(rest)
    return header + b"\r\n" + b"".join(wanted)


@given(_text, st.one_of(st.integers(0, 6), st.just(10**17)), _cuts)
def test_top_of_any_message_cut_anywhere(message: bytes, lines: int, cuts: list[int]) -> None:
    expected = plain_top(message, lines)
    assert top(message, lines) == expected
    for sizes in (cuts, [1]):
        cut = TopCut(lines)
        assert b"".join(cut.feed(piece) for piece in pieces(message, sizes)) + cut.end() == expected


MESSAGE = b"Subject: x\r\nTo: y\r\n\r\none\r\ntwo\r\n\r\nfour\r\n"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (0, b"Subject: x\r\nTo: y\r\n\r\n"),
        (1, b"Subject: x\r\nTo: y\r\n\r\none\r\n"),
        (3, b"Subject: x\r\nTo: y\r\n\r\none\r\ntwo\r\n\r\n"),
        (4, MESSAGE),
        (99, MESSAGE),
    ],
)
def test_stalwart_top_counts_lines_of_the_body_not_of_the_header(
    lines: int, expected: bytes
) -> None:
    assert top(MESSAGE, lines) == expected


def test_top_stops_reading_as_soon_as_it_has_enough() -> None:
    cut = TopCut(1)
    assert cut.feed(MESSAGE) == b"Subject: x\r\nTo: y\r\n\r\none\r\n"
    assert cut.done
    assert cut.feed(b"more\r\n") == b""


def test_outlook_express_top_ends_with_a_blank_line_even_if_the_message_has_none() -> None:
    assert top(b"Subject: x\r\n", 5) == b"Subject: x\r\n\r\n"
    assert top(b"Subject: x", 0) == b"Subject: x\r\n\r\n"
    assert top(b"", 0) == b"\r\n"
