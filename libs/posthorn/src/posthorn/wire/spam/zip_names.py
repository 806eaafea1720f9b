"""Names of files in a zip archive, from its first and last bytes alone.

The central directory is at the end, local headers before each file (APPNOTE 4.3). Both are found by
their signatures, not by offsets: an archive may be damaged on purpose so that scanners fail and
programs open it all the same.
"""

from __future__ import annotations

from dataclasses import dataclass

READ_BYTES = 64 * 1024
"""Bytes at the beginning and at the end that are read."""
MOST_NAMES = 100
_LOCAL, _CENTRAL = b"PK\x03\x04", b"PK\x01\x02"
_LONGEST_NAME = 500


@dataclass(frozen=True, slots=True)
class ZipNames:
    """What an archive holds."""

    names: tuple[str, ...] = ()
    is_encrypted: bool = False
    """Whether a file within is encrypted."""


def is_zip(head: bytes) -> bool:
    """Return whether bytes begin as a zip archive does."""
    return head.startswith((_LOCAL, b"PK\x05\x06"))


def zip_names(head: bytes, tail: bytes) -> ZipNames:
    """Return the names in an archive, given its first and last bytes, which may overlap."""
    names: dict[str, None] = {}
    is_encrypted = False
    for octets, signature, flags, length, start in (
        (tail[-READ_BYTES:], _CENTRAL, 8, 28, 46),
        (head[:READ_BYTES], _LOCAL, 6, 26, 30),
    ):
        at = octets.find(signature)
        for _ in range(MOST_NAMES):
            if at < 0 or at + start > len(octets):
                break
            size = int.from_bytes(octets[at + length : at + length + 2], "little")
            name = octets[at + start : at + start + size]
            is_utf8 = int.from_bytes(octets[at + flags : at + flags + 2], "little") & 0x800
            is_encrypted |= bool(octets[at + flags] & 1)
            if 0 < size <= _LONGEST_NAME and len(name) == size:
                names[name.decode("utf-8" if is_utf8 else "cp437", "replace")] = None
            at = octets.find(signature, at + start + (size if size <= _LONGEST_NAME else 0))
    return ZipNames(tuple(names)[:MOST_NAMES], is_encrypted)
