"""Offsets of the parts of a message and their content fields, for IMAP (RFC 2045, RFC 2046).

Unlike ``wire.message.mime``, which decodes names for people, this scanner keeps the fields as
written, as BODYSTRUCTURE repeats them, and reads nothing twice: a message of 5 KiB takes less than
100 microseconds.

Theory of operation. The message comes in blocks of any size. Open parts are on a stack. In a header
the scanner searches for its end, in a body for lines that begin with ``--`` and only while a
multipart is open; one with the boundary of an open multipart closes every part above that
multipart. Only an incomplete header or line is kept.

Rules:

- A delimiter is a whole line: ``--``, the boundary, for the last one ``--`` again, and blanks (RFC
  2046 §5.1.1). Of two equal boundaries the innermost counts. The line end before it belongs to it.
- Every multipart has a part: one without delimiters has one text/plain part that is its whole body.
- A part whose first line is no field has no header; a delimiter ends a header too.
- Beyond the limits of depth and number the rest is application/octet-stream, and so is an enclosed
  message in base64 or quoted-printable, whose structure nobody sees.
- Nothing fails, whatever the message is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from posthorn.wire.message.mime_content import (
    ContentFields,
    EnvelopeFields,
    octet_stream,
    read_content,
    read_envelope,
)

MOST_PARTS = 1000
"""Parts of a message; the last one is the rest."""
DEEPEST = 50
"""Most levels of nested multiparts and messages."""
HEADER_BYTES = 64 * 1024
"""Bytes of a part's header that are read."""
_LONGEST_DELIMITER = 1024
_LONGEST_LINE = 8 * 1024

_FIELD = re.compile(rb"[\x21-\x39\x3b-\x7e]+[ \t]*:")
_ENDS_HEADER = re.compile(rb"\n(?:\r?\n|--)")
_MESSAGES = frozenset({b"message/rfc822", b"message/global"})
_ENCODED = frozenset({b"base64", b"quoted-printable", b"x-uuencode", b"uuencode"})


@dataclass(frozen=True, slots=True)
class Part:
    """A part; offsets are bytes from the beginning of the message as stored."""

    header: int
    """Offset of its header."""
    body: int
    """Offset of its body."""
    end: int
    """Offset after its body."""
    lines: int
    """Line ends in the body."""
    fields: ContentFields
    envelope: EnvelopeFields | None = None
    """Fields of a message within a message."""
    parts: tuple[Part, ...] = ()
    """Of a multipart its parts; of an enclosed message (``is_message``) the message alone."""

    @property
    def is_multipart(self) -> bool:
        """Whether it has parts of its own."""
        return bool(self.parts) and not self.is_message

    @property
    def is_message(self) -> bool:
        """Whether it encloses a message whose structure is known."""
        return bool(self.parts) and self.parts[0].envelope is not None


@dataclass(slots=True)
class _Open:
    header: int
    default: bytes
    is_root: bool = False
    """Whether it is an enclosed message."""
    body: int = -1
    end: int = 0
    first_line: int = 0
    lines: int = 0
    fields: ContentFields | None = None
    envelope: EnvelopeFields | None = None
    boundary: bytes = b""
    parts: list[_Open] = field(default_factory=list)


