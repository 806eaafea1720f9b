"""Content-Transfer-Encodings (RFC 2045 §6), piece by piece, for content larger than memory.

Rules:

- The output is 7-bit, in lines of at most 76 bytes (``MAX_LINE`` for repaired encodings), and
  decodes to the input.
- A new line never begins with ``-``, ``.`` or ``F``: it could be taken for a boundary, the end of
  the data, or the beginning of a message in an mbox file.
- Every function takes a range that begins at the start of a line and adds no line end after the
  last line.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable, Iterator
from typing import Protocol

from posthorn.wire.smtp.data import line_ends_are_whole

MAX_LINE = 998
"""Bytes of a line without its CRLF (RFC 5321 §4.5.3.1.6, RFC 5322 §2.1.1)."""
BLOCK = 64 * 1024
"""Bytes processed at a time."""

_LINE = 76
_EIGHT = bytes(range(128, 256))
_ESCAPE = re.compile(
    rb"[^\t\x20-\x3c\x3e-\x7e]|[\t ]\Z"
)  # one byte: a run of spaces must not be scanned from each of them
_PLAIN = b"\t\r\n" + bytes(range(0x20, 0x7F))
_LAST_BLANK = re.compile(rb"[\t ](?=\r\n|\Z)")
_EIGHT_BIT = re.compile(rb"[\x80-\xff]")
_NO_BASE64 = bytes(
    octet for octet in range(256) if not chr(octet).isascii() or chr(octet) in "\t\r\n "
)
_LIKE_A_MARK = frozenset(b"-.F")


class Octets(Protocol):
    """Bytes by range: ``bytes``, or a mapped file."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: slice, /) -> bytes: ...
    def find(self, sub: bytes, start: int = ..., end: int = ..., /) -> int:
        """As of ``bytes``."""
        ...

    def rfind(self, sub: bytes, start: int = ..., end: int = ..., /) -> int:
        """As of ``bytes``."""
        ...


type Encoder = Callable[[Octets, int, int], Iterator[bytes]]


def is_seven_bit(source: Octets, begin: int, end: int) -> bool:
    """Return whether no byte of the range is above 127."""
    return all(source[at : min(end, at + BLOCK)].isascii() for at in range(begin, end, BLOCK))


def eight_bit_octets(source: Octets, begin: int, end: int) -> int:
    """Count the bytes above 127."""
    blocks = (source[at : min(end, at + BLOCK)] for at in range(begin, end, BLOCK))
    return sum(len(block) - len(block.translate(None, _EIGHT)) for block in blocks)


def has_long_line(source: Octets, begin: int, end: int, limit: int = MAX_LINE) -> bool:
    """Return whether a line of the range has more than ``limit`` bytes. It samples one position
    in about every ``limit`` bytes."""
    while end - begin > limit:
        last = source.rfind(b"\r\n", begin, min(end, begin + limit + 2))
        if last < 0:
            return True
        begin = last + 2
    return False


class LineWatch:
    """Detects a line of more than MAX_LINE bytes in content that arrives in pieces."""

    def __init__(self) -> None:
        self.is_long = False
        self._open = 0
        self._ends_in_cr = False

    def update(self, piece: bytes) -> None:
        """Add the next piece. It samples one position in about every MAX_LINE bytes."""
        if self.is_long or not piece:
            return
        found = piece.find(b"\r\n")
        if self._ends_in_cr and piece.startswith(b"\n"):
            found = -1  # its CR was in the previous piece
        elif found < 0:
            found = len(piece)
        begin = found + 2
        if found == len(piece):
            self._open += len(piece)
        else:
            last = max(begin, piece.rfind(b"\r\n") + 2)
            self.is_long = self._open + found > MAX_LINE or has_long_line(piece, begin, last)
            self._open = len(piece) - last
        self._ends_in_cr = piece.endswith(b"\r")
        self.is_long = self.is_long or self._open - self._ends_in_cr > MAX_LINE


def blocks(source: Octets, begin: int, end: int) -> Iterator[bytes]:
    """Yield a range in blocks of whole lines."""
    while begin < end:
        cut = end
        if end - begin > BLOCK:
            cut = source.rfind(b"\r\n", begin, begin + BLOCK) + 2
            if cut < begin + 2:  # a line longer than a block
                cut = source.find(b"\r\n", begin, end) + 2
                cut = cut if cut > 1 else end
        yield source[begin:cut]
        begin = cut


