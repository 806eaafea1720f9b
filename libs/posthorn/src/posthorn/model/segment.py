"""Packing of bodies into a segment: one after the other, each compressed when that saves enough.

Each body is independent, so that any of them can be read by a range of the blob, and moved
unchanged by the collector.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from posthorn.model.blob_range import BlobRange

COMPRESS_FROM = 512
"""Bytes below which a body is never compressed: a frame's header outweighs the gain."""
WORTH_IT = 0.9
"""A compressed form longer than this share of the body is not used: decompression would cost
more than it saves."""

IDENTITY = "identity"
ZSTD = "zstd"


@dataclass(frozen=True, slots=True)
class Packed:
    """A segment's content, in parts to be joined, and the range of each body in the given order."""

    parts: list[bytes]
    ranges: list[BlobRange]
    octets: int


def pack(bodies: Iterable[bytes], compress: Callable[[bytes], bytes] | None = None) -> Packed:
    """Lay out bodies in a segment.

    ``compress`` returns a body as one zstd frame that states its content size; None: no
    compression.
    """
    parts: list[bytes] = []
    ranges: list[BlobRange] = []
    offset = 0
    for body in bodies:
        part, encoding = body, IDENTITY
        if compress is not None and len(body) >= COMPRESS_FROM:
            frame = compress(body)
            if len(frame) <= WORTH_IT * len(body):
                part, encoding = frame, ZSTD
        parts.append(part)
        ranges.append(BlobRange(offset, len(part), encoding))
        offset += len(part)
    return Packed(parts, ranges, offset)
