"""The header block of a message (RFC 5322 §2.2), read without building a tree.

A mail server needs little of a header: where it ends, how often the message has travelled (RFC 5321 §6.3) and a few fields for
listings. One pass over the first octets gives all of it; nothing here fails, whatever the octets are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from posthorn.wire.address import MAX_PATH_OCTETS
from posthorn.wire.charsets import decode_unlabelled

SCAN_LIMIT = 64 * 1024
"""Octets of a message looked at; a header block that is longer is read up to here."""
FIELD_LIMIT = 4000
"""Characters kept of one field, as it came: a subject of many encoded words takes four times what it says."""

_FIELD_NAME = re.compile(rb"[\x21-\x39\x3b-\x7e]+[ \t]*:")
_RECEIVED = re.compile(rb"^received[ \t]*:", re.IGNORECASE | re.MULTILINE)
_WANTED = re.compile(
    rb"^(subject|from|date|message-id)[ \t]*:((?:[^\n]*\r\n[ \t])*[^\n]*)", re.IGNORECASE | re.MULTILINE
)
_FOLD = re.compile(rb"\r\n[ \t]+")
_CHARSET = re.compile(
    rb"^content-type[ \t]*:(?:[^\n]*\r\n[ \t])*[^\n]*?;\s*charset\s*=\s*\"?([^\s\";]{1,80})",
    re.IGNORECASE | re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Summary:
    """The fields of a message that listings show, unfolded, undecoded (RFC 2047 words as they came), without NULs."""

    subject: str = ""
    from_: str = ""
    date: str = ""
    message_id: str = ""


@dataclass(frozen=True, slots=True)
class HeaderScan:
    """What one pass over the start of a message found."""

    summary: Summary
    received: int
    """Number of Received fields: the hops the message has made (RFC 5321 §6.3)."""
    starts_with_field: bool
    """False when the first line is not a header field, so that a separator must come before it."""
    has_separator: bool
    """Whether a blank line ends the header block within what was scanned."""


def starts_with_field(head: bytes) -> bool:
    """Tell whether the octets begin with a header field (RFC 5322 §2.2: printable name, then a colon)."""
    return _FIELD_NAME.match(head) is not None


def header_end(head: bytes) -> int:
    """Give the offset just after the blank line that ends the header block, or -1 when there is none."""
    if head.startswith(b"\r\n"):
        return 2
    end = head.find(b"\r\n\r\n")
    return -1 if end < 0 else end + 4


def scan_header(head: bytes) -> HeaderScan:
    """Scan the start of a message in canonical CRLF form; ``head`` may be cut at any octet past the header block."""
    end = header_end(head[:SCAN_LIMIT])
    block = bytes(head[: end if end >= 0 else SCAN_LIMIT])
    found: dict[str, str] = {}
    for name, value in _WANTED.findall(block):
        kind = name.decode("ascii").lower()
        if kind not in found:
            found[kind] = _text(value, block, keep_end=kind == "from")
    return HeaderScan(
        summary=Summary(
            subject=found.get("subject", ""),
            from_=found.get("from", ""),
            date=found.get("date", ""),
            message_id=found.get("message-id", ""),
        ),
        received=len(_RECEIVED.findall(block)),
        starts_with_field=starts_with_field(block),
        has_separator=end >= 0,
    )


def _text(value: bytes, block: bytes, *, keep_end: bool) -> str:
    unfolded = _FOLD.sub(b" ", value).replace(b"\0", b"").strip()
    if unfolded.isascii():
        text = unfolded.decode("ascii")
    else:
        charset = _CHARSET.search(block)
        text = decode_unlabelled(unfolded, charset[1].decode("ascii", "replace") if charset else "")
    text = text.replace("\r", " ")
    if len(text) > FIELD_LIMIT and keep_end and (angle := text.rfind("<")) >= 0:  # an author never loses the address
        end = text[angle:][:MAX_PATH_OCTETS]
        return f"{text[: FIELD_LIMIT - len(end) - 1]} {end}"
    return text[:FIELD_LIMIT]
