"""Arguments of FETCH and STORE (RFC 9051 §6.4.5, §6.4.6, RFC 7162, RFC 3516, RFC 8970, RFC 9394)."""

from __future__ import annotations

import re

from posthorn.wire.imap.commands import Fetch, Partial, Store
from posthorn.wire.imap.fetch_items import (
    ALL,
    FAST,
    FULL,
    Attribute,
    BinaryItem,
    BinarySizeItem,
    BodyItem,
    FetchItem,
    LazyPreview,
    Section,
)
from posthorn.wire.imap.reader import LARGEST_MODSEQ, BadCommand, Reader

_ITEM = re.compile(rb"[A-Za-z0-9.]+")
_PART = re.compile(rb"[1-9][0-9]{0,9}(?:\.[1-9][0-9]{0,9})*(?![0-9])")
_DEEPEST = 100
_MACROS = {"ALL": ALL, "FAST": FAST, "FULL": FULL}
_WHOLE = {
    "RFC822": BodyItem(Section(), label="RFC822"),
    "RFC822.HEADER": BodyItem(Section(text="HEADER"), peek=True, label="RFC822.HEADER"),
    "RFC822.TEXT": BodyItem(Section(text="TEXT"), label="RFC822.TEXT"),
}
_SECTION_TEXTS = frozenset({"HEADER", "HEADER.FIELDS", "HEADER.FIELDS.NOT", "TEXT", "MIME"})
_ATTRIBUTES = {attribute.value: attribute for attribute in Attribute}


def parse_fetch(reader: Reader, *, by_uid: bool) -> Fetch:
    """Parse the arguments of FETCH. Raises BadCommand."""
    reader.space()
    messages = reader.sequence_set()
    reader.space()
    items: tuple[FetchItem, ...]
    if reader.peek() == b"(":
        items = tuple(dict.fromkeys(reader.items(lambda: fetch_item(reader))))
    else:
        start = reader.at
        macro = _MACROS.get(reader.word(_ITEM))
        if macro is None:
            reader.at = start
        items = macro or (fetch_item(reader),)
    changed_since, vanished, partial = None, False, None
    if reader.take(b" ("):
        changed_since, vanished, partial = _modifiers(reader)
    reader.end()
    if vanished and (changed_since is None or not by_uid or "QRESYNC" not in reader.enabled):
        # RFC 7162 §3.2.6
        raise BadCommand("VANISHED belongs to UID FETCH with CHANGEDSINCE, after ENABLE QRESYNC")
    return Fetch(messages, items, changed_since, vanished, partial, by_uid)


def parse_store(reader: Reader, *, by_uid: bool) -> Store:
    """Parse the arguments of STORE. Raises BadCommand."""
    reader.space()
    messages = reader.sequence_set()
    reader.space()
    unchanged_since = None
    if reader.take(b"("):
        if reader.word() != "UNCHANGEDSINCE":
            raise BadCommand("unknown modifier of STORE")
        reader.space()
        unchanged_since = reader.number(LARGEST_MODSEQ)
        reader.expect(b")")
        reader.space()
    action = reader.peek().decode("latin-1")
    if action in ("+", "-"):
        reader.at += 1
    else:
        action = ""
    name = reader.word(_ITEM)
    if name not in ("FLAGS", "FLAGS.SILENT"):
        raise BadCommand("STORE changes FLAGS alone")
    reader.space()
    if reader.peek() == b"(":
        flags = reader.flags()
    else:
        listed = [reader.flag()]
        while reader.take(b" ") and not reader.is_at_end():
            listed.append(reader.flag())
        flags = tuple(dict.fromkeys(listed))
    reader.end()
    return Store(messages, action, flags, name == "FLAGS.SILENT", unchanged_since, by_uid)


def parse_partial(reader: Reader) -> Partial:
    """Parse the argument of PARTIAL, ``1:100`` or ``-1:-100`` (RFC 9394 §3.1). Raises
    BadCommand."""
    reader.space()
    is_from_end = reader.take(b"-")
    first = reader.number(least=1)
    reader.expect(b":")
    if is_from_end:
        reader.expect(b"-")
    last = reader.number(least=1)
    first, last = min(first, last), max(first, last)
    return Partial(-first, -last) if is_from_end else Partial(first, last)


def _modifiers(reader: Reader) -> tuple[int | None, bool, Partial | None]:
    changed_since, vanished, partial = None, False, None
    while True:
        match reader.word():
            case "CHANGEDSINCE":
                reader.space()
                changed_since = reader.number(LARGEST_MODSEQ)
            case "VANISHED":
                vanished = True
            case "PARTIAL":
                partial = parse_partial(reader)
            case _:
                raise BadCommand("unknown modifier of FETCH")
        if reader.take(b")"):
            return changed_since, vanished, partial
        reader.space()


def fetch_item(reader: Reader) -> FetchItem:
    """Take an item of FETCH. Raises BadCommand."""
    name = reader.word(_ITEM)
    if reader.peek() == b"[":
        match name:
            case "BODY" | "BODY.PEEK":
                section = _section(reader)
                start, count = _bytes(reader)
                return BodyItem(section, name == "BODY.PEEK", start, count)
            case "BINARY" | "BINARY.PEEK":
                part = _binary_part(reader)
                start, count = _bytes(reader)
                return BinaryItem(part, name == "BINARY.PEEK", start, count)
            case "BINARY.SIZE":
                return BinarySizeItem(_binary_part(reader))
            case _:
                raise BadCommand("unknown item of FETCH")
    if (whole := _WHOLE.get(name)) is not None:
        return whole
    if (attribute := _ATTRIBUTES.get(name)) is None:
        raise BadCommand("unknown item of FETCH")
    if attribute is Attribute.PREVIEW and reader.take(b" ("):
        if reader.word() != "LAZY":
            raise BadCommand("unknown modifier of PREVIEW")
        reader.expect(b")")
        return LazyPreview()
    return attribute


def _part(reader: Reader) -> tuple[int, ...]:
    found = _PART.match(reader.text, reader.at)
    if found is None:
        return ()
    reader.at = found.end()
    part = tuple(int(number) for number in found[0].split(b"."))
    if len(part) > _DEEPEST:
        raise BadCommand("the part is nested too deeply")
    return part


def _binary_part(reader: Reader) -> tuple[int, ...]:
    reader.expect(b"[")
    part = _part(reader)
    reader.expect(b"]")
    return part


def _section(reader: Reader) -> Section:
    reader.expect(b"[")
    part = _part(reader)
    if reader.take(b"]"):
        return Section(part)
    if part:
        reader.expect(b".")
    text = reader.word(_ITEM)
    if text not in _SECTION_TEXTS or (text == "MIME" and not part):
        raise BadCommand("unknown section")
    fields: tuple[bytes, ...] = ()
    if text.startswith("HEADER.FIELDS"):
        reader.space()
        fields = tuple(reader.items(reader.astring))
    reader.expect(b"]")
    return Section(part, text, fields)


def _bytes(reader: Reader) -> tuple[int | None, int]:
    if not reader.take(b"<"):
        return None, 0
    start = reader.number(LARGEST_MODSEQ)
    reader.expect(b".")
    count = reader.number(LARGEST_MODSEQ, least=1)
    reader.expect(b">")
    return start, count
