"""Names of files in a zip archive.

The central directory is at the end, local headers before each file (APPNOTE 4.3). Both are found by
their signatures, not by offsets: an archive may be damaged on purpose so that scanners fail and
programs open it all the same.
"""

from __future__ import annotations

_MOST_HEADERS = 100
_LOCAL, _CENTRAL = b"PK\x03\x04", b"PK\x01\x02"
_LONGEST_NAME = 500


def zip_names(head: bytes, tail: bytes) -> tuple[list[str], bool]:
    """Return the names in a zip archive, and whether a file within is encrypted."""
    names: list[str] = []
    is_encrypted = False
    for octets, signature, flags, length, start in (
        (tail, _CENTRAL, 8, 28, 46),
        (head, _LOCAL, 6, 26, 30),
    ):
        at = octets.find(signature)
        for _ in range(_MOST_HEADERS):
            if at < 0 or at + start > len(octets):
                break
            size = int.from_bytes(octets[at + length : at + length + 2], "little")
            name = octets[at + start : at + start + size]
            is_utf8 = int.from_bytes(octets[at + flags : at + flags + 2], "little") & 0x800
            is_encrypted |= bool(octets[at + flags] & 1)
            if 0 < size <= _LONGEST_NAME and len(name) == size:
                names.append(name.decode("utf-8" if is_utf8 else "cp437", "replace"))
            at = octets.find(signature, at + start + (size if size <= _LONGEST_NAME else 0))
    return names, is_encrypted
