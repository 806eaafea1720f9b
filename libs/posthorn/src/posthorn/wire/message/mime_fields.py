"""The fields that describe a part of a message: Content-Type, Content-Disposition and their
parameters (RFC 2045, 2183, 2231).

Rules:

- Nothing here fails, whatever the field holds: an invalid Content-Type is text/plain (RFC 2045
  §5.2).
- Every byte is examined a bounded number of times, and no more than ``FIELD_BYTES`` of a field.
- A file name is data: folders, control characters and marks of writing direction are removed.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import unquote_to_bytes

from posthorn.wire.message.charsets import UnknownCharsetError, decode, decode_unlabelled
from posthorn.wire.message.header_decoding import decode_text

FIELD_BYTES = 16 * 1024
"""Bytes of a field that are read."""
LONGEST_NAME_BYTES = 255
"""Bytes of a file name in UTF-8, as file systems have them."""
_MOST_PARAMETERS = 100
_KEPT_TYPES = 128  # most parts have one of few values
_SHOWN = 998
_DECODED = 1200
"""Characters of a value with encoded words: the time that they take grows with the square of
their number."""

_UNFOLD = re.compile(r"[\r\n\0]+")
_PIECE = re.compile(r'"(?:[^"\\]|\\.)*"?|\\|[^";\\]+|;', re.DOTALL)
_COMMENT = re.compile(r"\((?:[^()\\]|\\.)*\)?", re.DOTALL)
_TOKEN = re.compile(r"[!#$%&'*+.^_`{|}~0-9A-Za-z-]+\Z")
_KEY = re.compile(r"([^*\s]+)(?:\*([0-9]{1,3}))?(\*)?\Z")
_ESCAPED = re.compile(r'\\(["\\])')
_PREFIX = b"content-"
_FILE_KEYS = frozenset({"name", "filename"})
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_JOINER = "\u200d"


@dataclass(frozen=True, slots=True)
class Described:
    """A field with a value and parameters, such as Content-Type."""

    value: str
    """In lower case; empty when it is not valid."""
    parameters: dict[str, str] = field(default_factory=dict)
    """Decoded values (RFC 2231, and RFC 2047 as many programs write them), by names in lower
    case."""


@dataclass(frozen=True, slots=True)
class ContentFields:
    """The content fields of a part's header."""

    type: str = "text/plain"
    parameters: dict[str, str] = field(default_factory=dict)
    """Parameters of the Content-Type."""
    encoding: str = "7bit"
    disposition: str | None = None
    file_name: str | None = None
    content_id: str | None = None
    description: str | None = None

    @property
    def charset(self) -> str | None:
        """The character set that the part names."""
        return self.parameters.get("charset")

    @property
    def boundary(self) -> str | None:
        """The boundary of a multipart (RFC 2046 §5.1.1)."""
        return self.parameters.get("boundary") if self.type.startswith("multipart/") else None


def read_fields(header: bytes, default_type: str = "text/plain") -> ContentFields:
    """Return the content fields of a header block; of repeated fields the first one counts."""
    found = _content_fields(header)
    texts = {name: decode_unlabelled(value[:FIELD_BYTES]) for name, value in found.items()}
    kind = _content_type(texts.get("content-type"), default_type)
    disposition = parse_described(texts.get("content-disposition", ""))
    file_name = disposition.parameters.get("filename") or kind.parameters.get("name")
    return ContentFields(
        kind.value,
        kind.parameters,
        _encoding(texts.get("content-transfer-encoding", "")),
        disposition.value[:_SHOWN] or None,
        clean_file_name(file_name) if file_name else None,
        "".join(filter(str.isprintable, texts.get("content-id", "").strip("<> ")[:_SHOWN])) or None,
        decode_text(texts.get("content-description", "")[:_DECODED]) or None,
    )


def _content_fields(header: bytes) -> dict[str, bytes]:
    """Return the values of the fields whose names begin with ``Content-``, unfolded, by names in
    lower case. They are searched for: most of a header are other fields."""
    found: dict[str, bytes] = {}
    lower = header.lower()
    at = lower.find(_PREFIX)
    while at >= 0:
        end = _line_end(header, at)
        if at == 0 or header[max(at - 2, 0) : at] == b"\r\n":
            label, colon, value = header[at:end].partition(b":")
            name = label.rstrip(b" \t").decode("latin-1").lower()
            value = value.strip(b" \t")
            while header[end + 2 : end + 3] in (b" ", b"\t"):
                start, end = end + 2, _line_end(header, end + 2)
                if len(value) < FIELD_BYTES:
                    value += b" " + header[start:end].strip(b" \t")
            if colon:
                found.setdefault(name, value)
        at = lower.find(_PREFIX, end)
    return found


