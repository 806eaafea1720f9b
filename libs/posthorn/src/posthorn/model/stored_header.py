"""The header of a stored message, as it is kept beside the body (ADR 33)."""

from __future__ import annotations

from collections.abc import Callable

LONGEST_HEADER_BYTES = 256 * 1024
"""Longest header that is kept; a longer one is read from the body."""
LONGEST_KEPT_BYTES = 16 * 1024
"""Most bytes of a header, as it is packed, of an envelope and of a structure that are kept beside a
message; what is longer is made of the body each time."""
_EMPTY_LINE = b"\r\n\r\n"


def stored_header(content: bytes) -> bytes | None:
    """Return the header of a message in its stored form, up to the empty line, included; all of a
    message without an empty line. None for one longer than ``LONGEST_HEADER_BYTES``."""
    if content.startswith(b"\r\n"):
        return content[:2]
    found = content.find(_EMPTY_LINE, 0, LONGEST_HEADER_BYTES)
    end = len(content) if found < 0 else found + len(_EMPTY_LINE)
    return content[:end] if end <= LONGEST_HEADER_BYTES else None


def kept_header(content: bytes, frame: Callable[[bytes], bytes]) -> bytes | None:
    """Return the header as it is kept, by a function that makes a zstd frame; None: not kept."""
    header = stored_header(content)
    return None if header is None else packed_header(header, frame)


def packed_header(header: bytes, frame: Callable[[bytes], bytes]) -> bytes | None:
    """Return a header as it is kept; None for one that is too long before or after."""
    if len(header) > LONGEST_HEADER_BYTES or len(made := frame(header)) > LONGEST_KEPT_BYTES:
        return None
    return made
