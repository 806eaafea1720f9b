"""The structure of a message (RFC 2045, RFC 2046): its parts, their offsets, and their header
fields.

Theory of operation. ``MimeScanner`` takes a message in canonical CRLF form in pieces of any size,
and keeps only the current header and the incomplete line. Open parts are on a stack. In a body only
lines that begin with ``--`` are examined; one with the boundary of an open multipart closes every
part above that multipart. The time is linear in the bytes; depth, parts and headers are bounded.

Rules:

- A delimiter is a line of ``--``, the boundary, for the last one ``--`` again, and blanks (RFC 2046
  §5.1.1). The whole line is compared, so that a boundary that begins with another is distinguished;
  of two equal ones the innermost counts. The CRLF before the line belongs to it, not to the part.
- Parts open at the end are closed there: a truncated message has the parts received.
- Parts are numbered as IMAP does (RFC 9051 §6.4.5.1): a message that is no multipart has part 1;
  the parts of a multipart count from 1; those of a message within a message begin with the number
  of its part. A multipart that is a whole message has none.
- A multipart without a boundary or without parts, and one that is nested too deeply, is a part
  without parts. ``is_complete`` tells whether a limit left something out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from posthorn.wire.message.mime_fields import ContentFields, read_fields

MOST_PARTS = 1000
DEEPEST = 50
"""Most levels of nested multiparts and messages."""
HEADER_BYTES = 64 * 1024
"""Bytes of a part's header that are read."""
_LONGEST_DELIMITER = 1024
_LONGEST_LINE = 8 * 1024