def _line_end(header: bytes, at: int) -> int:
    end = header.find(b"\r\n", at)
    return len(header) if end < 0 else end


def parse_described(text: str) -> Described:
    """Return the value and the parameters of a field."""
    if not text:
        return Described("", {})
    segments = _segments(_UNFOLD.sub(" ", text))
    value, _, rest = _without_comments(segments[0]).strip().partition(" ")
    if "=" in value:  # parameters only
        value, rest = "", segments[0]
    pairs: list[tuple[str, str]] = []
    for segment in [rest, *segments[1:]][:_MOST_PARAMETERS]:
        name, equals, given = segment.partition("=")
        if equals:
            pairs.append((_without_comments(name).strip().lower(), given))
    return Described(value.strip("\"' \t,").lower(), _parameters(pairs))


def clean_file_name(text: str) -> str | None:
    """Return a file name that is safe to show and store: the last part of a path, on one line;
    None when nothing is left."""
    name = re.split(r"[/\\]", text)[-1] if text.strip(" /\\") else ""
    name = "".join(
        character
        for character in name
        if character == _JOINER or unicodedata.category(character) not in _HIDDEN
    )
    name = " ".join(name.split()).rstrip(". ")
    if len(name.encode()) > LONGEST_NAME_BYTES:
        stem, dot, extension = name.rpartition(".")
        tail = f"{dot}{extension}" if stem and len(extension.encode()) <= 16 else ""
        room = LONGEST_NAME_BYTES - len(tail.encode())
        name = (stem if tail else name).encode()[:room].decode("utf-8", "ignore").rstrip() + tail
    return name or None


@lru_cache(_KEPT_TYPES)
def _content_type(text: str | None, default: str) -> Described:
    if text is None:
        return Described(default)
    found = parse_described(re.sub(r"[ \t]*/[ \t]*", "/", text[:200], count=1) + text[200:])
    main, slash, sub = found.value.partition("/")
    if not slash or not _TOKEN.match(main) or not _TOKEN.match(sub) or len(found.value) > 255:
        return Described("text/plain", found.parameters)
    return found


def _encoding(text: str) -> str:
    if not text:
        return "7bit"
    word = (
        _without_comments(_UNFOLD.sub(" ", text))
        .strip()
        .strip("\"';")
        .partition(";")[0]
        .strip()
        .lower()
    )
    return word if len(word) <= 64 and _TOKEN.match(word) else "7bit"


def _segments(text: str) -> list[str]:
    """Return the segments between semicolons outside quotes; each character is examined once."""
    segments = [""]
    pieces: list[str] = []
    for piece in _PIECE.findall(text):
        if piece == ";":
            segments[-1] = "".join(pieces)
            segments.append("")
            pieces = []
        else:
            pieces.append(piece)
    segments[-1] = "".join(pieces)
    return segments


def _without_comments(text: str) -> str:
    if "(" not in text:
        return text
    return " ".join(part for part in _COMMENT.sub(" ", text).split(" ") if part)


def _parameters(pairs: list[tuple[str, str]]) -> dict[str, str]:
    plain: dict[str, str] = {}
    sections: dict[str, dict[int, tuple[str, bool]]] = {}
    for key, given in pairs:
        parts = _KEY.match(key)
        if parts is None:
            continue
        name = parts[1]
        value = _value(name, given)
        if parts[2] is None and parts[3] is None:
            plain.setdefault(
                name, decode_text(value[:_DECODED]) if "=?" in value else value.strip()
            )
        else:
            sections.setdefault(name, {}).setdefault(
                int(parts[2] or 0), (value, parts[3] is not None)
            )
    return plain | {name: _joined(found) for name, found in sections.items() if 0 in found}


def _value(name: str, given: str) -> str:
    given = given.strip()
    if given.startswith('"'):
        inner = given[1:]
        quoted = re.match(r'(?:[^"\\]|\\.)*', inner, re.DOTALL)
        return _ESCAPED.sub(r"\1", quoted[0] if quoted else inner)
    if name in _FILE_KEYS:  # programs that do not quote write blanks and brackets into these
        return given
    value = _without_comments(given).strip()
    return value.partition(" ")[0].strip("'") if name == "charset" else value


def _joined(sections: dict[int, tuple[str, bool]]) -> str:
    """Return a value joined from its sections (RFC 2231 §3 and §4)."""
    charset = ""
    data = b""
    for number in range(len(sections)):
        if number not in sections:
            break
        value, is_encoded = sections[number]
        if is_encoded and number == 0 and value.count("'") >= 2:
            charset, _, value = value.split("'", 2)
        data += unquote_to_bytes(value) if is_encoded else value.encode("utf-8", "replace")
    try:
        return decode(data, charset) if charset else decode_unlabelled(data)
    except UnknownCharsetError:
        return decode_unlabelled(data)
