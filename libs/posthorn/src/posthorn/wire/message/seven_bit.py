"""Conversion of a message for a host that does not accept it as it is: without 8BITMIME only 7-bit
content; always lines of at most 998 bytes (RFC 6152 §3, RFC 5321 §4.5.3.1.6).

Rules:

- Only what must change is changed: parts with 8-bit bytes or long lines become quoted-printable or
  base64, along with their Content-Transfer-Encoding; everything else, boundaries and other fields
  included, is copied unchanged.
- Containers have no encoding of their own (RFC 2045 §6.4): multiparts and enclosed messages are
  traversed, and where nothing in them is 8-bit any more their label becomes ``7bit``.
- Signed or encrypted multiparts must not be changed in transit (RFC 1847 §2.1), and an unknown
  message type, encoding or structure cannot be converted safely: Inconvertible, unless nothing in
  it needs a change.
- A header is changed where possible (``header_form``): long lines are folded at white space, and
  for hosts without 8BITMIME fields are encoded. A field without such a form is unchanged, and
  ``Conversion.has_raw_header`` is set.
- Preamble and epilogue of a multipart are never shown (RFC 2046 §5.1.1); they keep their place, not
  their 8-bit bytes.
- DKIM signatures over the body do not survive a conversion. The message does. The conversion is
  deterministic, so that its result can be signed beforehand (ADR 26).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from posthorn.wire.message import transfer_encoding as encoding
from posthorn.wire.message.content_fields import (
    FIELD,
    Field,
    Inconvertible,
    boundary_of,
    content_type,
    only_value,
    without_comments,
)
from posthorn.wire.message.header_form import encoded, folded
from posthorn.wire.message.transfer_encoding import MAX_LINE, Encoder, Octets
from posthorn.wire.smtp.data import line_ends_are_whole

_MOST_PARTS = 10_000
_MOST_MARKS = 100_000
_DEEPEST = 20
_LONGEST_HEADER = 1024 * 1024
_QUOTED_UP_TO = 6  # one byte in so many above 127: quoted-printable is shorter, and readable

_IDENTITIES = frozenset({b"", b"7bit", b"8bit", b"binary"})
_LABEL = b"Content-Transfer-Encoding: %s\r\n"


@dataclass(frozen=True, slots=True)
class Span:
    """A range of the message, unchanged or encoded."""

    begin: int
    end: int
    how: Encoder | None = None


class Conversion:
    """What is sent instead of a message: its spans, and text inserted between them."""

    def __init__(
        self, source: Octets, pieces: Sequence[Span | bytes], *, has_raw_header: bool = False
    ) -> None:
        self._source = source
        self._pieces = pieces
        self.has_raw_header = has_raw_header
        """Whether the message's own header keeps 8-bit bytes that the host does not accept."""

    def blocks(self) -> Iterator[bytes]:
        """Yield the new message, in blocks of about 64 KiB at most."""
        for piece in self._pieces:
            if isinstance(piece, bytes):
                yield piece
            elif piece.how is not None:
                yield from piece.how(self._source, piece.begin, piece.end)
            else:
                for at in range(piece.begin, piece.end, encoding.BLOCK):
                    yield self._source[at : min(piece.end, at + encoding.BLOCK)]


def is_fit(source: Octets, *, eight_bit: bool) -> bool:
    """Return whether a message can be sent as it is; ``eight_bit``: the host accepts bytes above
    127."""
    return (
        eight_bit or encoding.is_seven_bit(source, 0, len(source))
    ) and not encoding.has_long_line(source, 0, len(source))


def convert(source: Octets, *, eight_bit: bool) -> Conversion:
    """Return the conversion of a message in CRLF form for a host; ``eight_bit`` as in
    ``is_fit``. Raises Inconvertible."""
    walk = _Walk(source, eight_bit)
    walk.entity(0, len(source), is_message=True)
    return Conversion(source, walk.pieces, has_raw_header=walk.has_raw_header)


def with_short_lines(message: bytes) -> bytes:
    """Return a message in CRLF form with lines that every host accepts; unchanged where it has
    them, or cannot be converted."""
    if not encoding.has_long_line(message, 0, len(message)):
        return message
    try:
        return b"".join(convert(message, eight_bit=True).blocks())
    except Inconvertible:
        return message


@dataclass(slots=True)
class _Entity:
    """A header and its content fields."""

    fields: list[Field]
    blank: int
    """Where the header's last line end is, the empty line's begin."""
    body: int
    end: int
    type: bytes
    """``main/sub`` in lower case, empty where none is given."""
    parameters: bytes
    encoding: bytes


