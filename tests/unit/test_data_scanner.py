"""The end of DATA and nothing else ends it; content comes out the same however it was cut."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from posthorn.wire.data import ChunkScanner, DataScanner, line_ends_are_whole, stuff

END = b"\r\n.\r\n"
MIXED = st.lists(
    st.sampled_from([b"\r", b"\n", b".", b"\r\n", b"\r\n.", b"\r\n..", b"x", b"\0", b"\xff", b"line"]), max_size=40
).map(b"".join)
CONTENT = st.lists(
    st.binary(max_size=12).map(lambda line: line.replace(b"\r", b"").replace(b"\n", b"")), max_size=12
).map(lambda lines: b"".join(line + b"\r\n" for line in lines))


def scan(pieces: list[bytes]) -> tuple[bytes | None, bytes, bool]:
    """Feed pieces; gives the content (None when broken), what came after the end, and whether the end was seen."""
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
    for pieces in ([stream], [bytes([octet]) for octet in stream], *(cut(stream, [at]) for at in range(len(stream)))):
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


@given(MIXED, st.lists(st.integers(0, 400), max_size=8))
def test_chunks_give_their_octets_or_are_broken(octets: bytes, at: list[int]) -> None:
    for pieces in ([octets], cut(octets, at), [bytes([octet]) for octet in octets]):
        scanner = ChunkScanner()
        content = b"".join(scanner.feed(piece) for piece in pieces)
        scanner.end()
        assert scanner.broken == (not line_ends_are_whole(octets))
        if not scanner.broken:
            assert content == octets
