"""What the items of a FETCH need to be read, decided once for the command."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from posthorn.wire.imap.fetch_items import (
    Attribute,
    BinaryItem,
    BinarySizeItem,
    BodyItem,
    FetchItem,
    LazyPreview,
    sets_seen,
)

_FLAG_ITEMS = frozenset({Attribute.FLAGS, Attribute.UID, Attribute.MODSEQ})
_CONTENT_ITEMS = frozenset({
    Attribute.UID, Attribute.SIZE, Attribute.EMAILID, Attribute.THREADID, Attribute.ENVELOPE,
    Attribute.BODY, Attribute.BODYSTRUCTURE, Attribute.PREVIEW,
})  # fmt: skip
_HEADER_TEXTS = frozenset({"HEADER", "HEADER.FIELDS", "HEADER.FIELDS.NOT"})


@dataclass(frozen=True, slots=True)
class Plan:
    """Items in the order of the reply, and what of the messages they need."""

    items: tuple[FetchItem, ...]
    flags_alone: bool
    """Whether UID, flags and modseq are enough."""
    content: bool
    """Whether anything but metadata is needed."""
    header: bool
    """The header block of the message."""
    envelope: bool
    structure: bool
    """BODYSTRUCTURE."""
    parts: bool
    """The offsets of the parts."""
    body: bool
    """Bytes of the body in any case."""
    text: bool
    """Where the header ends: for BODY[TEXT]."""
    rows: bool
    """Metadata of messages that is not known with their content."""
    sets_seen: bool
    lazy: bool
    """Whether previews are sent only where the body is at hand."""

    @property
    def body_alone(self) -> bool:
        """Whether of the content only the body is needed."""
        return self.body and not (self.header or self.envelope or self.structure or self.parts)


@lru_cache(maxsize=64)  # clients send the same items again and again
def plan(items: tuple[FetchItem, ...], *, by_uid: bool, modseq: bool) -> Plan:
    """Return the plan; ``modseq``: MODSEQ is sent though it is not among the items."""
    wanted = list(dict.fromkeys(items))
    if by_uid:
        wanted = [Attribute.UID, *(item for item in wanted if item is not Attribute.UID)]
    if modseq and Attribute.MODSEQ not in wanted:
        wanted.append(Attribute.MODSEQ)
    shown = tuple(wanted)
    header = any(_is_header(item) for item in shown)
    envelope = Attribute.ENVELOPE in shown
    structure = Attribute.BODYSTRUCTURE in shown
    parts = any(_needs_parts(item) for item in shown)
    body = any(_needs_body(item) for item in shown)
    text = any(
        isinstance(item, BodyItem) and not item.section.part and item.section.text == "TEXT"
        for item in shown
    )
    lazy = any(isinstance(item, LazyPreview) for item in shown)
    return Plan(
        shown,
        flags_alone=all(item in _FLAG_ITEMS for item in shown),
        content=header or envelope or structure or parts or body or lazy,
        header=header,
        envelope=envelope,
        structure=structure,
        parts=parts,
        body=body,
        text=text,
        rows=not all(_is_of_content(item) for item in shown) or sets_seen(items),
        sets_seen=sets_seen(items),
        lazy=lazy,
    )


def _is_of_content(item: FetchItem) -> bool:
    return not isinstance(item, Attribute) or item in _CONTENT_ITEMS


def _is_header(item: FetchItem) -> bool:
    return (
        isinstance(item, BodyItem) and not item.section.part and item.section.text in _HEADER_TEXTS
    )


def _needs_parts(item: FetchItem) -> bool:
    match item:
        case Attribute.BODY | Attribute.PREVIEW:
            return True
        case BodyItem(section):
            return bool(section.part)
        case BinaryItem(part) | BinarySizeItem(part):
            return bool(part)
        case _:
            return False


def _needs_body(item: FetchItem) -> bool:
    match item:
        case BodyItem():
            return not _is_header(item)
        case BinaryItem():
            return True
        case BinarySizeItem(part):
            return bool(part)
        case _:
            return item is Attribute.PREVIEW
