"""The content of messages for FETCH: what is kept of them, and what must be read from their bodies.

Rules:

- A small body is read whole, through the cache of the process; of a large one only ranges.
- What had to be made of a body (header, envelope, structure) is kept for the next time.
- A body that cannot be read is Unavailable, never empty. One that was moved meanwhile is located
  again once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, datetime
from itertools import islice
from uuid import UUID

import structlog

from posthorn.model.blob_range import BodyLocation
from posthorn.ports.blobs import BlobMissing
from posthorn.ports.bodies import BodyReader
from posthorn.ports.errors import Unavailable
from posthorn.ports.mailbox_view import Content, EntryRow, Kept, MailboxView
from posthorn.runtime import traces
from posthorn.wire.imap.structure import envelope_of, format_structure
from posthorn.wire.message.header import header_end
from posthorn.wire.message.mime_encoding import decode_part, decode_shown, encode_part
from posthorn.wire.message.mime_offsets import OffsetScanner, Part, scan_offsets
from posthorn_imap.fetch_plan import Plan

log = structlog.get_logger()

HEADER_BYTES = 256 * 1024
"""Bytes of the longest header that is kept."""
PIECE_BYTES = 256 * 1024
"""Bytes of a large body that are read and sent at once."""
_AHEAD = 64
"""Small bodies whose reading is begun ahead."""


class ContentRow:
    """What is known of a message whose content alone is looked at: only its UID, until it is
    located. Made thousands of times a second."""

    __slots__ = ("message", "size", "uid")

    message: UUID
    size: int
    """Bytes of BODY[]."""
    flags = 0
    keywords: tuple[str, ...] = ()
    internal_date = datetime.fromtimestamp(0, UTC)
    modseq = 0
    saved_at: datetime | None = None

    def __init__(self, uid: int) -> None:
        self.uid = uid


type Row = EntryRow | ContentRow


class Message:
    """One message with its content, as far as the plan needs it."""

    __slots__ = ("_header", "body", "content", "envelope", "number", "part", "row", "structure")

    content: Content
    """Set by the loader where the plan needs content."""

    def __init__(self, number: int, row: Row) -> None:
        self.number = number
        self.row = row
        self.body: bytes | None = None
        """The whole body; None for a large one, or where it is not needed."""
        self._header: bytes | None = None
        self.envelope = b""
        self.structure = b""
        """BODYSTRUCTURE."""
        self.part: Part | None = None

    @property
    def header(self) -> bytes:
        """The header block with its empty line."""
        if self._header is None:
            body = self.body
            assert body is not None
            end = header_end(body)
            self._header = body if end < 0 else body[:end]
        return self._header

    @header.setter
    def header(self, header: bytes) -> None:
        self._header = header

    @property
    def has_header(self) -> bool:
        """Whether the header is at hand without a look at the body."""
        return self._header is not None


class Loader:
    """Loads the content of the messages of one mailbox for one command."""

    def __init__(
        self, view: MailboxView, bodies: BodyReader, account: int, mailbox: int, plan: Plan
    ) -> None:
        self._view = view
        self._bodies = bodies
        self._account = account
        self._mailbox = mailbox
        self._plan = plan
        self._made: list[Kept] = []

    async def locate(self, messages: Sequence[Message]) -> list[Message]:
        """Load what is kept of the messages, at most 500; return those that are still there, and
        begin to read the bodies that are needed. Raises Unavailable."""
        plan = self._plan
        found = await self._view.contents(
            self._account,
            self._mailbox,
            [message.row.uid for message in messages],
            header=plan.header,
            forms=plan.envelope or plan.structure or plan.parts,
        )
        there = []
        for message in messages:
            content = found.get(message.row.uid)
            if content is None:
                continue
            self.place(message, content)
            if content.header is not None:
                message.header = content.header
            message.envelope = content.envelope or b""
            if content.structure is not None:
                self._take_structure(message, content.structure)
            there.append(message)
        await self._headers_of(there)
        self.prefetch(there)
        return there

    def place(self, message: Message, content: Content) -> None:
        """Note where the content of a message is."""
        message.content = content
        if isinstance(message.row, ContentRow):
            message.row.message = content.location.message
            message.row.size = content.location.size

    def is_small(self, message: Message) -> bool:
        """Return whether the body is read whole."""
        return self._bodies.whole(message.content.location)

    def _take_structure(self, message: Message, form: bytes) -> None:
        try:
            if self._plan.structure:
                message.structure = decode_shown(form) or b""
            if self._plan.parts:
                message.part = decode_part(form)
        except ValueError as error:
            log.warning(
                "a kept structure is not valid",
                message=str(message.row.message),
                detail=str(error),
            )

    def _needs_scan(self, message: Message) -> bool:
        plan = self._plan
        return message.part is None and (plan.parts or (plan.structure and not message.structure))

    async def _headers_of(self, messages: Iterable[Message]) -> None:
        """Load the header blocks of which an envelope must be made."""
        if not self._plan.envelope or self._plan.header:
            return
        without = {message.row.uid: message for message in messages if not message.envelope}
        if not without:
            return
        found = await self._view.contents(
            self._account, self._mailbox, list(without), header=True, forms=False
        )
        for uid, content in found.items():
            if content.header is not None:
                without[uid].header = content.header

    def needs_body(self, message: Message) -> bool:
        """Return whether the body of a message must be read."""
        plan = self._plan
        return (
            plan.body
            or (plan.header and not message.has_header)
            or (plan.envelope and not message.envelope and not message.has_header)
            or self._needs_scan(message)
        )

    def prefetch(self, messages: Sequence[Message]) -> None:
        """Begin to read small bodies."""
        wanted = (message.content.location for message in messages if self.needs_body(message))
        self._bodies.prefetch(list(islice(wanted, _AHEAD)))

    async def load(self, message: Message) -> None:
        """Read what is needed of a message's body. Raises Unavailable, BlobMissing."""
        if self.needs_body(message):
            await traces.timed(
                traces.if_sampled(message.row.message),
                traces.READ,
                self._read(message),
                lambda _: {traces.ROLE: "imap", traces.SIZE: message.row.size},
            )
        elif self._plan.lazy:
            message.body = self._bodies.cached(message.content.location)
        self._make(message)

    async def relocate(self, message: Message) -> bool:
        """Locate the body again, since it may have been moved; return whether the message is still
        there. Raises BlobMissing if the body is not where it was, and was not moved; Unavailable,
        MailboxGone."""
        found = await self._view.contents(
            self._account, self._mailbox, [message.row.uid], header=False, forms=False
        )
        content = found.get(message.row.uid)
        if content is None:
            return False
        if content.location == message.content.location:
            raise BlobMissing("blobs", message.content.location.key)
        message.content = content
        return True

    async def _read(self, message: Message) -> None:
        location = message.content.location
        if self._bodies.whole(location):
            message.body = await self._bodies.read(location)
            return
        plan = self._plan
        if not message.has_header and (plan.header or plan.text or plan.envelope):
            message.header = await self._large_header(location)
        if self._needs_scan(message):
            scanner = OffsetScanner()
            async for piece in self.pieces(location, 0, location.size):
                scanner.feed(piece)
                await asyncio.sleep(0)
            message.part = scanner.finish()

    async def _large_header(self, location: BodyLocation) -> bytes:
        found = b""
        while True:
            piece = await self._bodies.range(location, len(found), len(found) + PIECE_BYTES)
            found += piece
            end = header_end(found)
            if end >= 0:
                return found[:end]
            if not piece or len(found) >= location.size:
                return found
            await asyncio.sleep(0)

    def _make(self, message: Message) -> None:
        """Make what the plan needs and is not kept, and note it to be kept."""
        plan = self._plan
        content = message.content
        header = envelope = structure = None
        if self._needs_scan(message):
            assert message.body is not None
            message.part = scan_offsets(message.body)
        if message.part is not None and not message.structure:
            if plan.structure or content.structure is None:
                message.structure = format_structure(message.part)
            if content.structure is None:
                structure = encode_part(message.part, message.structure)
        if plan.envelope and not message.envelope:
            message.envelope = envelope = envelope_of(message.header)
        if plan.header and content.header is None and len(message.header) <= HEADER_BYTES:
            header = message.header
        if header or envelope or structure:
            self._made.append(Kept(message.row.message, header, envelope, structure))

    async def keep(self) -> None:
        """Keep what was made; a fault costs only time the next time."""
        made, self._made = self._made, []
        if made:
            try:
                await self._view.keep(made)
            except Unavailable as error:
                log.warning("forms of messages not kept", fault=error)

    async def range(self, location: BodyLocation, start: int, end: int) -> bytes:
        """Return a range of a large body. Raises Unavailable."""
        return await self._bodies.range(location, start, end)

    async def pieces(self, location: BodyLocation, start: int, end: int) -> AsyncIterator[bytes]:
        """Yield a range of a large body in pieces. Raises Unavailable."""
        for at in range(start, end, PIECE_BYTES):
            yield await self._bodies.range(location, at, min(at + PIECE_BYTES, end))