class _Walk:
    """Traverses a message and collects what is to be sent."""

    def __init__(self, source: Octets, eight_bit: bool) -> None:
        self.pieces: list[Span | bytes] = []
        self._source = source
        self._eight_bit = eight_bit
        self.has_raw_header = False
        self._parts = 0
        self._looked_at = 0

    def entity(
        self,
        begin: int,
        end: int,
        default: bytes = b"text/plain",
        depth: int = 0,
        *,
        is_message: bool = False,
    ) -> None:
        """Traverse a message or a part of one."""
        is_bad = not self._is_fit(begin, end)
        if self._eight_bit and not is_bad:
            return self._copy(begin, end)
        try:
            if depth > _DEEPEST:
                raise Inconvertible("its parts are nested too deeply to be converted")
            found = self._read(begin, end)
        except Inconvertible:
            if is_bad:
                raise
            return self._copy(begin, end)
        kind = found.type or default
        is_bad = not self._is_fit(found.body, end)
        additions = b""
        if (
            is_message
            and is_bad
            and not any(field.name == b"mime-version" for field in found.fields)
        ):
            additions = b"MIME-Version: 1.0\r\n"
        if found.encoding not in _IDENTITIES or not kind.startswith((b"multipart/", b"message/")):
            return self._leaf(found, kind, additions, is_bad, is_message=is_message)
        if is_bad and kind in (b"multipart/signed", b"multipart/encrypted"):
            raise Inconvertible(f"it has {kind.decode()} content, which must not be changed")
        label = None if self._eight_bit or found.encoding in (b"", b"7bit") else b"7bit"
        if kind == b"message/rfc822":
            self._header(found, label, additions)
            return self.entity(found.body, end, depth=depth + 1, is_message=True)
        if kind.startswith(b"message/"):
            if is_bad:
                raise Inconvertible("it encloses a message of a kind that must not be encoded")
            self._header(found, label, additions)
            return self._copy(found.body, end)
        self._header(found, label, additions)
        if kind in (b"multipart/signed", b"multipart/encrypted"):
            return self._copy(found.body, end)
        inner = b"message/rfc822" if kind == b"multipart/digest" else b"text/plain"
        return self._multipart(found, inner, depth, is_bad)

    # Headers

    def _read(self, begin: int, end: int) -> _Entity:
        """Parse a header. Raises Inconvertible where it is ambiguous."""
        source = self._source
        if source[begin : min(end, begin + 2)] == b"\r\n":
            blank, body = begin, begin + 2
        else:
            found = source.find(b"\r\n\r\n", begin, end)
            blank, body = (end, end) if found < 0 else (found + 2, found + 4)
        if blank - begin > _LONGEST_HEADER:
            raise Inconvertible("its header is too long to be converted")
        head = source[begin:blank]
        fields: list[Field] = []
        at = 0
        while at < len(head):
            field = FIELD.match(head, at)
            if field is None:
                raise Inconvertible("its header, or that of a part, is not valid")
            fields.append(Field(field[1].lower(), field[2], begin + at, begin + field.end()))
            at = field.end()
        type_, parameters = content_type(only_value(fields, b"content-type"))
        label = without_comments(only_value(fields, b"content-transfer-encoding")).strip().lower()
        return _Entity(fields, blank, body, end, type_, parameters, label)

    def _header(self, found: _Entity, label: bytes | None, additions: bytes = b"") -> None:
        """Add the header, with another encoding's name if one is given."""
        is_labelled = label is None
        is_first = not self.pieces
        for field in found.fields:
            if label is not None and field.name == b"content-transfer-encoding":
                self.pieces.append(_LABEL % label)
                is_labelled = True
            elif self._is_fit(field.begin, field.end):
                self._copy(field.begin, field.end)
            else:
                data = self._source[field.begin : field.end]
                data = folded(data if self._eight_bit else encoded(data))
                self.has_raw_header |= is_first and not self._eight_bit and not data.isascii()
                self.pieces.append(data)
        if not is_labelled and label is not None:
            additions += _LABEL % label
        if additions:
            self.pieces.append(additions)
        self._copy(found.blank, found.body)

    # Bodies

    def _leaf(
        self, found: _Entity, kind: bytes, additions: bytes, is_bad: bool, *, is_message: bool
    ) -> None:
        body, end = found.body, found.end
        how: Encoder | None = None
        label: bytes | None = None
        if found.encoding in _IDENTITIES:
            if is_bad:
                is_text = kind.startswith(b"text/")
                how, label = self._encoder(body, end, is_text=is_text)
                if (
                    is_message
                    and not found.type
                    and not any(one.name == b"content-type" for one in found.fields)
                ):
                    additions += self._assumed_type(body, end)
            elif not self._eight_bit and found.encoding in (b"8bit", b"binary"):
                label = b"7bit"
        elif is_bad and found.encoding == b"quoted-printable":
            how = encoding.mended_quoted_printable
        elif is_bad and found.encoding == b"base64":
            how = encoding.mended_base64
        elif is_bad:
            raise Inconvertible(
                "a part has an unknown encoding, and bytes or lines that the host does not accept"
            )
        self._header(found, label, additions)
        if how is None:
            return self._copy(body, end)
        self.pieces.append(Span(body, end, how))
        if end == len(self._source) and how in (encoding.base64, encoding.mended_base64):
            self.pieces.append(b"\r\n")
        return None

    def _encoder(self, begin: int, end: int, *, is_text: bool) -> tuple[Encoder, bytes]:
        source = self._source
        if (
            is_text
            and encoding.eight_bit_octets(source, begin, end) * _QUOTED_UP_TO <= end - begin
            and not encoding.has_long_line(source, begin, end, encoding.BLOCK - 2)
            and all(line_ends_are_whole(block) for block in encoding.blocks(source, begin, end))
        ):
            return encoding.quoted_printable, b"quoted-printable"
        return encoding.base64, b"base64"

    def _assumed_type(self, begin: int, end: int) -> bytes:
        """Return the charset of text without a label, as far as it can be determined (RFC 1428
        §3)."""
        if encoding.is_seven_bit(self._source, begin, end):
            return b""
        try:
            for block in encoding.blocks(self._source, begin, end):
                block.decode()
        except UnicodeDecodeError:
            return b"Content-Type: text/plain; charset=unknown-8bit\r\n"
        return b"Content-Type: text/plain; charset=utf-8\r\n"

    def _multipart(self, found: _Entity, default: bytes, depth: int, is_bad: bool) -> None:
        boundary = boundary_of(found.parameters)
        marks = self._marks(found.body, found.end, boundary) if boundary else []
        if not marks:
            if is_bad:
                raise Inconvertible(
                    "it is a multipart message without the boundaries that it declares"
                )
            return self._copy(found.body, found.end)
        self._unseen(found.body, max(found.body, marks[0][0] - 2))
        at = max(found.body, marks[0][0] - 2)
        for number, (begin, end, is_last) in enumerate(marks):
            self._copy(at, end)
            following = (
                found.end if number + 1 == len(marks) else max(end, marks[number + 1][0] - 2)
            )
            if is_last:
                self._unseen(end, found.end)
            else:
                self.entity(end, following, default, depth + 1)
            at = following
            assert begin < end
        return None

    def _marks(self, begin: int, end: int, boundary: bytes) -> list[tuple[int, int, bool]]:
        """Return the boundary lines: where each begins, where the next line begins, and whether
        it is the last one."""
        source, mark, found = self._source, b"--" + boundary, []
        position = begin
        while (at := source.find(mark, position, end)) >= 0:
            position = at + len(mark)
            self._looked_at += 1
            if self._looked_at > _MOST_MARKS:
                raise Inconvertible("it has too many lines like boundaries to be converted")
            if at != begin and source[at - 2 : at] != b"\r\n":
                continue
            stop = source.find(b"\r\n", position, end)
            rest = source[position : min(end if stop < 0 else stop, position + MAX_LINE)]
            is_last = rest.startswith(b"--")
            if rest.removeprefix(b"--").strip(b" \t"):
                continue
            found.append((at, end if stop < 0 else stop + 2, is_last))
            self._parts += 1
            if self._parts > _MOST_PARTS:
                raise Inconvertible("it has too many parts to be converted")
            if is_last:
                break
        return found

    def _unseen(self, begin: int, end: int) -> None:
        if self._is_fit(begin, end):
            self._copy(begin, end)
        else:
            self.pieces.append(Span(begin, end, encoding.plain))

    # Pieces

    def _is_fit(self, begin: int, end: int) -> bool:
        source = self._source
        is_narrow = self._eight_bit or encoding.is_seven_bit(source, begin, end)
        return is_narrow and not encoding.has_long_line(source, begin, end)

    def _copy(self, begin: int, end: int) -> None:
        if begin >= end:
            return
        last = self.pieces[-1] if self.pieces else b""
        if isinstance(last, Span) and last.how is None and last.end == begin:
            self.pieces[-1] = Span(last.begin, end)
        else:
            self.pieces.append(Span(begin, end))
