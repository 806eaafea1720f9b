"""What a search for text finds in a message (RFC 9051 §6.4.4, BODY, HEADER and TEXT).

Rules:

- Texts are compared after ``fold``: in any case, and in any form of the same characters (half width
  or full width, composed or decomposed; RFC 5051 has the idea).
- Fields of headers are unfolded and decoded (RFC 2047) before they are compared.
- The body is the decoded text of all text parts, also of those that are attached or in an enclosed
  message. Of HTML it is what is shown and where links lead, not the mark-up. Headers of parts and of
  enclosed messages belong to TEXT, not to BODY.
- Nothing fails, and every function is linear in the message.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from posthorn.wire.message.charsets import UnknownCharsetError, decode, decode_unlabelled
from posthorn.wire.message.header_decoding import decode_text
from posthorn.wire.message.mime_content import ContentFields
from posthorn.wire.message.mime_fields import read_fields
from posthorn.wire.message.mime_offsets import Part, scan_offsets
from posthorn.wire.message.transfer_decoding import transfer_decoder

_PIECE = 256
"""Characters that are normalised together, at least."""
_ASCII = re.compile("[\x00-\x7f]")
_COLON = re.compile(rb"[ \t]*+:")
_FOLDED = re.compile(rb"\r?\n[ \t]+")
_BY_LABEL = re.compile(r"iso-?2022|csiso2022|hz|utf-?7|utf-?16|utf-?32|ucs|unicode", re.IGNORECASE)
"""Character sets whose texts look like ASCII, or like UTF-8, when they are not decoded."""
_BREAK = re.compile(
    r"</?(?:br|p|div|td|th|tr|li|ul|ol|dl|dd|dt|table|h[1-6]|hr|pre|blockquote)\b[^<>]*>",
    re.IGNORECASE,
)
_TAG = re.compile(r"<[/!?a-zA-Z][^<>]*>")
_LINK = re.compile(r"""href\s{0,9}=\s{0,9}["']?([^"'\s<>]{1,2000})""", re.IGNORECASE)
_UNSEEN = (("<!--", "-->"), ("<style", "</style"), ("<script", "</script"))
_NOT_PLAIN = (b"html", b"quoted-printable", b"base64", b"*=")
_LABELS = re.compile(rb"charset\s*=\s*[\"']?([^\s\"';]*)")
"""Character sets that a message names, in lower case."""


@dataclass(frozen=True, slots=True)
class Found:
    """Which of the texts that were looked for a message contains."""

    body: frozenset[str] = frozenset()
    """Those of BODY."""
    text: frozenset[str] = frozenset()
    """Those of TEXT, the message's own header not counted."""


def fold(text: str) -> str:
    """Return a text in the form in which texts are compared."""
    if text.isascii():
        return text.lower()
    return _normal(_normal(text).casefold())


def field_values(header: bytes, name: str) -> Iterator[str]:
    """Return the values of the fields of a name in lower case, unfolded, not decoded."""
    wanted = b"\n" + name.encode("utf-8", "replace")
    header = b"\n" + header
    low = header.lower()
    at = 0
    while (at := low.find(wanted, at)) >= 0:
        at += len(wanted)
        if (colon := _COLON.match(low, at)) is not None:
            at = _field_end(low, colon.end())
            yield unfolded(header[colon.end() : at])


def unfolded(value: bytes) -> str:
    """Return a field on one line, as text."""
    return decode_unlabelled(_FOLDED.sub(b" ", value)).strip(" \t\r\n")


class SearchedHeader:
    """A header that is looked at several times."""

    __slots__ = ("_text", "_values", "octets")

    def __init__(self, octets: bytes) -> None:
        self.octets = octets
        self._values: dict[str, list[str]] = {}
        self._text: str | None = None

    @property
    def text(self) -> str:
        """All of it, unfolded, decoded and folded."""
        if self._text is None:
            self._text = header_text(self.octets)
        return self._text

    def has(self, name: str, needle: str) -> bool:
        """Return whether a field of this name, in lower case, contains a folded text; an empty one:
        whether there is the field."""
        values = self._values.get(name)
        if values is None:
            values = self._values[name] = [
                fold(decode_text(value) if "=?" in value else value)
                for value in field_values(self.octets, name)
            ]
        return any(needle in value for value in values)


def header_text(header: bytes) -> str:
    """Return a header with its fields unfolded and decoded, folded."""
    text = decode_unlabelled(_FOLDED.sub(b" ", header))
    if "=?" in text:
        text = "\n".join(decode_text(line) if "=?" in line else line for line in text.split("\n"))
    if "*" in text and (name := read_fields(header).file_name):  # RFC 2231
        text = f"{text}\n{name}"
    return fold(text)


def find_in(message: bytes, body: Collection[str], text: Collection[str]) -> Found:
    """Look for folded texts in a whole message."""
    wanted = {*body, *text}
    low = message.lower()
    if low.isascii() and _is_plain(low):
        # what its parts show stands in it as it is, folds aside: what is not there is nowhere
        wanted = {
            each
            for each in wanted
            if all(word.encode("utf-8", "replace") in low for word in each.split())
        }
        if not wanted:
            return Found()
    root = scan_offsets(message)
    in_body: set[str] = set()
    for part in text_parts(root):
        shown = part_text(part.fields, message[part.body : part.end])
        in_body.update(each for each in wanted if each in shown)
        if len(in_body) == len(wanted):
            break
    in_text = set(in_body)
    left = wanted.intersection(text) - in_text
    for start, end in inner_headers(root) if left else ():
        shown = header_text(message[start:end])
        in_text.update(each for each in left if each in shown)
    return Found(frozenset(in_body.intersection(body)), frozenset(in_text.intersection(text)))


def _normal(text: str) -> str:
    """Return the normal form. It is made piece by piece, since sorting the marks of one character
    takes time that grows with the square of their number."""
    if unicodedata.is_normalized("NFKC", text):
        return text
    pieces: list[str] = []
    at = 0
    while at < len(text):
        # ASCII has no normal form together with what precedes it
        found = _ASCII.search(text, at + _PIECE, at + 2 * _PIECE)
        end = at + 2 * _PIECE if found is None else found.start()
        pieces.append(unicodedata.normalize("NFKC", text[at:end]))
        at = end
    return "".join(pieces)


def _is_plain(low: bytes) -> bool:
    """Return whether all text stands in a message, in lower case, as it is."""
    if b"=?" in low:
        return False
    if b"content-" not in low:
        return True
    if any(mark in low for mark in _NOT_PLAIN):
        return False
    return not any(is_opaque(label.decode()) for label in _LABELS.findall(low))


def text_parts(root: Part) -> Iterator[Part]:
    """Return the parts that are text, those of enclosed messages too."""
    stack = [root]
    while stack:
        part = stack.pop()
        if part.parts:
            stack += reversed(part.parts)
        elif part.fields.type.lower() == b"text":
            yield part


def inner_headers(root: Part) -> Iterator[tuple[int, int]]:
    """Return where the headers of the parts are, that of the message itself left out."""
    stack = list(reversed(root.parts))
    while stack:
        part = stack.pop()
        if part.body > part.header:
            yield part.header, part.body
        stack += reversed(part.parts)


def part_text(fields: ContentFields, octets: bytes) -> str:
    """Return the folded text of a text part from its body as stored."""
    decoder = transfer_decoder(fields.encoding.decode("latin-1").lower())
    return decoded_text(fields, decoder.feed(octets) + decoder.finish())


def decoded_text(fields: ContentFields, data: bytes) -> str:
    """Return the folded text of a text part from its body without its transfer encoding."""
    label = fields.parameter(b"charset").decode("latin-1").strip()
    text = ""
    if is_opaque(label):
        try:
            text = decode(data, label)
        except UnknownCharsetError:
            label = ""
    if not text:
        text = decode_unlabelled(data, label)
    return fold(shown_text(text) if fields.subtype.lower() == b"html" else text)


def is_opaque(label: str) -> bool:
    """Return whether texts in a character set cannot be read without it, ASCII or not."""
    return _BY_LABEL.match(label) is not None


def shown_text(markup: str) -> str:
    """Return what HTML shows, and where its links lead."""
    low = markup.lower()
    for start, end in _UNSEEN:
        if start in low:
            markup = _without(markup, start, end)
    text = _TAG.sub("", _BREAK.sub("\n", markup))
    if "href" in low and (links := _LINK.findall(markup)):
        text = "\n".join([text, *links])
    return html.unescape(text) if "&" in text else text


def _field_end(header: bytes, at: int) -> int:
    while True:
        end = header.find(b"\n", at)
        if end < 0:
            return len(header)
        if header[end + 1 : end + 2] not in (b" ", b"\t"):
            return end
        at = end + 1


def _without(markup: str, start: str, end: str) -> str:
    low = markup.lower()
    if len(low) != len(markup):  # the places would differ
        return markup
    kept: list[str] = []
    at = 0
    while (begin := low.find(start, at)) >= 0:
        kept.append(markup[at:begin])
        at = low.find(end, begin + len(start))
        if at < 0:
            return "".join(kept)
        if end.startswith("<"):
            close = low.find(">", at)
            at = len(markup) if close < 0 else close + 1
        else:
            at += len(end)
    kept.append(markup[at:])
    return "".join(kept)
