"""Names of files in a RAR archive, of versions 1.5 to 4 and of version 5 (technote of RAR).

Headers stand before each file's data, so that those behind the first bytes of a large archive are
not seen.
"""

from __future__ import annotations

_MOST_HEADERS = 200
_SIGNATURE4_BYTES, _SIGNATURE5_BYTES = 7, 8


def rar4_names(head: bytes, _tail: bytes) -> tuple[list[str], bool]:
    """Return the names in an archive of version 4, and whether it holds something encrypted."""
    names: list[str] = []
    is_encrypted = False
    at = _SIGNATURE4_BYTES
    for _ in range(_MOST_HEADERS):
        block = head[at : at + 32]
        if len(block) < 7:
            break
        kind, flags, size = block[2], _number(block, 3, 2), _number(block, 5, 2)
        data = _number(block, 7, 4) if flags & 0x8000 else 0
        if kind == 0x73 and flags & 0x80:  # all headers that follow
            return names, True
        if kind == 0x74 and len(block) == 32:
            is_encrypted |= bool(flags & 0x04)
            start, length = at + 32, _number(block, 26, 2)
            if flags & 0x100:
                data += _number(head, start, 4) << 32
                start += 8
            # a form in Unicode may follow the plain one
            name = head[start : start + length].partition(b"\0")[0]
            names.append(name.decode("utf-8", "replace"))
        at += max(size, 7) + data
    return names, is_encrypted


def rar5_names(head: bytes, _tail: bytes) -> tuple[list[str], bool]:
    """Return the names in an archive of version 5, and whether it holds something encrypted."""
    names: list[str] = []
    is_encrypted = False
    at = _SIGNATURE5_BYTES
    for _ in range(_MOST_HEADERS):
        reader = _Reader(head, at + 4)  # behind the checksum
        size = reader.number()
        start = reader.at
        kind, flags = reader.number(), reader.number()
        extra = reader.number() if flags & 0x01 else 0
        data = reader.number() if flags & 0x02 else 0
        if not size or reader.at >= len(head):
            break
        if kind == 4:  # all headers that follow
            return names, True
        if kind == 2:
            file_flags = reader.number()
            reader.number()  # unpacked size
            reader.number()  # attributes
            reader.at += 4 * bool(file_flags & 0x02) + 4 * bool(file_flags & 0x04)
            reader.number()  # compression
            reader.number()  # operating system
            length = reader.number()
            name = head[reader.at : reader.at + length]
            names.append(name.decode("utf-8", "replace"))
            end = start + size
            is_encrypted |= _has_encryption(head[max(start, end - extra) : end])
        at = start + size + data
    return names, is_encrypted


def _has_encryption(extra: bytes) -> bool:
    """Return whether the extra area of a file's header has a record of encryption."""
    reader = _Reader(extra, 0)
    for _ in range(_MOST_HEADERS):
        size = reader.number()
        start = reader.at
        if not size or start >= len(extra):
            return False
        if reader.number() == 0x01:
            return True
        reader.at = start + size
    return False


def _number(octets: bytes, at: int, size: int) -> int:
    return int.from_bytes(octets[at : at + size], "little")


class _Reader:
    """Reads numbers of seven bits a byte, the least first; 0 behind the end."""

    def __init__(self, octets: bytes, at: int) -> None:
        self.octets, self.at = octets, at

    def number(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            if self.at >= len(self.octets):
                return 0
            octet = self.octets[self.at]
            self.at += 1
            value |= (octet & 0x7F) << shift
            if octet < 0x80:
                return value
        return 0
