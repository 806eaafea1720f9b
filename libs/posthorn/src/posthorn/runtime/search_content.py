"""The headers and bodies that a search reads, by IMAP or by the REST API.

Rules:

- A header that is kept beside the message is used as it is; one that is not is read from the body,
  and kept for the next time. Of a header, that of a part too, the first ``LONGEST_HEADER_BYTES`` are
  looked at.
- Small bodies are looked at whole. Of large ones only headers of parts and parts with text are
  read, in pieces of ``PIECE_BYTES``; so much is held in memory for each search.
- What takes longer is done in another thread.
- A body that cannot be read is Unavailable: a search never passes over a message. One that was moved
  meanwhile is located again once; one that is gone is not found.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import structlog

from posthorn.model.blob_range import BodyLocation
from posthorn.model.stored_header import LONGEST_HEADER_BYTES
from posthorn.ports.blobs import BlobMissing
from posthorn.ports.bodies import BodyReader
from posthorn.ports.mailbox_view import Content, Kept, MailboxView
from posthorn.runtime.form_keeper import FormKeeper
from posthorn.wire.message.header import header_end
from posthorn.wire.message.mime_offsets import OffsetScanner, Part
from posthorn.wire.message.searchable import (
    Found,
    decoded_text,
    find_in,
    header_text,
    inner_headers,
    is_opaque,
    text_parts,
)
from posthorn.wire.message.transfer_decoding import transfer_decoder

log = structlog.get_logger()

PIECE_BYTES = 256 * 1024
"""Bytes of a large body that are read at once."""
CONTENTS = 500
"""Most messages whose content is located at once."""
_workers = ThreadPoolExecutor(2, "large content")
"""A few of their own: they hold up nothing else that is done in threads."""
_OFF_LOOP_BYTES = 32 * 1024

type Reading[T] = Callable[[BodyLocation], Awaitable[T]]


class SearchContent:
    """Reads the messages of one mailbox for one search."""

    def __init__(self, view: MailboxView, bodies: BodyReader, account: int, mailbox: int) -> None:
        self._view = view
        self._bodies = bodies
        self._account = account
        self._mailbox = mailbox
        self._keeper = FormKeeper(view)

    async def locate(self, uids: Sequence[int]) -> Mapping[int, Content]:
        """Return the content of messages, at most ``CONTENTS``, with their headers where these are
        kept; those that are gone are missing. Raises Unavailable, MailboxGone."""
        return await self._view.contents(
            self._account, self._mailbox, uids, header=True, forms=False
        )

    def prefetch(self, contents: Sequence[Content]) -> None:
        """Begin to read small bodies."""
        self._bodies.prefetch([content.location for content in contents])

    async def header(self, uid: int, content: Content) -> bytes | None:
        """Return the header of a message, of a long one the beginning; None when the message is
        gone. Raises Unavailable."""
        if (kept := content.header) is not None:
            return kept
        found = await self._read(uid, content.location, self._header_of)
        if found is None:
            return None
        header, is_whole = found
        if is_whole:
            self._keeper.note(Kept(content.location.message, header))
            await self._keeper.keep_if_much()
        return header

    async def find(
        self, uid: int, content: Content, body: frozenset[str], text: frozenset[str]
    ) -> Found | None:
        """Return which of the folded texts a message contains; None when it is gone. Raises
        Unavailable."""

        async def look(location: BodyLocation) -> Found:
            if not self._bodies.whole(location):
                return await self._find_in_large(location, body, text)
            message = await self._bodies.read(location)
            return await off_loop(len(message), find_in, message, body, text)

        return await self._read(uid, content.location, look)

    async def keep(self) -> None:
        """Keep the headers that were read; a fault costs only time the next time."""
        await self._keeper.keep()

    async def _read[T](self, uid: int, location: BodyLocation, how: Reading[T]) -> T | None:
        try:
            return await how(location)
        except BlobMissing:
            found = await self._view.contents(
                self._account, self._mailbox, [uid], header=False, forms=False
            )
            if (content := found.get(uid)) is None:
                return None
            if content.location == location:
                raise
            return await how(content.location)

    async def _header_of(self, location: BodyLocation) -> tuple[bytes, bool]:
        """Return a header, and whether this is all of it."""
        if self._bodies.whole(location):
            found = (await self._bodies.read(location))[:LONGEST_HEADER_BYTES]
        else:
            found = await self._bodies.range(location, 0, min(location.size, LONGEST_HEADER_BYTES))
        end = header_end(found)
        return (found, len(found) == location.size) if end < 0 else (found[:end], True)

    # large bodies

    async def _find_in_large(
        self, location: BodyLocation, body: frozenset[str], text: frozenset[str]
    ) -> Found:
        scanner = OffsetScanner()
        async for piece in self._pieces(location, 0, location.size):
            scanner.feed(piece)
            await asyncio.sleep(0)
        root = scanner.finish()
        wanted = body | text
        in_body: set[str] = set()
        for part in text_parts(root):
            if len(in_body) == len(wanted):
                break
            await self._find_in_part(location, part, wanted, in_body)
        in_text = set(in_body)
        for start, end in inner_headers(root):
            left = text - in_text
            if not left:
                break
            end = min(end, start + LONGEST_HEADER_BYTES)
            header = b"".join([piece async for piece in self._pieces(location, start, end)])
            shown = await asyncio.to_thread(header_text, header)
            in_text.update(each for each in left if each in shown)
        return Found(body & in_body, text & in_text)

    async def _find_in_part(
        self, location: BodyLocation, part: Part, wanted: frozenset[str], found: set[str]
    ) -> None:
        """Add those of the texts that a part contains. A text that is divided by two pieces is
        found, since each piece is looked at with the end of the one before."""
        decoder = transfer_decoder(part.fields.encoding.decode("latin-1").lower())
        overlap = max(map(len, wanted)) - 1
        before, data = "", b""
        async for piece in self._pieces(location, part.body, part.end):
            data += decoder.feed(piece)
            cut = _cut(part, data)
            shown = await asyncio.to_thread(decoded_text, part.fields, data[:cut])
            data = data[cut:]
            shown = before + shown
            found.update(each for each in wanted if each in shown)
            before = shown[-overlap:] if overlap else ""
        shown = before + await asyncio.to_thread(decoded_text, part.fields, data + decoder.finish())
        found.update(each for each in wanted if each in shown)

    async def _pieces(self, location: BodyLocation, start: int, end: int) -> AsyncIterator[bytes]:
        for at in range(start, end, PIECE_BYTES):
            yield await self._bodies.range(location, at, min(at + PIECE_BYTES, end))


async def off_loop[**P, R](size: int, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Return the result of work on so many bytes, which is done in another thread where it takes
    long."""
    if size > _OFF_LOOP_BYTES:
        call = partial(work, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(_workers, call)
    return work(*args, **kwargs)


def _cut(part: Part, data: bytes) -> int:
    """Return where a text can be divided without dividing a character or a tag."""
    if is_opaque(part.fields.parameter(b"charset").decode("latin-1")) and b"\0" in data:
        return len(data) & ~3
    mark = b">" if part.fields.subtype.lower() == b"html" else b"\n"
    return data.rfind(mark) + 1 or data.rfind(b" ") + 1 or len(data)
