"""Names of files in a 7z archive (7zFormat.txt of the LZMA SDK).

They are in the header at the end, which is mostly packed with LZMA. It is unpacked up to a limit,
and the list of names is searched for by its mark, rather than by the structure around.
"""

from __future__ import annotations

import lzma
import re

_START_BYTES = 32
_PLAIN, _PACKED = 0x01, 0x17
_AES = b"\x06\xf1\x07\x01"
_LZMA = b"\x03\x01\x01"
_HEADER_BYTES = 64 * 1024  # of an unpacked header
_DICTIONARY_BYTES = 1024**2
_LIST = b"\x11"
_LIST_BYTES = 32 * 1024
_MOST_MARKS = 100
# position, one stream and its size; one folder of one coder with five bytes of properties
_DESCRIPTION = re.compile(
    rb"\x17\x06(?P<numbers>.{2,32}?)\x00\x07\x0b\x01\x00\x01[\x21\x23]"
    + _LZMA
    + rb"\x05(?P<props>.{5})",
    re.DOTALL,
)


def seven_zip_names(head: bytes, tail: bytes) -> tuple[list[str], bool]:
    """Return the names in a 7z archive, and whether it holds something encrypted."""
    offset, size = (int.from_bytes(head[at : at + 8], "little") for at in (12, 20))
    end = _START_BYTES + offset + size
    begins = end - len(tail)  # of the tail in the file
    described = tail[-size:] if 0 < size <= len(tail) else b""
    if described[:1] == bytes([_PACKED]):
        if _AES in described:
            return [], True
        header = _unpacked(described, tail, begins)
    else:
        header = described if described[:1] == bytes([_PLAIN]) else b""
    return _names(header), _AES in header


def _names(header: bytes) -> list[str]:
    """Return the names behind the mark of their list; the last one may be cut."""
    at = header.find(_LIST)
    for _ in range(_MOST_MARKS):
        if at < 0:
            break
        size, start = _number(header, at + 1)
        octets = header[start + 1 : start + size]
        if header[start : start + 1] == b"\0" and size % 2 and octets[:2] != b"\0\0":
            names = octets[:_LIST_BYTES].decode("utf-16-le", "replace").split("\0")
            if names[0].isprintable():
                return names
        at = header.find(_LIST, at + 1)
    return []


def _unpacked(described: bytes, tail: bytes, begins: int) -> bytes:
    """Return a header that is packed, as far as the limits let; empty if it cannot be unpacked."""
    found = _DESCRIPTION.match(described)
    if found is None:
        return b""
    numbers, at = found["numbers"], 0
    position, at = _number(numbers, at)
    _, at = _number(numbers, at)  # how many streams
    if numbers[at : at + 1] != b"\x09":
        return b""
    size, _ = _number(numbers, at + 1)
    start = _START_BYTES + position - begins
    if not 0 <= start <= len(tail):
        return b""
    props = found["props"]
    filters = [
        {
            "id": lzma.FILTER_LZMA1,
            "dict_size": max(4096, min(int.from_bytes(props[1:], "little"), _DICTIONARY_BYTES)),
            "lc": props[0] % 9,
            "lp": props[0] // 9 % 5,
            "pb": props[0] // 45,
        }
    ]
    try:
        unpacker = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=filters)
        return unpacker.decompress(tail[start : start + size], _HEADER_BYTES)
    except (lzma.LZMAError, EOFError, ValueError, OverflowError):
        return b""


def _number(octets: bytes, at: int) -> tuple[int, int]:
    """Return a number, whose first byte tells how many follow, and where it ends."""
    if at >= len(octets):
        return 0, at
    first, mask, value = octets[at], 0x80, 0
    for more in range(8):
        if not first & mask:
            return value | (first & (mask - 1)) << (8 * more), at + 1 + more
        value |= octets[at + 1 + more : at + 2 + more].ljust(1, b"\0")[0] << (8 * more)
        mask >>= 1
    return value, at + 9
