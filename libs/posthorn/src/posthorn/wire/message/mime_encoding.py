"""The compact form in which the structure of a message is kept (``wire.message.mime_offsets``).

A byte with the version, then what was made of the structure to be shown, if anything (IMAP's
BODYSTRUCTURE, so that the parts need not be read for it), then the parts in order: numbers as
varints, strings with their length. A form of another version, or one that is damaged, is a
ValueError: the message is scanned again.
"""

from __future__ import annotations

from posthorn.wire.message.mime_content import ContentFields, EnvelopeFields, Parameters
from posthorn.wire.message.mime_offsets import DEEPEST, Part

VERSION = 2
_MOST = 1 << 63


def encode_part(part: Part, shown: bytes | None = None) -> bytes:
    """Return the compact form of a structure; ``shown``: what is kept with it."""
    out = bytearray([VERSION])
    _put_string(out, shown)
    _put_part(out, part, 0)
    return bytes(out)


def decode_part(form: bytes) -> Part:
    """Return the structure of a compact form. Raises ValueError."""
    taken = _taken(form)
    try:
        taken.string()
        part = taken.part(0, 0)
    except IndexError:
        raise ValueError("the form ends early") from None
    if taken.at != len(form):
        raise ValueError("bytes after the form")
    return part


def decode_shown(form: bytes) -> bytes | None:
    """Return what is kept with a structure. Raises ValueError."""
    try:
        return _taken(form).string()
    except IndexError:
        raise ValueError("the form ends early") from None


def _taken(form: bytes) -> _Taker:
    if not form or form[0] != VERSION:
        raise ValueError("another version of the form")
    return _Taker(form)


def _put_number(out: bytearray, number: int) -> None:
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)


def _put_string(out: bytearray, text: bytes | None) -> None:
    """0 is None, otherwise the length plus 1."""
    if text is None:
        out.append(0)
    else:
        _put_number(out, len(text) + 1)
        out += text


def _put_parameters(out: bytearray, parameters: Parameters) -> None:
    _put_number(out, len(parameters))
    for name, value in parameters:
        _put_string(out, name)
        _put_string(out, value)


def _put_part(out: bytearray, part: Part, base: int) -> None:
    for number in (part.header - base, part.body - part.header, part.end - part.body, part.lines):
        _put_number(out, number)
    fields = part.fields
    for text in (fields.type, fields.subtype, fields.encoding, fields.id, fields.description,
                 fields.md5, fields.location, fields.disposition):  # fmt: skip
        _put_string(out, text)
    _put_parameters(out, fields.parameters)
    _put_parameters(out, fields.disposition_parameters)
    _put_number(out, len(fields.languages))
    for language in fields.languages:
        _put_string(out, language)
    envelope = part.envelope
    out.append(envelope is not None)
    if envelope is not None:
        for text in _envelope_values(envelope):
            _put_string(out, text)
    _put_number(out, len(part.parts))
    for each in part.parts:
        _put_part(out, each, part.header)


def _envelope_values(fields: EnvelopeFields) -> tuple[bytes | None, ...]:
    return (fields.date, fields.subject, fields.from_, fields.sender, fields.reply_to, fields.to,
            fields.cc, fields.bcc, fields.in_reply_to, fields.message_id)  # fmt: skip


class _Taker:
    def __init__(self, form: bytes) -> None:
        self._form = form
        self.at = 1

    def number(self) -> int:
        byte = self._form[self.at]
        self.at += 1
        if byte < 0x80:
            return byte
        number, shift = byte & 0x7F, 7
        while True:
            byte = self._form[self.at]
            self.at += 1
            number |= (byte & 0x7F) << shift
            if number >= _MOST:
                raise ValueError("a number is too large")
            if byte < 0x80:
                return number
            shift += 7

    def string(self) -> bytes | None:
        length = self.number()
        if not length:
            return None
        end = self.at + length - 1
        if end > len(self._form):
            raise ValueError("a string ends early")
        text = self._form[self.at : end]
        self.at = end
        return text

    def text(self) -> bytes:
        return self.string() or b""

    def parameters(self) -> Parameters:
        return tuple([(self.text(), self.text()) for _ in range(self.number())])

    def part(self, base: int, depth: int) -> Part:
        if depth > 2 * DEEPEST:
            raise ValueError("nested too deeply")
        header = base + self.number()
        body = header + self.number()
        end = body + self.number()
        lines = self.number()
        kind, subtype, encoding = self.text(), self.text(), self.text()
        id_, description, md5, location, disposition = [self.string() for _ in range(5)]
        fields = ContentFields(
            kind,
            subtype,
            self.parameters(),
            id_,
            description,
            encoding,
            md5,
            disposition,
            self.parameters(),
            tuple([self.text() for _ in range(self.number())]),
            location,
        )
        envelope = None
        if self.number():
            envelope = EnvelopeFields(*[self.string() for _ in range(10)])
        parts = tuple([self.part(header, depth + 1) for _ in range(self.number())])
        return Part(header, body, end, lines, fields, envelope, parts)
