"""FETCH replies, byte for byte (RFC 9051 §7.5.2, RFC 3516, RFC 7162, RFC 8474, RFC 8514, RFC 8970).

Each function returns one item with its name; ``fetch`` joins them to a reply.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache

from posthorn.wire.imap.dates import format_date_time
from posthorn.wire.imap.fetch_items import BinaryItem, BodyItem, Section
from posthorn.wire.imap.replies import flags
from posthorn.wire.imap.strings import NIL, astring, binary, literal, nstring, text


def fetch(number: int, items: Iterable[bytes]) -> bytes:
    """Return the reply about one message."""
    return b"* %d FETCH (%s)\r\n" % (number, b" ".join(items))


def uid(value: int) -> bytes:
    """Return UID."""
    return b"UID %d" % value


def flags_item(names: Iterable[str]) -> bytes:
    """Return FLAGS."""
    return b"FLAGS " + flags(names)


def size(size_bytes: int) -> bytes:
    """Return RFC822.SIZE."""
    return b"RFC822.SIZE %d" % size_bytes


def internal_date(moment: datetime) -> bytes:
    """Return INTERNALDATE."""
    return b"INTERNALDATE " + format_date_time(moment)


def save_date(moment: datetime | None) -> bytes:
    """Return SAVEDATE, NIL where it is not known."""
    return b"SAVEDATE " + (NIL if moment is None else format_date_time(moment))


def modseq(value: int) -> bytes:
    """Return MODSEQ."""
    return b"MODSEQ (%d)" % value


def object_id(name: str, value: str | None) -> bytes:
    """Return EMAILID or THREADID."""
    return b"%s %s" % (name.encode(), NIL if value is None else b"(%s)" % text(value))


def preview(words: str | None, *, utf8: bool) -> bytes:
    """Return PREVIEW, NIL where it is not at hand."""
    return b"PREVIEW " + nstring(
        None if words is None else words.encode("utf-8", "replace"), utf8=utf8
    )


def envelope(form: bytes) -> bytes:
    """Return ENVELOPE of what ``wire.imap.structure`` formatted."""
    return b"ENVELOPE " + form


def structure(form: bytes, *, extended: bool) -> bytes:
    """Return BODYSTRUCTURE, or BODY."""
    return (b"BODYSTRUCTURE " if extended else b"BODY ") + form


@lru_cache(maxsize=1024)
def body_name(item: BodyItem) -> bytes:
    """Return the name of a section in the reply; a partial repeats its origin alone."""
    if item.label:
        return item.label.encode()
    return b"BODY[%s]%s" % (_section(item.section), _origin(item.start))


def body(item: BodyItem, octets: bytes | None) -> bytes:
    """Return a section with its content; None is NIL, for a part that does not exist."""
    return body_name(item) + b" " + (NIL if octets is None else literal(octets))


def body_start(item: BodyItem, size_bytes: int) -> bytes:
    """Return what precedes the content of a section that is sent in pieces."""
    return b"%s {%d}\r\n" % (body_name(item), size_bytes)


def binary_item(item: BinaryItem, octets: bytes | None) -> bytes:
    """Return BINARY with its decoded content; None is NIL."""
    return b"BINARY[%s]%s %s" % (
        _part(item.part),
        _origin(item.start),
        NIL if octets is None else binary(octets),
    )


def binary_start(item: BinaryItem, size_bytes: int, *, has_nul: bool) -> bytes:
    """Return what precedes decoded content that is sent in pieces."""
    tilde = b"~" if has_nul else b""
    return b"BINARY[%s]%s %s{%d}\r\n" % (_part(item.part), _origin(item.start), tilde, size_bytes)


def binary_size(part: tuple[int, ...], size_bytes: int) -> bytes:
    """Return BINARY.SIZE."""
    return b"BINARY.SIZE[%s] %d" % (_part(part), size_bytes)


def _part(part: tuple[int, ...]) -> bytes:
    return b".".join(b"%d" % number for number in part)


def _origin(start: int | None) -> bytes:
    return b"" if start is None else b"<%d>" % start


def _section(section: Section) -> bytes:
    words = b".".join(word for word in (_part(section.part), section.text.encode()) if word)
    if not section.fields:
        return words
    return b"%s (%s)" % (words, b" ".join(astring(name) for name in section.fields))
