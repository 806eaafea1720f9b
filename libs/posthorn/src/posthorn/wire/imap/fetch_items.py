"""What FETCH can ask for (RFC 9051 §6.4.5, RFC 3516, RFC 8970, RFC 8514, RFC 8474, RFC 7162)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Attribute(StrEnum):
    """An item without arguments; the value is its name in the reply too."""

    BODY = "BODY"
    """The structure without extension data."""
    BODYSTRUCTURE = "BODYSTRUCTURE"
    EMAILID = "EMAILID"
    ENVELOPE = "ENVELOPE"
    FLAGS = "FLAGS"
    INTERNALDATE = "INTERNALDATE"
    MODSEQ = "MODSEQ"
    PREVIEW = "PREVIEW"
    SAVEDATE = "SAVEDATE"
    SIZE = "RFC822.SIZE"
    THREADID = "THREADID"
    UID = "UID"


@dataclass(frozen=True, slots=True)
class Section:
    """A section of a message (RFC 9051 §6.4.5.1)."""

    part: tuple[int, ...] = ()
    """The part's number; empty for the whole message."""
    text: str = ""
    """HEADER, HEADER.FIELDS, HEADER.FIELDS.NOT, TEXT, MIME; empty for all of the part."""
    fields: tuple[bytes, ...] = ()
    """Field names as the client wrote them."""


@dataclass(frozen=True, slots=True)
class BodyItem:
    """BODY[section]<partial>, and the older names for some of these."""

    section: Section
    peek: bool = False
    """Whether it leaves ``\\Seen`` as it is."""
    start: int | None = None
    """First byte of a partial; None for the whole section."""
    count: int = 0
    """Most bytes of a partial."""
    label: str = ""
    """RFC822, RFC822.HEADER or RFC822.TEXT, where the client used these names."""


@dataclass(frozen=True, slots=True)
class BinaryItem:
    """BINARY[part]<partial> (RFC 9051 §6.4.5, RFC 3516)."""

    part: tuple[int, ...]
    peek: bool = False
    start: int | None = None
    count: int = 0


@dataclass(frozen=True, slots=True)
class BinarySizeItem:
    """BINARY.SIZE[part]."""

    part: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class LazyPreview:
    """PREVIEW (LAZY): only where the preview is at hand (RFC 8970 §3.1)."""


type FetchItem = Attribute | BodyItem | BinaryItem | BinarySizeItem | LazyPreview
"""One item of FETCH."""

FAST = (Attribute.FLAGS, Attribute.INTERNALDATE, Attribute.SIZE)
"""The macro FAST."""
ALL = (*FAST, Attribute.ENVELOPE)
"""The macro ALL."""
FULL = (*ALL, Attribute.BODY)
"""The macro FULL."""


def sets_seen(items: tuple[FetchItem, ...]) -> bool:
    """Return whether these items set ``\\Seen`` in a mailbox selected for writing."""
    return any(isinstance(item, BodyItem | BinaryItem) and not item.peek for item in items)
