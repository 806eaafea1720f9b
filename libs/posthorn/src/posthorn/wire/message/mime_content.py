"""Content fields and envelope fields of a header, as written (RFC 2045, RFC 2183, RFC 5322 §3.6).

Values are unfolded and not decoded: IMAP repeats them as they are. Of repeated fields the first one
counts. Nothing fails.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

_MOST_PARAMETERS = 100
_TOKEN = rb"[^\x00-\x20()<>@,;:\\\"/\[\]?=\x7f-\xff]+"
_TYPE = re.compile(
    rb"[ \t]*(" + _TOKEN + rb")[ \t]*(?:/[ \t]*(" + _TOKEN + rb")[ \t]*)?(?=[;( \t]|\Z)"
)
_VALUE = re.compile(rb"[ \t]*(" + _TOKEN + rb")")
_PARAMETER = re.compile(
    rb";[ \t]*([^\s=;\"()]++)[ \t]*=[ \t]*(?:\"((?:[^\"\\]|\\.)*)\"?|([^;]*))", re.DOTALL
)
_COMMENT = re.compile(rb"\((?:[^()\\]|\\.)*\)?", re.DOTALL)
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_WORD = re.compile(rb"[^\s,()\"]+")
_LINE_ENDS = re.compile(rb"[\r\n\0]+")

type Parameters = tuple[tuple[bytes, bytes], ...]
"""Names and values, in order."""

_ENVELOPE_NAMES = (
    b"date", b"subject", b"from", b"sender", b"reply-to", b"to", b"cc", b"bcc", b"in-reply-to",
    b"message-id",
)  # fmt: skip
_ENVELOPE_SET = frozenset(_ENVELOPE_NAMES)


@dataclass(frozen=True, slots=True)
class EnvelopeFields:
    """Values of the fields of ENVELOPE (RFC 9051 §7.5.2), unfolded; None for those absent."""

    date: bytes | None = None
    subject: bytes | None = None
    from_: bytes | None = None
    sender: bytes | None = None
    reply_to: bytes | None = None
    to: bytes | None = None
    cc: bytes | None = None
    bcc: bytes | None = None
    in_reply_to: bytes | None = None
    message_id: bytes | None = None


@dataclass(frozen=True, slots=True)
class ContentFields:
    """Content fields of a part. A part without Content-Type is text/plain in US-ASCII."""

    type: bytes = b"text"
    subtype: bytes = b"plain"
    parameters: Parameters = ((b"charset", b"us-ascii"),)
    id: bytes | None = None
    description: bytes | None = None
    encoding: bytes = b"7bit"
    md5: bytes | None = None
    disposition: bytes | None = None
    disposition_parameters: Parameters = ()
    languages: tuple[bytes, ...] = ()
    location: bytes | None = None

    @property
    def kind(self) -> bytes:
        """Type and subtype in lower case."""
        return self.type.lower() + b"/" + self.subtype.lower()

    def parameter(self, name: bytes) -> bytes:
        """Return the value of a parameter of the type; empty when there is none."""
        return next((value for key, value in self.parameters if key.lower() == name), b"")


_PLAIN = ContentFields()
_MESSAGE = ContentFields(b"message", b"rfc822", ())


def header_fields(header: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Return the names, in lower case, and the unfolded values of the fields of a header."""
    if b"\n " in header or b"\n\t" in header:
        header = (
            header.replace(b"\r\n ", b" ")
            .replace(b"\r\n\t", b"\t")
            .replace(b"\n ", b" ")
            .replace(b"\n\t", b"\t")
        )
    for line in header.split(b"\n"):
        name, colon, value = line.partition(b":")
        if colon:
            yield name.strip(b" \t").lower(), value


def read_envelope(header: bytes) -> EnvelopeFields:
    """Return the fields of ENVELOPE from a header."""
    found: dict[bytes, bytes] = {}
    for name, value in header_fields(header):
        if name in _ENVELOPE_SET and name not in found:
            found[name] = clean(value)
    return EnvelopeFields(*[found.get(name) for name in _ENVELOPE_NAMES])


def clean(value: bytes) -> bytes:
    """Return a value without line ends, NULs, and blanks around it."""
    if b"\r" in value or b"\0" in value or b"\n" in value:
        value = _LINE_ENDS.sub(b"", value)
    return value.strip(b" \t")


def read_content(header: bytes, default: bytes = b"text/plain") -> ContentFields:
    """Return the content fields of a header; ``default``: the type of a part without one."""
    found: dict[bytes, bytes] = {}
    low = header.lower()
    at = low.find(b"content-")
    while at >= 0:
        end = at + 8
        if at == 0 or low[at - 1] == 0x0A:
            end = low.find(b"\n", at)
            while end >= 0 and low[end + 1 : end + 2] in (b" ", b"\t"):
                end = low.find(b"\n", end + 1)
            end = end if end >= 0 else len(low)
            name, colon, value = header[at:end].partition(b":")
            if colon:
                found.setdefault(name.strip(b" \t").lower(), clean(value))
        at = low.find(b"content-", end)
    if not found:
        return _PLAIN if default != b"message/rfc822" else _MESSAGE
    type_, subtype, parameters = _content_type(found.get(b"content-type"), default)
    disposition, disposition_parameters = _disposition(found.get(b"content-disposition"))
    encoding = _VALUE.match(found.get(b"content-transfer-encoding", b""))
    language = found.get(b"content-language")
    return ContentFields(
        type_,
        subtype,
        parameters,
        found.get(b"content-id") or None,
        found.get(b"content-description") or None,
        encoding[1] if encoding else b"7bit",
        found.get(b"content-md5") or None,
        disposition,
        disposition_parameters,
        tuple(_WORD.findall(_COMMENT.sub(b" ", language)))[:_MOST_PARAMETERS] if language else (),
        found.get(b"content-location") or None,
    )


def octet_stream(fields: ContentFields | None = None) -> ContentFields:
    """Return the fields of a part whose structure is not shown."""
    shown = fields or replace(_PLAIN, parameters=())
    parameters = tuple(pair for pair in shown.parameters if pair[0].lower() == b"name")
    return replace(shown, type=b"application", subtype=b"octet-stream", parameters=parameters)


def _content_type(value: bytes | None, default: bytes) -> tuple[bytes, bytes, Parameters]:
    if value is None:
        known = _MESSAGE if default == b"message/rfc822" else _PLAIN
        return known.type, known.subtype, known.parameters
    found = _TYPE.match(value)
    if found is None or found[2] is None:  # RFC 2045 §5.2
        return b"text", b"plain", _parameters(value[found.end() :]) if found else ()
    return found[1], found[2], _parameters(value[found.end() :])


def _disposition(value: bytes | None) -> tuple[bytes | None, Parameters]:
    found = _VALUE.match(value) if value else None
    if value is None or found is None:
        return None, ()
    return found[1], _parameters(value[found.end() :])


def _parameters(text: bytes) -> Parameters:
    """Each character is looked at a bounded number of times: a match begins at a semicolon and
    names hold none."""
    found: list[tuple[bytes, bytes]] = []
    if b";" not in text:
        return ()
    for match in _PARAMETER.finditer(text):
        name, quoted, plain = match.groups()
        if quoted is not None:
            value = _ESCAPED.sub(rb"\1", quoted) if b"\\" in quoted else quoted
        else:
            value = (_COMMENT.sub(b"", plain) if b"(" in plain else plain).strip(b" \t")
        found.append((name, value))
        if len(found) >= _MOST_PARAMETERS:
            break
    return tuple(found)