_FIELD = re.compile(rb"[\x21-\x39\x3b-\x7e]+[ \t]*:")
_MESSAGES = frozenset({"message/rfc822", "message/global"})
_ENCODED = frozenset({"base64", "quoted-printable", "x-uuencode", "uuencode"})


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a message. Offsets and sizes are bytes of the message as stored."""

    number: str
    """Number as in IMAP; empty for a multipart that is a whole message."""
    fields: ContentFields
    header_offset: int
    body_offset: int
    body_bytes: int
    """Bytes of the body as stored, encoded."""
    lines: int
    """Line ends in the body."""
    decoded_bytes: int
    """Bytes of the decoded body; an estimate, a few bytes off, where it is encoded."""
    parts: tuple[Part, ...] = ()

    @property
    def is_message(self) -> bool:
        """Whether it is an enclosed message whose parts are known."""
        return self.fields.type in _MESSAGES and bool(self.parts)

    @property
    def is_attachment(self) -> bool:
        """Whether it counts as an attachment for people."""
        if self.number == "" or (self.parts and not self.is_message):
            return False
        is_text = self.fields.type in ("text/plain", "text/html")
        return (
            self.fields.disposition == "attachment"
            or self.fields.file_name is not None
            or not is_text
        )

    def walk(self, depth: int = 0) -> Iterator[tuple[int, Part]]:
        """Return it and all parts within it, in order, with their depths."""
        yield depth, self
        for part in self.parts:
            yield from part.walk(depth + 1)

    def find(self, number: str) -> Part | None:
        """Return the part of a number."""
        return next(
            (part for _, part in self.walk() if part.number and part.number == number), None
        )


@dataclass(slots=True)
class _Open:
    header_offset: int
    default_type: str
    header: bytearray = field(default_factory=bytearray)
    fields: ContentFields = field(default_factory=ContentFields)
    boundary: bytes = b""
    body_offset: int = -1
    body_end: int = -1
    first_line: int = 0
    lines: int = 0
    first_escape: int = 0
    first_soft: int = 0
    decoded: int = 0
    parts: list[_Open] = field(default_factory=list)


class MimeScanner:
    """Reads a message piece by piece: ``feed`` each piece, then ``finish``."""

    def __init__(self) -> None:
        self.is_complete = True
        """Whether all parts were listed."""
        self._rest = b""
        self._offset = 0  # of what is in rest
        self._line_starts = True
        self._in_header = True
        self._root = _Open(0, "text/plain")
        self._stack = [self._root]
        self._parts = 1
        self._boundaries: dict[bytes, list[int]] = {}
        self._lines = self._escapes = self._soft = 0

    def feed(self, piece: bytes) -> None:
        """Add the next bytes."""
        data = self._rest + piece
        at = 0
        while (after := self._step(data, at)) >= 0:
            at = after
        self._rest = data[at:]

    def finish(self) -> Part:
        """Return the message as a part, with its parts."""
        rest, self._rest = self._rest, b""
        if rest and (self._in_header or self._line_starts):
            rest = rest[self._line(rest) :]
        if rest:
            self._advance(rest)
        self._close(0, self._offset, self._lines)
        return _frozen(self._root, "")

    def _step(self, data: bytes, at: int) -> int:
        """Process some bytes from there on; return where to continue, -1 when more are needed."""
        if at >= len(data):
            return -1
        if self._in_header or (self._line_starts and data.startswith(b"--", at)):
            end = data.find(b"\r\n", at)
            if end >= 0:
                return at + self._line(data[at : end + 2])
            longest = _LONGEST_LINE if self._in_header else _LONGEST_DELIMITER
            if len(data) - at <= longest + 2:
                return -1
            return at + self._line(data[at:-2])
        if self._line_starts and at == len(data) - 1 and data[at:] == b"-":
            return -1
        end = data.find(b"\r\n--", at)
        after = end + 2
        # what is left may be the beginning of a delimiter's line, or of a soft line break
        if end < 0:
            after = len(data) - 3
            after -= 2 if data[after - 2 : after] == b"=\r" else data[after - 1 : after] == b"="
            if after <= at:
                return -1
        self._advance(data[at:after])
        self._line_starts = end >= 0
        return after

    def _advance(self, data: bytes) -> None:
        self._offset += len(data)
        self._lines += data.count(b"\n")
        self._escapes += data.count(b"=")
        self._soft += data.count(b"=\r\n")

    def _line(self, line: bytes) -> int:
        """Process a line, or the beginning of one that is too long; return the number of bytes
        processed."""
        starts = self._line_starts
        if starts and line.startswith(b"--") and (found := self._delimiter(line)) is not None:
            level, is_last = found
            self._divide(level, line, is_last=is_last)
            return len(line)
        part = self._stack[-1]
        if self._in_header:
            is_blank = starts and line == b"\r\n"
            if (
                not is_blank
                and starts
                and not part.header
                and not _FIELD.match(line[:_LONGEST_LINE])
            ):
                self._begin_body()
                return 0
            part.header += line[: HEADER_BYTES - len(part.header)]
            self._advance(line)
            self._line_starts = line.endswith(b"\r\n")
            if is_blank:
                self._begin_body()
        else:
            self._advance(line)
            self._line_starts = line.endswith(b"\r\n")
        return len(line)

    def _delimiter(self, line: bytes) -> tuple[int, bool] | None:
        if len(line) > _LONGEST_DELIMITER:
            return None
        text = line[2:].rstrip(b" \t\r\n")
        if levels := self._boundaries.get(text):
            return levels[-1], False
        if text.endswith(b"--") and (levels := self._boundaries.get(text[:-2])):
            return levels[-1], True
        return None

    def _divide(self, level: int, line: bytes, *, is_last: bool) -> None:
        """Close the parts within the multipart at that level of the stack, and open its next
        part."""
        self._close(level + 1, max(0, self._offset - 2), self._lines - 1)
        self._offset += len(line)
        self._lines += line.count(b"\n")
        multipart = self._stack[level]
        self._line_starts = True
        self._in_header = False
        if is_last:
            self._forget(level)
        elif self._parts >= MOST_PARTS:
            self.is_complete = False
        else:
            digest = multipart.fields.type == "multipart/digest"
            self._open(multipart, "message/rfc822" if digest else "text/plain")

    def _open(self, parent: _Open, default_type: str) -> None:
        self._parts += 1
        part = _Open(self._offset, default_type)
        parent.parts.append(part)
        self._stack.append(part)
        self._in_header = True
        self._line_starts = True

    def _begin_body(self) -> None:
        part = self._stack[-1]
        part.fields = read_fields(bytes(part.header), part.default_type)
        part.header = bytearray()
        part.body_offset = self._offset
        part.first_line, part.first_escape, part.first_soft = self._lines, self._escapes, self._soft
        self._in_header = False
        self._line_starts = True
        is_message = part.fields.type in _MESSAGES and part.fields.encoding not in _ENCODED
        boundary = (part.fields.boundary or "").encode("utf-8", "replace").rstrip(b" \t")
        if not boundary and not is_message:
            return
        if len(self._stack) >= DEEPEST or (is_message and self._parts >= MOST_PARTS):
            self.is_complete = False
        elif is_message:
            self._open(part, "text/plain")
        elif len(boundary) < _LONGEST_DELIMITER - 6:
            part.boundary = boundary
            self._boundaries.setdefault(boundary, []).append(len(self._stack) - 1)

    def _close(self, level: int, end: int, lines: int) -> None:
        """Close the parts from that level of the stack on; their last body ends there."""
        for place in range(len(self._stack) - 1, level - 1, -1):
            part = self._stack[place]
            if part.body_offset < 0:  # the header has no end
                part.fields = read_fields(bytes(part.header), part.default_type)
                part.header = bytearray()
                part.body_offset = max(part.header_offset, end)
                part.first_line, part.first_escape, part.first_soft = (
                    max(lines, 0),
                    self._escapes,
                    self._soft,
                )
            part.body_end = max(part.body_offset, end)
            part.lines = max(0, lines - part.first_line)
            part.decoded = self._decoded(part)
            self._forget(place)
        del self._stack[level:]

    def _decoded(self, part: _Open) -> int:
        size = part.body_end - part.body_offset
        if part.fields.encoding == "base64":
            return max(0, size - 2 * part.lines) * 3 // 4
        if part.fields.encoding == "quoted-printable":
            soft = self._soft - part.first_soft
            escapes = self._escapes - part.first_escape - soft
            return max(0, size - 3 * soft - 2 * escapes)
        return size

    def _forget(self, level: int) -> None:
        part = self._stack[level]
        if part.boundary:
            levels = self._boundaries[part.boundary]
            levels.remove(level)
            if not levels:
                del self._boundaries[part.boundary]
            part.boundary = b""


def scan_message(data: bytes) -> Part:
    """Return the structure of a message that is whole in memory."""
    scanner = MimeScanner()
    scanner.feed(data)
    return scanner.finish()


def _frozen(part: _Open, prefix: str, *, is_whole: bool = True) -> Part:
    """Number a part and those within it. ``prefix``: that of the message for a whole one, else
    the part's own number."""
    is_multipart = bool(part.parts) and part.fields.type not in _MESSAGES
    number = prefix
    if is_whole:
        number = "" if is_multipart else f"{prefix}.1".removeprefix(".")
    inner: tuple[Part, ...]
    if is_multipart:
        inner = tuple(
            _frozen(each, f"{prefix}.{place}".removeprefix("."), is_whole=False)
            for place, each in enumerate(part.parts, 1)
        )
    else:
        inner = tuple(_frozen(each, number) for each in part.parts)
    return Part(
        number,
        part.fields,
        part.header_offset,
        part.body_offset,
        part.body_end - part.body_offset,
        part.lines,
        part.decoded,
        inner,
    )
