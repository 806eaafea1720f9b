"""The end of DATA and nothing else ends it; content comes out the same however it was cut."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from posthorn.wire.smtp.data import DataScanner, LineEnds, line_ends_are_whole, stuff

END = b"\r\n.\r\n"
MIXED = st.lists(
    st.sampled_from(
        [b"\r", b"\n", b".", b"\r\n", b"\r\n.", b"\r\n..", b"x", b"\0", b"\xff", b"line"]
    ),
    max_size=40,
).map(b"".join)
CONTENT = st.lists(
    st.binary(max_size=12).map(lambda line: line.replace(b"\r", b"").replace(b"\n", b"")),
    max_size=12,
).map(lambda lines: b"".join(line + b"\r\n" for line in lines))


def scan(pieces: list[bytes]) -> tuple[bytes | None, bytes, bool]:
    """Feed pieces. Return the content (None when broken), what came after the end, and whether
    the end was seen."""
    scanner = DataScanner()
    content = b""
    for number, piece in enumerate(pieces):
        content += scanner.feed(piece)
        if scanner.ended:
            rest = scanner.rest + b"".join(pieces[number + 1 :])
            return (None if scanner.broken else content), rest, True
    return (None if scanner.broken else content), b"", False


def cut(octets: bytes, at: list[int]) -> list[bytes]:
    edges = [0, *sorted(offset % (len(octets) + 1) for offset in at), len(octets)]
    return [octets[begin:end] for begin, end in itertools.pairwise(edges)]


def reference(octets: bytes) -> tuple[bytes | None, bytes, bool]:
    """RFC 5321 §4.1.1.4 and §4.5.2, slowly: a line at a time, CRLF alone ends a line."""
    content, broken = b"", False
    while True:
        line, end, rest = octets.partition(b"\r\n")
        if not end:
            return content, rest, False
        if line == b".":
            return (None if broken else content), rest, True
        broken = broken or b"\r" in line or b"\n" in line
        content += line[line.startswith(b".") :] + end
        octets = rest


@given(CONTENT, st.binary(max_size=20), st.lists(st.integers(0, 400), max_size=8))
@example(b".\r\n..\r\n", b"QUIT\r\n", [1, 2, 3, 4, 5])
@example(b"", b"", [])
def test_what_was_stuffed_comes_out_as_it_was(content: bytes, after: bytes, at: list[int]) -> None:
    assert scan(cut(stuff(content) + b".\r\n" + after, at)) == (content, after, True)


@given(MIXED, st.lists(st.integers(0, 400), max_size=8))
def test_whole_cut_and_octet_by_octet_are_the_same(octets: bytes, at: list[int]) -> None:
    stream = octets + b"\r\n.\r\nNOOP\r\n"
    expected = reference(stream)
    assert scan([stream]) == expected
    assert scan(cut(stream, at)) == expected
    assert scan([bytes([octet]) for octet in stream]) == expected


@given(MIXED, st.lists(st.integers(0, 400), max_size=8))
def test_nothing_that_may_be_the_end_is_given_out_early(octets: bytes, at: list[int]) -> None:
    scanner, given_out = DataScanner(), b""
    for piece in cut(octets, at):
        if scanner.ended:
            return
        given_out += scanner.feed(piece)
        assert not given_out.endswith(b"\r")
        assert line_ends_are_whole(given_out)


@pytest.mark.parametrize(
    "false_end",
    [
        b"\n.\n",
        b"\n.\r\n",
        b"\r\n.\n",
        b"\r.\r",
        b"\r\n.\r",
        b"\r.\r\n",
        b"\r\n.\r\r\n",
        b"\r\r\n.\n",
        b"\n\r.\r\n",
        b"\n.\r",
        b"\r.\n",
        b"\r\n\n.\n",
        b"\n\n.\r\n",
        b"\r\n.\0\n",
        b"\r\n\0.\n",
    ],
)
def test_no_other_sequence_ends_the_data(false_end: bytes) -> None:
    smuggled = b"Subject: x\r\n\r\ntext" + false_end + b"MAIL FROM:<evil@example.org>\r\nDATA\r\n"
    stream = smuggled + END + b"QUIT\r\n"
    for pieces in (
        [stream],
        [bytes([octet]) for octet in stream],
        *(cut(stream, [at]) for at in range(len(stream))),
    ):
        assert scan(pieces) == (None, b"QUIT\r\n", True)


@pytest.mark.parametrize("length", range(1, 5))
def test_every_short_mixture_agrees_with_the_grammar(length: int) -> None:
    for mixture in itertools.product([b"\r", b"\n", b".", b"a"], repeat=length):
        stream = b"".join(mixture) + END + b"rest"
        assert scan([stream]) == reference(stream), mixture
        assert scan([bytes([octet]) for octet in stream]) == reference(stream), mixture


def test_an_empty_message_and_a_message_of_dots() -> None:
    assert scan([b".\r\n"]) == (b"", b"", True)
    assert scan([b"..\r\n.\r\n"]) == (b".\r\n", b"", True)
    assert scan([b".x\r\n.\r\n"]) == (
        b"x\r\n",
        b"",
        True,
    )  # not stuffed by the client: RFC 5321 §4.5.2 takes the dot off


def test_after_discard_only_the_end_is_looked_for() -> None:
    scanner = DataScanner()
    scanner.discard()
    assert scanner.feed(b"much \r of \n it\r\n.") == b""
    assert scanner.feed(b"\r\nQUIT\r\n") == b""
    assert scanner.ended
    assert scanner.rest == b"QUIT\r\n"
    with pytest.raises(ValueError, match="ended"):
        scanner.feed(b"x")


def made_whole(pieces: list[bytes], *, bare_cr: bool, dots: bool = False) -> bytes | None:
    ends = LineEnds(bare_cr=bare_cr, dots=dots)
    content = b"".join(ends.feed(piece) for piece in pieces) + ends.end()
    return None if ends.broken else content


@given(MIXED, st.lists(st.integers(0, 400), max_size=8))
def test_bare_lf_in_chunks_becomes_crlf_however_they_are_cut(octets: bytes, at: list[int]) -> None:
    has_bare_cr = octets.count(b"\r") != octets.count(b"\r\n")
    expected = None if has_bare_cr else octets.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    for pieces in ([octets], cut(octets, at), [bytes([octet]) for octet in octets]):
        assert made_whole(pieces, bare_cr=False) == expected


@given(MIXED, st.lists(st.integers(0, 400), max_size=8))
def test_every_line_end_of_a_client_that_logged_in_becomes_crlf(
    octets: bytes, at: list[int]
) -> None:
    expected = made_whole([octets], bare_cr=True)
    assert expected is not None
    assert line_ends_are_whole(expected)
    assert expected == re.sub(rb"\r*\n|\r", b"\r\n", octets)
    for pieces in (cut(octets, at), [bytes([octet]) for octet in octets]):
        assert made_whole(pieces, bare_cr=True) == expected


@pytest.mark.parametrize(
    ("octets", "content"),
    [
        (b"a\nb\r\n", b"a\r\nb\r\n"),
        (b"a\n..b\n.c\n.\r\n", b"a\r\n.b\r\n.c\r\n.\r\n"),
        (b"a\r\n..b\r\n", b"a\r\n..b\r\n"),  # its dot was taken off already
        (b"a\r\r\nb\r\n", b"a\r\nb\r\n"),
        (b"a\rb\r\n", b"a\r\nb\r\n"),
    ],
)
def test_line_ends_and_dots_of_scripts(octets: bytes, content: bytes) -> None:
    for pieces in ([octets], [bytes([octet]) for octet in octets]):
        assert made_whole(pieces, bare_cr=True, dots=True) == content


def test_an_endless_run_of_cr_is_broken() -> None:
    assert made_whole([b"\r" * 700] * 3, bare_cr=True) is None


def test_only_crlf_dot_crlf_ends_the_data_of_a_client_that_logged_in() -> None:
    scanner = DataScanner(whole=False)
    assert scanner.feed(b"a\n.\nMAIL FROM:<b@c>\n.\r\nd\r\n") == b"a\n.\nMAIL FROM:<b@c>\n.\r\nd"
    assert not scanner.ended
    assert scanner.feed(b".\r\nQUIT\r\n") == b"\r\n"
    assert (scanner.ended, scanner.broken, scanner.rest) == (True, False, b"QUIT\r\n")
