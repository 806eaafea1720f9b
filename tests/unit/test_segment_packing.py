"""Packing: what lies in a range of the segment is the body, compressed or not."""

from __future__ import annotations

import os

import zstandard
from hypothesis import given
from hypothesis import strategies as st

from posthorn.adapters.blobs.compression import zstd_frame
from posthorn.model.segment import COMPRESS_FROM, IDENTITY, WORTH_IT, ZSTD, Packed, pack

BODIES = st.lists(
    st.one_of(
        st.binary(max_size=100),
        st.builds(
            lambda unit, times: unit * times, st.binary(min_size=1, max_size=8), st.integers(0, 600)
        ),
    ),
    max_size=12,
)


def unpack(packed: Packed) -> list[bytes]:
    segment = b"".join(packed.parts)
    assert len(segment) == packed.octets
    bodies = []
    for each in packed.ranges:
        stored = segment[each.offset : each.offset + each.length]
        bodies.append(
            stored if each.encoding == IDENTITY else zstandard.ZstdDecompressor().decompress(stored)
        )
    return bodies


@given(BODIES)
def test_every_body_lies_in_its_range(bodies: list[bytes]) -> None:
    assert unpack(pack(bodies)) == bodies
    assert unpack(pack(bodies, zstd_frame)) == bodies


@given(BODIES)
def test_ranges_follow_each_other_without_gap_or_overlap(bodies: list[bytes]) -> None:
    packed, end = pack(bodies, zstd_frame), 0
    for each in packed.ranges:
        assert each.offset == end
        end += each.length
    assert end == packed.octets


def test_a_body_is_compressed_when_that_saves_a_tenth() -> None:
    packed = pack([b"Received: from example.org\r\n" * 100], zstd_frame)
    assert packed.ranges[0].encoding == ZSTD
    assert packed.octets < WORTH_IT * 2800


def test_a_body_that_does_not_shrink_stays_as_it_is() -> None:
    noise = os.urandom(4096)
    packed = pack([noise], zstd_frame)
    assert packed.ranges[0].encoding == IDENTITY
    assert packed.parts == [noise]


def test_a_small_body_is_never_compressed() -> None:
    packed = pack([b"x" * (COMPRESS_FROM - 1), b"x" * COMPRESS_FROM], zstd_frame)
    assert [place.encoding for place in packed.ranges] == [IDENTITY, ZSTD]


def test_a_gain_just_short_of_a_tenth_is_not_taken() -> None:
    body = b"x" * 1000
    assert pack([body], lambda octets: octets[:900]).ranges[0].encoding == ZSTD
    assert pack([body], lambda octets: octets[:901]).ranges[0].encoding == IDENTITY
