"""The parts of a message for judging it: a walk whose cost a sender cannot choose.

``wire/message/mime.py`` lists structure exactly, in a time linear in the bytes; but each line that
begins with two hyphens costs it a step in Python, of which 50 MiB have millions. Here only searches
in C go through bodies, and everything that is counted has a limit. What is beyond a limit is not
seen, and ``is_complete`` says so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from posthorn.wire.message.mime_fields import ContentFields, read_fields
from posthorn.wire.message.transfer_decoding import transfer_decoder

MOST_PARTS = 500
DEEPEST = 12
"""Levels of multiparts and enclosed messages."""
_HEADER_BYTES = 16 * 1024  # of the header of one part
_ALL_HEADER_BYTES = 512 * 1024
_MOST_DELIMITERS = 20_000
_LONGEST_BOUNDARY = 200

_MESSAGES = frozenset({"message/rfc822", "message/global"})
_ENCODED = frozenset({"base64", "quoted-printable"})
_NO_BASE64 = bytes(
    each
    for each in range(256)
    if not (chr(each).isascii() and chr(each).isalnum()) and each not in b"+/"
)


@dataclass(frozen=True, slots=True)
class Leaf:
    """A part without parts of its own. Offsets are bytes of the message."""

    fields: ContentFields
    start: int
    end: int
    depth: int = 0
    is_enclosed: bool = False
    """Whether it is within a message within the message."""


@dataclass(slots=True)
class Walk:
    """Parts found, and what of the limits is left."""

    leaves: list[Leaf] = field(default_factory=list)
    is_complete: bool = True
    parts: int = 0
    deepest: int = 0
    header_bytes: int = _ALL_HEADER_BYTES
    delimiters: int = _MOST_DELIMITERS


def walk_parts(content: bytes) -> Walk:
    """Return the leaves of a message in canonical CRLF form."""
    walk = Walk()
    _part(walk, content, 0, len(content), "text/plain", 0, is_enclosed=False)
    return walk


def decoded(content: bytes, leaf: Leaf, limit: int) -> bytes:
    """Return the first bytes of a part's decoded body, ``limit`` at most."""
    encoding = leaf.fields.encoding
    if encoding not in _ENCODED:
        return content[leaf.start : min(leaf.end, leaf.start + limit)]
    raw = content[leaf.start : min(leaf.end, leaf.start + limit * 2 + 4096)]
    decoder = transfer_decoder(encoding)
    return (decoder.feed(raw) + decoder.finish())[:limit]


def decoded_end(content: bytes, leaf: Leaf, limit: int) -> bytes:
    """Return about the last ``limit`` bytes of a part's decoded body: of base64, whole groups
    counted from the end."""
    raw = content[max(leaf.start, leaf.end - limit * 2) : leaf.end]
    if leaf.fields.encoding == "base64":
        body = raw.rstrip(b"\r\n \t")
        padding = len(body) - len(body.rstrip(b"="))
        text = body.translate(None, _NO_BASE64)
        size = len(text) + min(padding, 2)
        decoder = transfer_decoder("base64")
        text = text[size % 4 :] + b"=" * min(padding, 2)
        return (decoder.feed(text) + decoder.finish())[-limit:]
    if leaf.fields.encoding == "quoted-printable":
        decoder = transfer_decoder("quoted-printable")
        raw = decoder.feed(raw) + decoder.finish()
    return raw[-limit:]


def _part(
    walk: Walk, content: bytes, start: int, end: int, default: str, depth: int, *, is_enclosed: bool
) -> None:
    """Read a part's header, then its body."""
    walk.parts += 1
    walk.deepest = max(walk.deepest, depth)
    header_end, body = _header(content, start, end)
    size = min(header_end - start, _HEADER_BYTES, walk.header_bytes)
    walk.header_bytes -= size
    fields = read_fields(content[start : start + size], default)
    boundary = (fields.boundary or "").encode("utf-8", "replace").rstrip(b" \t")
    is_message = fields.type in _MESSAGES and fields.encoding not in _ENCODED
    if not boundary and not is_message:
        walk.leaves.append(Leaf(fields, body, end, depth, is_enclosed))
    elif depth >= DEEPEST:
        walk.is_complete = False
        walk.leaves.append(Leaf(fields, body, end, depth, is_enclosed))
    elif is_message:
        _part(walk, content, body, end, "text/plain", depth + 1, is_enclosed=True)
    else:
        default = "message/rfc822" if fields.type == "multipart/digest" else "text/plain"
        found = 0
        for first, last in _divided(walk, content, body, end, boundary):
            if walk.parts >= MOST_PARTS:
                walk.is_complete = False
                break
            found += 1
            _part(walk, content, first, last, default, depth + 1, is_enclosed=is_enclosed)
        if not found:
            walk.leaves.append(Leaf(fields, body, end, depth, is_enclosed))


def _header(content: bytes, start: int, end: int) -> tuple[int, int]:
    """Return where the header of a part ends, and where its body begins."""
    if content.startswith(b"\r\n", start):
        return start, start + 2
    found = content.find(b"\r\n\r\n", start, end)
    return (end, end) if found < 0 else (found + 2, found + 4)


def _divided(
    walk: Walk, content: bytes, start: int, end: int, boundary: bytes
) -> list[tuple[int, int]]:
    """Return where the parts between the delimiters of a multipart begin and end (RFC 2046
    §5.1.1)."""
    delimiter = b"--" + boundary[:_LONGEST_BOUNDARY]
    line = re.compile(rb"(--)?[ \t]*(?:\r\n|\Z)")
    spans: list[tuple[int, int]] = []
    begun = -1
    at = start - 2 if content.startswith(b"\r\n", start - 2) else start
    while (found := content.find(delimiter, at, end)) >= 0:
        walk.delimiters -= 1
        if walk.delimiters < 0:
            walk.is_complete = False
            break
        at = found + len(delimiter)
        if found != start and content[found - 2 : found] != b"\r\n":
            continue
        rest = line.match(content, at, end)
        if rest is None:
            continue
        if begun >= 0:
            spans.append((begun, max(begun, found - 2)))
        at = begun = rest.end()
        if rest[1]:
            return spans
        if len(spans) >= MOST_PARTS:
            walk.is_complete = False
            return spans
    if begun >= 0:
        spans.append((begun, end))
    return spans