class OffsetScanner:
    """Reads a message block by block: ``feed`` each, then ``finish``."""

    def __init__(self) -> None:
        self._rest = b""
        self._base = 0  # offset of what is in rest
        self._lines = 0  # line ends before it
        self._in_header = True
        self._header = b""  # what was read of one that is very long
        self._at_line_start = True
        self._delimiter_end = 0  # bytes of the line end of a delimiter that was read last
        self._root = _Open(0, b"text/plain")
        self._stack = [self._root]
        self._count = 1
        self._boundaries: dict[bytes, list[int]] = {}

    def feed(self, block: bytes) -> None:
        """Add the next bytes."""
        self._scan(self._rest + block if self._rest else block, is_last=False)

    def finish(self) -> Part:
        """Return the message as a part, with its parts."""
        self._scan(self._rest, is_last=True)
        while self._in_header:
            self._begin_body(self._header, self._base)
        self._close(0, self._base, self._lines)
        return _frozen(self._root)

    def _scan(self, octets: bytes, *, is_last: bool) -> None:
        at = 0
        while at < len(octets):
            after = (
                self._scan_header(octets, at, is_last=is_last)
                if self._in_header
                else self._scan_body(octets, at, is_last=is_last)
            )
            if after < 0:
                break
            at = after
        self._rest = octets[at:]

    def _advance(self, octets: bytes, start: int, end: int) -> int:
        self._base += end - start
        self._lines += octets.count(b"\n", start, end)
        return end

    # a header

    def _scan_header(self, octets: bytes, at: int, *, is_last: bool) -> int:
        """Read on in a header; return where to continue, -1 when more bytes are needed."""
        if not self._header:
            line_end = octets.find(b"\n", at)
            if line_end < 0 and not is_last and len(octets) - at < _LONGEST_LINE:
                return -1
            if (found := self._delimiter(octets, at, line_end)) is not None:
                self._begin_body(b"", self._base)
                return self._divide(octets, at, line_end + 1 or len(octets), found, header=True)
            if octets.startswith((b"\r\n", b"\n"), at):
                after = self._advance(octets, at, line_end + 1)
                self._begin_body(b"", self._base)
                return after
            if not _FIELD.match(octets, at, at + _LONGEST_LINE):
                self._begin_body(b"", self._base)
                return at
        if not self._boundaries and (after := self._plain_header(octets, at)) >= 0:
            return after
        start = at
        while (found_end := _ENDS_HEADER.search(octets, start)) is not None:
            if octets[found_end.end() - 1] == 0x0A:
                header = self._header + octets[at : found_end.start() + 1]
                after = self._advance(octets, at, found_end.end())
                self._begin_body(header[:HEADER_BYTES], self._base)
                return after
            line = found_end.start() + 1
            line_end = octets.find(b"\n", line)
            if line_end < 0 and not is_last and len(octets) - line <= _LONGEST_DELIMITER:
                break
            if (found := self._delimiter(octets, line, line_end)) is not None:
                header = self._header + octets[at:line]
                self._advance(octets, at, line)
                self._begin_body(header[:HEADER_BYTES], self._base)
                return self._divide(octets, line, line_end + 1 or len(octets), found, header=True)
            start = line + 1
        if is_last:
            self._header = (self._header + octets[at:])[:HEADER_BYTES]
            return self._advance(octets, at, len(octets))
        if len(octets) - at <= HEADER_BYTES:
            return -1
        cut = octets.rfind(b"\n", at, len(octets) - 2)
        if cut <= at or len(octets) - cut > _LONGEST_DELIMITER + 2:
            cut = len(octets) - 3
        self._header = (self._header + octets[at:cut])[:HEADER_BYTES]
        return self._advance(octets, at, cut)

    def _plain_header(self, octets: bytes, at: int) -> int:
        """Read a header that no delimiter can end; return -1 unless it is whole and ends with
        CRLF."""
        end = octets.find(b"\n\r\n", at)
        if end < 0 or octets.find(b"\n\n", at, end + 1) >= 0:
            return -1
        header = self._header + octets[at : end + 1]
        after = self._advance(octets, at, end + 3)
        self._begin_body(header[:HEADER_BYTES], self._base)
        return after

    def _begin_body(self, header: bytes, body: int) -> None:
        part = self._stack[-1]
        part.body, part.first_line = body, self._lines
        self._in_header, self._header = False, b""
        self._delimiter_end = 0
        self._at_line_start = True
        fields = part.fields = read_content(header, part.default)
        if part.is_root:
            part.envelope = read_envelope(header)
        kind = fields.kind
        is_message = kind in _MESSAGES
        if not is_message and not kind.startswith(b"multipart/"):
            return
        if len(self._stack) > DEEPEST or (
            is_message and (self._count >= MOST_PARTS or fields.encoding.lower() in _ENCODED)
        ):
            part.fields = octet_stream(fields)
        elif is_message:
            self._open(b"text/plain", is_root=True)
        else:
            boundary = fields.parameter(b"boundary").rstrip(b" \t")
            if boundary and len(boundary) < _LONGEST_DELIMITER - 6:
                part.boundary = boundary
                self._boundaries.setdefault(boundary, []).append(len(self._stack) - 1)

    # a body

    def _scan_body(self, octets: bytes, at: int, *, is_last: bool) -> int:
        """Read on in a body; return where to continue, -1 when more bytes are needed."""
        if not self._boundaries:
            self._at_line_start = octets.endswith(b"\n")
            return self._advance(octets, at, len(octets))
        if self._at_line_start and not is_last and octets[at:] == b"-":
            return -1
        line = at if self._at_line_start and octets.startswith(b"--", at) else -1
        if line < 0:
            line = octets.find(b"\n--", at) + 1 or -1
        while line >= 0:
            line_end = octets.find(b"\n", line)
            if line_end < 0 and not is_last and len(octets) - line <= _LONGEST_DELIMITER:
                if line - at <= 2:
                    return -1
                self._at_line_start = False
                self._delimiter_end = 0
                return self._advance(octets, at, line - 2)
            if (found := self._delimiter(octets, line, line_end)) is not None:
                self._advance(octets, at, line)
                return self._divide(octets, line, line_end + 1 or len(octets), found, before=at)
            line = octets.find(b"\n--", line) + 1 or -1
        # the last bytes may be the beginning of a delimiter and of the line end before it
        end = len(octets) if is_last else len(octets) - 3
        if end <= at:
            return -1
        self._at_line_start = False
        self._delimiter_end = 0
        return self._advance(octets, at, end)

    def _delimiter(self, octets: bytes, line: int, line_end: int) -> tuple[int, bool] | None:
        """Return the level of the multipart that the line divides, and whether it ends it."""
        if not self._boundaries or not octets.startswith(b"--", line):
            return None
        end = len(octets) if line_end < 0 else line_end
        if end - line > _LONGEST_DELIMITER:
            return None
        text = octets[line + 2 : end].rstrip(b" \t\r")
        if levels := self._boundaries.get(text):
            return levels[-1], False
        if text.endswith(b"--") and (levels := self._boundaries.get(text[:-2])):
            return levels[-1], True
        return None

    def _divide(
        self,
        octets: bytes,
        line: int,
        after: int,
        found: tuple[int, bool],
        *,
        before: int = 0,
        header: bool = False,
    ) -> int:
        """Close the parts within that multipart and open its next part; ``base`` is at the
        line."""
        level, is_end = found
        end, lines = self._base, self._lines
        if not header and line > before:
            end -= 2 if line - before > 1 and octets[line - 2] == 0x0D else 1
            lines -= 1
        elif not header and self._delimiter_end:  # that of the delimiter before
            end -= self._delimiter_end
            lines -= 1
        self._close(level + 1, end, lines)
        self._advance(octets, line, after)
        self._delimiter_end = 2 if octets[after - 2 : after] == b"\r\n" else 1
        self._at_line_start = True
        self._in_header = False
        multipart = self._stack[level]
        if is_end:
            self._forget(level)
        elif self._count >= MOST_PARTS - 1:
            self._count += 1
            rest = _Open(self._base, b"", body=self._base, first_line=self._lines)
            rest.fields = octet_stream()
            multipart.parts.append(rest)
            self._stack.append(rest)
            self._boundaries.clear()
        else:
            is_digest = multipart.fields is not None and multipart.fields.kind == (
                b"multipart/digest"
            )
            self._open(b"message/rfc822" if is_digest else b"text/plain")
        return after

    def _open(self, default: bytes, *, is_root: bool = False) -> None:
        self._count += 1
        part = _Open(self._base, default, is_root)
        self._stack[-1].parts.append(part)
        self._stack.append(part)
        self._in_header = True

    def _close(self, level: int, end: int, lines: int) -> None:
        for place in range(len(self._stack) - 1, level - 1, -1):
            part = self._stack[place]
            if part.fields is None:  # a message that a delimiter ends before it begins
                part.body, part.first_line = self._base, self._lines
                part.fields = read_content(b"", part.default)
                part.envelope = EnvelopeFields() if part.is_root else None
            part.end = max(part.body, end)
            part.lines = max(0, lines - part.first_line)
            self._forget(place)
        del self._stack[level:]

    def _forget(self, level: int) -> None:
        boundary = self._stack[level].boundary
        if boundary and (levels := self._boundaries.get(boundary)):
            levels.remove(level)
            if not levels:
                del self._boundaries[boundary]
        self._stack[level].boundary = b""


def scan_offsets(message: bytes) -> Part:
    """Return the structure of a message that is whole in memory."""
    scanner = OffsetScanner()
    scanner.feed(message)
    return scanner.finish()


def _frozen(part: _Open) -> Part:
    assert part.fields is not None
    parts = tuple([_frozen(each) for each in part.parts])
    if not parts and part.fields.kind.startswith(b"multipart/"):
        parts = (Part(part.body, part.body, part.end, part.lines, ContentFields()),)
    return Part(part.header, part.body, part.end, part.lines, part.fields, part.envelope, parts)
