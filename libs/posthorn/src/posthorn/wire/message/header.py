"""The header block of a message (RFC 5322 §2.2), scanned without building a tree.

A mail server needs little of a header: where it ends, how often the message has travelled (RFC 5321
§6.3) and a few fields for listings. One pass over the first bytes collects all of it; it never
fails, whatever the input.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from posthorn.wire.address import MAX_PATH_OCTETS
from posthorn.wire.message.charsets import decode_unlabelled
from posthorn.wire.message.passed import PASSED

SCAN_LIMIT = 64 * 1024
"""Bytes of a message that are scanned; a longer header block is read up to here."""
FIELD_LIMIT = 4000
"""Characters kept of one field, undecoded: encoded words take up to four times their text."""

_FIELD_NAME = re.compile(rb"[\x21-\x39\x3b-\x7e]+[ \t]*:")
_BY = re.compile(rb"(?:^|[ \t\r\n])by[ \t\r\n]+([^\s;()]+)", re.IGNORECASE)
_WANTED = frozenset(
    {
        b"received",
        b"subject",
        b"from",
        b"date",
        b"message-id",
        b"auto-submitted",
        b"content-type",
        b"x-failed-recipients",
        PASSED.lower().encode(),
    }
)
_FOLD = re.compile(rb"\r\n[ \t]+")
_CHARSET = re.compile(rb";\s*charset\s*=\s*\"?([^\s\";]{1,80})", re.IGNORECASE)
_QUOTED_MARK = re.compile(
    rb"^[> \t]*" + PASSED.encode() + rb"[ \t]*:", re.IGNORECASE | re.MULTILINE
)
_PASSED = PASSED.lower()
_MARK_WORD = _PASSED.removeprefix("x-").encode()
_MOST_MARKS = 50


@dataclass(frozen=True, slots=True)
class Summary:
    """The fields of a message for listings: unfolded, undecoded (RFC 2047 words as received),
    without NULs."""

    subject: str = ""
    from_: str = ""
    date: str = ""
    message_id: str = ""


@dataclass(frozen=True, slots=True)
class HeaderScan:
    """Result of a pass over the start of a message."""

    summary: Summary
    received: int
    """Number of Received fields: the hops the message has made (RFC 5321 §6.3)."""
    starts_with_field: bool
    """False when the first line is not a header field, so that a separator must precede it."""
    has_separator: bool
    """Whether a blank line ends the header block within what was scanned."""
    passed: tuple[str, ...] = ()
    """Values of X-Posthorn-Passed fields, unverified (``wire.passed``)."""
    hosts: tuple[str, ...] = ()
    """Hosts that received it (``by`` in Received, RFC 5321 §4.4), in lower case, once for each
    field."""
    looks_like_report: bool = False
    """Whether it is a report (RFC 6522), is marked as automatic (RFC 3834 §5), or quotes a
    message that was forwarded here."""

    def passes(self, hostname: str) -> int:
        """Return how often it has passed through here: received by the host of this name, or
        forwarded by an alias, whichever is more."""
        return max(self.hosts.count(hostname.lower()), len(self.passed))


def starts_with_field(head: bytes) -> bool:
    """Return whether the bytes begin with a header field (RFC 5322 §2.2: printable name, then a
    colon)."""
    return _FIELD_NAME.match(head) is not None


def header_end(head: bytes) -> int:
    """Return the offset just after the blank line that ends the header block, or -1 when there
    is none."""
    if head.startswith(b"\r\n"):
        return 2
    end = head.find(b"\r\n\r\n")
    return -1 if end < 0 else end + 4


def scan_header(head: bytes) -> HeaderScan:
    """Scan the start of a message in canonical CRLF form; ``head`` may end at any byte after the
    header block."""
    end = header_end(head[:SCAN_LIMIT])
    block = bytes(head[: end if end >= 0 else SCAN_LIMIT])
    values: dict[str, bytes] = {}
    marks: list[str] = []
    received: list[bytes] = []
    for name, value in _wanted(block):
        field = name.decode("ascii")
        if field == "received":
            received.append(value)
        elif field == _PASSED:
            marks.append(_text(value).lower())
        else:
            values.setdefault(field, value)
    content_type = values.get("content-type", b"")
    found = {
        field: _text(value, content_type, keep_end=field == "from")
        for field, value in values.items()
    }
    return HeaderScan(
        summary=Summary(
            subject=found.get("subject", ""),
            from_=found.get("from", ""),
            date=found.get("date", ""),
            message_id=found.get("message-id", ""),
        ),
        received=len(received),
        starts_with_field=starts_with_field(block),
        has_separator=end >= 0,
        passed=tuple(marks[:_MOST_MARKS]),
        hosts=tuple(
            by[1].decode("ascii", "replace").lower()
            for value in received
            if (by := _BY.search(value)) is not None
        ),
        looks_like_report=_is_automatic(found) or (end >= 0 and _quotes_mark(head, end)),
    )


def _wanted(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield name, in lower case, and value of the fields that are of interest, with their
    continuations."""
    lines = block.split(b"\n")
    at, last = 0, len(lines)
    while at < last:
        line = lines[at]
        at += 1
        name, colon, value = line.partition(b":")
        name = name.rstrip(b" \t").lower()
        if not colon or name not in _WANTED:
            continue
        if value.endswith(b"\r"):
            begin = at
            while (
                at < last
                and lines[at][:1] in (b" ", b"\t")
                and (at == begin or lines[at - 1].endswith(b"\r"))
            ):
                at += 1
            if at > begin:
                value = b"\n".join((value, *lines[begin:at]))
        yield name, value


def _quotes_mark(head: bytes, start: int) -> bool:
    """Return whether a line of the body is, perhaps quoted, a mark of a forwarded message."""
    # a search for a word first: that for the line is slow, and in hardly any message there is one
    return (
        _MARK_WORD in head[start:SCAN_LIMIT].lower()
        and _QUOTED_MARK.search(head, start, SCAN_LIMIT) is not None
    )


def _is_automatic(found: dict[str, str]) -> bool:
    automatic = found.get("auto-submitted", "no").partition(";")[0].strip().lower()
    kind = found.get("content-type", "").partition(";")[0].strip().lower()
    return (
        automatic not in ("", "no") or kind == "multipart/report" or "x-failed-recipients" in found
    )


def _text(value: bytes, content_type: bytes = b"", *, keep_end: bool = False) -> str:
    unfolded = (_FOLD.sub(b" ", value) if b"\r\n" in value else value).replace(b"\0", b"").strip()
    if unfolded.isascii():
        text = unfolded.decode("ascii")
    else:
        charset = _CHARSET.search(content_type)
        text = decode_unlabelled(unfolded, charset[1].decode("ascii", "replace") if charset else "")
    text = text.replace("\r", " ")
    # the address of the author is never cut off
    if len(text) > FIELD_LIMIT and keep_end and (angle := text.rfind("<")) >= 0:
        end = text[angle:][:MAX_PATH_OCTETS]
        return f"{text[: FIELD_LIMIT - len(end) - 1]} {end}"
    return text[:FIELD_LIMIT]
