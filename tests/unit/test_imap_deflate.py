"""COMPRESS=DEFLATE without a socket."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthorn.wire.imap.deflate import Deflate


def packed(octets: bytes) -> bytes:
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    return deflate.compress(octets) + deflate.flush(zlib.Z_SYNC_FLUSH)


@given(st.integers(1, 70_000), st.integers(1, 5000))
def test_what_comes_is_inflated_in_pieces_to_the_last_byte(size: int, most: int) -> None:
    """Long matches: zlib has read all input before it has given all output."""
    octets = bytes(size) + b"end"
    deflate = Deflate()
    deflate.receive(packed(octets))
    found = b""
    while deflate.waiting:
        piece = deflate.take(most)
        assert len(piece) <= most
        found += piece
    assert found == octets


def test_each_piece_that_is_sent_can_be_read_at_once() -> None:
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    deflate = Deflate()
    for octets in (b"* OK one\r\n", b"* OK two\r\n" * 1000):
        assert inflate.decompress(deflate.compress(octets)) == octets


@pytest.mark.parametrize("octets", [b"\xff\xff\xff\xff", zlib.compress(b"x", wbits=-15)])
def test_what_is_no_deflate_and_the_end_of_the_stream_are_errors(octets: bytes) -> None:
    deflate = Deflate()
    deflate.receive(octets)
    with pytest.raises(ValueError, match="DEFLATE"):
        deflate.take(100)
