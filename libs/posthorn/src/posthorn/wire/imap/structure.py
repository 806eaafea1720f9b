"""ENVELOPE, BODY and BODYSTRUCTURE from the scan of a message (RFC 9051 §7.5.2).

Rules:

- Sender and Reply-To are From where they are absent or empty. A field that is absent is NIL.
- Parameters are pairs of strings and never NIL; an encoding is never NIL; numbers are not negative.
- BODY has no extension data, BODYSTRUCTURE has all of it.
"""

from __future__ import annotations

from collections.abc import Iterator

from posthorn.wire.imap.addresses import parse_addresses
from posthorn.wire.imap.strings import NIL, nstring, string
from posthorn.wire.message.mime_content import EnvelopeFields, Parameters, read_envelope
from posthorn.wire.message.mime_offsets import Part


def envelope_of(header: bytes, *, utf8: bool = False) -> bytes:
    """Return the ENVELOPE of a message from its header."""
    return format_envelope(read_envelope(header), utf8=utf8)


def format_envelope(fields: EnvelopeFields, *, utf8: bool = False) -> bytes:
    """Return an ENVELOPE."""
    from_ = _addresses(fields.from_, utf8=utf8)
    values = (
        _text(fields.date, utf8=utf8),
        _text(fields.subject, utf8=utf8),
        from_,
        _addresses(fields.sender, from_, utf8=utf8),
        _addresses(fields.reply_to, from_, utf8=utf8),
        _addresses(fields.to, utf8=utf8),
        _addresses(fields.cc, utf8=utf8),
        _addresses(fields.bcc, utf8=utf8),
        _text(fields.in_reply_to, utf8=utf8),
        _text(fields.message_id, utf8=utf8),
    )
    return b"(%s)" % b" ".join(values)


def format_structure(part: Part, *, extended: bool = True, utf8: bool = False) -> bytes:
    """Return the BODYSTRUCTURE of a message, or its BODY (not ``extended``)."""
    return b"".join(_part(part, extended=extended, utf8=utf8))


def _text(value: bytes | None, *, utf8: bool) -> bytes:
    return NIL if value is None else string(value.replace(b"\t", b" "), utf8=utf8)


def _addresses(value: bytes | None, default: bytes = NIL, *, utf8: bool) -> bytes:
    if not value:
        return default
    found = [
        b"(%s NIL %s %s)"
        % (
            _text(address.name, utf8=utf8),
            _text(address.mailbox, utf8=utf8),
            _text(address.host, utf8=utf8),
        )
        for address in parse_addresses(value)
    ]
    return b"(%s)" % b"".join(found) if found else default


def _part(part: Part, *, extended: bool, utf8: bool) -> Iterator[bytes]:
    fields = part.fields
    yield b"("
    if part.is_multipart:
        for each in part.parts:
            yield from _part(each, extended=extended, utf8=utf8)
        yield b" " + string(fields.subtype.upper())
        if extended:
            yield b" " + _parameters(fields.parameters, utf8=utf8)
    else:
        yield b"%s %s %s %s %s %s %d" % (
            string(fields.type.upper()),
            string(fields.subtype.upper()),
            _parameters(fields.parameters, utf8=utf8),
            nstring(fields.id, utf8=utf8),
            nstring(fields.description, utf8=utf8),
            string(fields.encoding.upper()),
            part.end - part.body,
        )
        if part.is_message:
            inner = part.parts[0]
            yield b" " + format_envelope(inner.envelope or EnvelopeFields(), utf8=utf8) + b" "
            yield from _part(inner, extended=extended, utf8=utf8)
            yield b" %d" % part.lines
        elif fields.type.lower() == b"text":
            yield b" %d" % part.lines
        if extended:
            yield b" " + nstring(fields.md5, utf8=utf8)
    if extended:
        disposition = NIL
        if fields.disposition is not None:
            disposition = b"(%s %s)" % (
                string(fields.disposition.upper()),
                _parameters(fields.disposition_parameters, utf8=utf8),
            )
        languages = NIL
        if fields.languages:
            languages = b"(%s)" % b" ".join(string(each, utf8=utf8) for each in fields.languages)
        yield b" %s %s %s" % (disposition, languages, nstring(fields.location, utf8=utf8))
    yield b")"


def _parameters(parameters: Parameters, *, utf8: bool) -> bytes:
    if not parameters:
        return NIL
    return b"(%s)" % b" ".join(
        string(name, utf8=utf8) + b" " + string(value, utf8=utf8) for name, value in parameters
    )