def quoted_printable(source: Octets, begin: int, end: int) -> Iterator[bytes]:
    """Encode text whose lines end with CRLF (RFC 2045 §6.7)."""
    for block in blocks(source, begin, end):
        lines = (
            _quoted(block).split(b"\r\n")
            if line_ends_are_whole(block)
            else map(_quoted_line, block.split(b"\r\n"))
        )
        yield b"\r\n".join([line if len(line) <= _LINE else _folded(line, _LINE) for line in lines])


def base64(source: Octets, begin: int, end: int) -> Iterator[bytes]:
    """Encode arbitrary bytes (RFC 2045 §6.8)."""
    step = _LINE // 4 * 3 * 800
    for at in range(begin, end, step):
        yield _wrapped(
            binascii.b2a_base64(source[at : min(end, at + step)], newline=False), first=at == begin
        )


def mended_quoted_printable(source: Octets, begin: int, end: int) -> Iterator[bytes]:
    """Repair quoted-printable with 8-bit bytes or lines that are too long; other lines are
    unchanged."""
    for block in blocks(source, begin, end):
        yield b"\r\n".join(map(_mended_line, block.split(b"\r\n")))


def mended_base64(source: Octets, begin: int, end: int) -> Iterator[bytes]:
    """Repair base64 with 8-bit bytes, which are ignored (RFC 2045 §6.8), or lines that are too
    long."""
    left, first = b"", True
    for at in range(begin, end, BLOCK):
        left += source[at : min(end, at + BLOCK)].translate(None, _NO_BASE64)
        cut = len(left) // _LINE * _LINE
        if cut:
            yield _wrapped(left[:cut], first=first)
            left, first = left[cut:], False
    if left:
        yield _wrapped(left, first=first)


def plain(source: Octets, begin: int, end: int) -> Iterator[bytes]:
    """Convert text that is never shown: a question mark for each 8-bit byte, and long lines
    broken and indented."""
    for block in blocks(source, begin, end):
        yield b"\r\n".join(
            line
            if len(line) <= MAX_LINE
            else b"\r\n ".join(
                line[at : at + MAX_LINE - 1] for at in range(0, len(line), MAX_LINE - 1)
            )
            for line in _EIGHT_BIT.sub(b"?", block).split(b"\r\n")
        )


def _escape(found: re.Match[bytes]) -> bytes:
    data = found[0]
    return data[:-1] + b"=%02X" % data[-1]


def _quoted_line(line: bytes) -> bytes:
    return _ESCAPE.sub(_escape, line)


def _quoted(lines: bytes) -> bytes:
    """The same for whole lines, each byte value at once: several times faster for text with
    many."""
    text = lines.replace(b"=", b"=3D")
    for octet in set(text.translate(None, _PLAIN)):
        text = text.replace(b"%c" % octet, b"=%02X" % octet)
    if b" \r\n" in text or b"\t\r\n" in text or text.endswith((b" ", b"\t")):
        text = _LAST_BLANK.sub(_escape, text)
    return text


def _mended_line(line: bytes) -> bytes:
    if len(line) <= MAX_LINE and line.isascii():
        return line
    return _folded(_EIGHT_BIT.sub(_escape, line), MAX_LINE)


def _folded(line: bytes, limit: int) -> bytes:
    """Insert soft line breaks into a line of quoted-printable."""
    if len(line) <= limit:
        return line
    pieces, begin, start = [], 0, b""
    while len(line) - begin > limit - len(start):
        cut = begin + limit - len(start) - 1
        if line[cut - 1] == ord("="):
            cut -= 1
        elif line[cut - 2] == ord("="):
            cut -= 2
        pieces.append(start + line[begin:cut])
        begin, start = cut, b""
        if line[begin] in _LIKE_A_MARK:
            start, begin = b"=%02X" % line[begin], begin + 1
    pieces.append(start + line[begin:])
    return b"=\r\n".join(pieces)


def _wrapped(text: bytes, *, first: bool) -> bytes:
    lines = b"\r\n".join(text[at : at + _LINE] for at in range(0, len(text), _LINE))
    return lines if first else b"\r\n" + lines
