"""The items of FETCH about one message, in the order asked for (RFC 9051 §7.5.2).

An item is bytes, or, of a large body, a ``Literal`` whose content is sent in pieces. Whatever is
needed of a small body is in memory already (``message_content``).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from posthorn.model.stored_header import LONGEST_HEADER_BYTES
from posthorn.wire.imap import fetch_replies
from posthorn.wire.imap.fetch_items import (
    Attribute,
    BinaryItem,
    BinarySizeItem,
    BodyItem,
    FetchItem,
    LazyPreview,
    Section,
)
from posthorn.wire.imap.sections import (
    ByteRange,
    find_part,
    find_section,
    select_fields,
    take_partial,
)
from posthorn.wire.imap.structure import format_structure
from posthorn.wire.message.mime_offsets import Part, scan_offsets
from posthorn.wire.message.preview import READ_BYTES, preview_part, preview_text
from posthorn.wire.message.transfer_decoding import transfer_decoder
from posthorn_imap.answering import No
from posthorn_imap.flags import flags_form
from posthorn_imap.message_content import Loader, Message, Row

_ENCODINGS = frozenset({"7bit", "8bit", "binary", "base64", "quoted-printable"})


class UnknownEncoding(No):
    """A part has an encoding that cannot be decoded (RFC 3516 §4.3)."""

    def __init__(self) -> None:
        super().__init__("the encoding of a part is not known", b"UNKNOWN-CTE")


@dataclass(frozen=True, slots=True)
class Literal:
    """An item that is sent in pieces."""

    head: bytes
    """Name of the item and the announcement of the literal."""
    pieces: Callable[[], AsyncIterator[bytes]]
    """Content, exactly as many bytes as announced. Raises Unavailable."""


def metadata_item(item: FetchItem, row: Row) -> bytes:
    """Return an item that needs no content."""
    match item:
        case Attribute.UID:
            return b"UID %d" % row.uid
        case Attribute.FLAGS:
            return flags_form(row.flags, row.keywords)
        case Attribute.SIZE:
            return b"RFC822.SIZE %d" % row.size
        case Attribute.INTERNALDATE:
            return fetch_replies.internal_date(row.internal_date)
        case Attribute.MODSEQ:
            return fetch_replies.modseq(row.modseq)
        case Attribute.EMAILID:
            return fetch_replies.object_id("EMAILID", str(row.message))
        case Attribute.THREADID:
            return fetch_replies.object_id("THREADID", None)
        case Attribute.SAVEDATE:
            return fetch_replies.save_date(row.saved_at)
        case _:
            raise AssertionError(item)


async def item_of(
    item: FetchItem, message: Message, loader: Loader, *, utf8: bool
) -> bytes | Literal:
    """Return an item of a message that is loaded. Raises Unavailable, UnknownEncoding."""
    match item:
        case BodyItem():
            return await _body(item, message, loader)
        case Attribute.ENVELOPE:
            return fetch_replies.envelope(message.envelope)
        case Attribute.BODYSTRUCTURE:
            return fetch_replies.structure(message.structure, extended=True)
        case Attribute.BODY:
            assert message.part is not None
            form = format_structure(message.part, extended=False, utf8=utf8)
            return fetch_replies.structure(form, extended=False)
        case BinaryItem():
            return await _binary(item, message, loader)
        case BinarySizeItem(()):
            return fetch_replies.binary_size((), message.row.size)
        case BinarySizeItem(number):
            decoded = await _decoded(number, message, loader)
            return fetch_replies.binary_size(number, 0 if decoded is None else decoded.size)
        case Attribute.PREVIEW:
            assert message.part is not None
            words = await _preview(message, message.part, loader)
            return fetch_replies.preview(words, utf8=utf8)
        case LazyPreview():
            if message.body is None:
                return fetch_replies.preview(None, utf8=utf8)
            part = message.part or scan_offsets(message.body)
            return fetch_replies.preview(await _preview(message, part, loader), utf8=utf8)
        case _:
            return metadata_item(item, message.row)


def _range_of(section: Section, message: Message) -> ByteRange | None:
    if section.part:
        assert message.part is not None
        return find_section(message.part, section)
    size = message.row.size
    if not section.text:
        return 0, size
    end = message.header_end
    return (end, size) if section.text == "TEXT" else (0, end)


async def _body(item: BodyItem, message: Message, loader: Loader) -> bytes | Literal:
    section = item.section
    if section.text.startswith("HEADER") and not section.part:
        octets = _selected(message.header, section) if section.fields else message.header
        if section.fields or message.header_end == len(octets):
            return fetch_replies.body(item, _partial(octets, item.start, item.count))
    found = _range_of(section, message)
    if found is None:
        return fetch_replies.body(item, None)
    if section.fields:  # of an enclosed message
        first, end = found
        header = await _octets((first, min(end, first + LONGEST_HEADER_BYTES)), message, loader)
        octets = _selected(header, section)
        return fetch_replies.body(item, _partial(octets, item.start, item.count))
    start, end = take_partial(found, item.start, item.count)
    if message.body is not None:
        return fetch_replies.body(item, message.body[start:end])
    location = message.content.location
    await loader.range(location, start, min(start + 1, end))  # it can be read
    return Literal(
        fetch_replies.body_start(item, end - start),
        lambda: loader.pieces(location, start, end),
    )


def _selected(header: bytes, section: Section) -> bytes:
    is_others = section.text == "HEADER.FIELDS.NOT"
    return select_fields(header, section.fields, others=is_others)


def _partial(octets: bytes, start: int | None, count: int) -> bytes:
    return octets if start is None else octets[start : start + count]


async def _octets(found: ByteRange, message: Message, loader: Loader) -> bytes:
    start, end = found
    if message.body is not None:
        return message.body[start:end]
    location = message.content.location
    return b"".join([piece async for piece in loader.pieces(location, start, end)])


# decoded parts


@dataclass(frozen=True, slots=True)
class _Decoded:
    size: int
    has_nul: bool
    octets: bytes | None
    """None for a part of a large message."""
    found: ByteRange
    encoding: str


async def _decoded(number: tuple[int, ...], message: Message, loader: Loader) -> _Decoded | None:
    """Return what a part decodes to; None where there is no such part. Raises UnknownEncoding."""
    if not number:
        found, encoding = (0, message.row.size), "binary"
    else:
        assert message.part is not None
        part = find_part(message.part, number)
        if part is None:
            return None
        found, encoding = (part.body, part.end), _encoding_of(part)
    if message.body is not None:
        decoder = transfer_decoder(encoding)
        octets = decoder.feed(message.body[found[0] : found[1]]) + decoder.finish()
        return _Decoded(len(octets), b"\0" in octets, octets, found, encoding)
    size, has_nul = 0, False
    async for piece in _decoding(found, encoding, message, loader):
        size += len(piece)
        has_nul = has_nul or b"\0" in piece
    return _Decoded(size, has_nul, None, found, encoding)


def _encoding_of(part: Part) -> str:
    if part.is_multipart or part.is_message:
        return "binary"  # RFC 2045 §6.4
    encoding = part.fields.encoding.decode("latin-1").lower()
    if encoding not in _ENCODINGS:
        raise UnknownEncoding
    return encoding


async def _decoding(
    found: ByteRange, encoding: str, message: Message, loader: Loader
) -> AsyncIterator[bytes]:
    decoder = transfer_decoder(encoding)
    async for piece in loader.pieces(message.content.location, *found):
        yield decoder.feed(piece)
        await asyncio.sleep(0)
    yield decoder.finish()


async def _binary(item: BinaryItem, message: Message, loader: Loader) -> bytes | Literal:
    decoded = await _decoded(item.part, message, loader)
    if decoded is None:
        return fetch_replies.binary_item(item, None)
    start, end = take_partial((0, decoded.size), item.start, item.count)
    if decoded.octets is not None:
        return fetch_replies.binary_item(item, decoded.octets[start:end])

    async def pieces() -> AsyncIterator[bytes]:
        at = 0
        async for piece in _decoding(decoded.found, decoded.encoding, message, loader):
            if shown := piece[max(start - at, 0) : max(end - at, 0)]:
                yield shown
            at += len(piece)
            if at >= end:
                return

    return Literal(fetch_replies.binary_start(item, end - start, has_nul=decoded.has_nul), pieces)


async def _preview(message: Message, root: Part, loader: Loader) -> str:
    part = preview_part(root)
    if part is None:
        return ""
    found = part.body, min(part.end, part.body + READ_BYTES)
    return preview_text(part, await _octets(found, message, loader))
