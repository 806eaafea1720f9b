"""The content of messages for FETCH: what is kept of them, and what must be read from their bodies.

Rules:

- A small body is read whole, through the cache of the process; of a large one only ranges.
- What had to be made of a body (header, envelope, structure) is kept for the next time.
- What is kept is unpacked for one message after the other, and what takes long is made in another
  thread. Of a header the first ``LONGEST_HEADER_BYTES`` are held, whatever its length.
- A body that cannot be read is Unavailable, never empty. One that was moved meanwhile is located
  again once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from uuid import UUID

import structlog

from posthorn.model.blob_range import BodyLocation
from posthorn.model.stored_header import LONGEST_HEADER_BYTES
from posthorn.ports.blobs import BlobMissing
from posthorn.ports.bodies import BodyReader
from posthorn.ports.mailbox_view import Content, EntryRow, Kept, MailboxView
from posthorn.runtime import traces
from posthorn.runtime.form_keeper import FormKeeper
from posthorn.runtime.search_content import off_loop
from posthorn.wire.imap.structure import envelope_of, format_structure
from posthorn.wire.message.header import header_end
from posthorn.wire.message.mime_encoding import decode_part, decode_shown, encode_part
from posthorn.wire.message.mime_offsets import OffsetScanner, Part, scan_offsets
from posthorn_imap.fetch_plan import Plan

log = structlog.get_logger()

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

    __slots__ = (
        "_header", "_header_end", "body", "content", "envelope", "number", "part", "row", "structure",
    )  # fmt: skip

    content: Content
    """Set by the loader where the plan needs content."""

    def __init__(self, number: int, row: Row) -> None:
        self.number = number
        self.row = row
        self.forget()

    def forget(self) -> None:
        """Forget what was loaded: the items are made."""
        self.body: bytes | None = None
        """The whole body; None for a large one, or where it is not needed."""
        self._header: bytes | None = None
        self._header_end = 0
        self.envelope = b""
        self.structure = b""
        """BODYSTRUCTURE."""
        self.part: Part | None = None

    @property
    def header(self) -> bytes:
        """The header block with its empty line; of a long one the first ``LONGEST_HEADER_BYTES``."""
        if self._header is None:
            body = self.body
            assert body is not None
            end = header_end(body)
            self.take_header(body if end < 0 else body[:end])
        assert self._header is not None
        return self._header

    @property
    def header_end(self) -> int:
        """Offset after the header block."""
        return self._header_end or len(self.header)

    def take_header(self, header: bytes, end: int = 0) -> None:
        """Note the header; ``end``: its length, if this is only its beginning."""
        self._header, self._header_end = header, end or len(header)

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
        self._keeper = FormKeeper(view)

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

    def _unpack(self, message: Message) -> None:
        """Unpack what is kept of a message and needed; what is damaged is not kept."""
        plan, content = self._plan, message.content
        message.envelope = content.envelope or b""
        wants_header = plan.header or (plan.envelope and not message.envelope)
        if wants_header and content.kept_header is not None:
            if (header := content.header) is not None:
                message.take_header(header)
            else:
                message.content = content = replace(content, kept_header=None)
        if content.structure is None:
            return
        try:
            if plan.structure:
                message.structure = decode_shown(content.structure) or b""
            if plan.parts or (plan.structure and not message.structure):
                message.part = decode_part(content.structure)
        except ValueError as error:
            message.content = replace(content, structure=None)
            log.warning(
                "a kept structure is not valid",
                message=str(message.row.message),
                detail=str(error),
            )

    def _needs_scan(self, message: Message) -> bool:
        plan = self._plan
        return message.content.structure is None and (plan.parts or plan.structure)

    async def _headers_of(self, messages: Iterable[Message]) -> None:
        """Load the header blocks of which an envelope must be made."""
        if not self._plan.envelope or self._plan.header:
            return
        without = {each.row.uid: each for each in messages if not each.content.envelope}
        if not without:
            return
        found = await self._view.contents(
            self._account, self._mailbox, list(without), header=True, forms=False
        )
        for uid, content in found.items():
            message = without[uid]
            message.content = replace(message.content, kept_header=content.kept_header)

    def needs_body(self, message: Message) -> bool:
        """Return whether the body of a message must be read."""
        plan, content = self._plan, message.content
        if plan.body or self._needs_scan(message):
            return True
        wants_header = plan.header or (plan.envelope and not content.envelope)
        return wants_header and content.kept_header is None

    def prefetch(self, messages: Sequence[Message]) -> None:
        """Begin to read small bodies."""
        wanted = (message.content.location for message in messages if self.needs_body(message))
        self._bodies.prefetch(list(islice(wanted, _AHEAD)))

    async def load(self, message: Message) -> None:
        """Read what is needed of a message's body. Raises Unavailable, BlobMissing."""
        self._unpack(message)
        if self.needs_body(message):
            await traces.timed(
                traces.if_sampled(message.row.message),
                traces.READ,
                self._read(message),
                lambda _: {traces.ROLE: "imap", traces.SIZE: message.row.size},
            )
        elif self._plan.lazy:
            message.body = self._bodies.cached(message.content.location)
        await self._make(message)
        await self._keeper.keep_if_much()

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
        message.content = replace(message.content, location=content.location)
        return True

    async def _read(self, message: Message) -> None:
        location = message.content.location
        if self._bodies.whole(location):
            message.body = await self._bodies.read(location)
            return
        plan = self._plan
        wants_header = plan.header or plan.text or (plan.envelope and not message.envelope)
        if wants_header and not message.has_header:
            message.take_header(*await self._large_header(location))
        if self._needs_scan(message):
            scanner = OffsetScanner()
            async for piece in self.pieces(location, 0, location.size):
                scanner.feed(piece)
                await asyncio.sleep(0)
            message.part = scanner.finish()

    async def _large_header(self, location: BodyLocation) -> tuple[bytes, int]:
        """Return the beginning of the header, and its length."""
        head, seam = b"", b""
        for at in range(0, location.size, PIECE_BYTES):
            piece = await self._bodies.range(location, at, min(at + PIECE_BYTES, location.size))
            head += piece[: LONGEST_HEADER_BYTES - len(head)]
            # an empty line at the beginning of a message is one, of a piece it may be half of one
            found = header_end(b"-" + seam + piece) - 1 if at else header_end(piece)
            if found >= 0:
                end = at - len(seam) + found
                return head[:end], end
            seam = piece[-3:]
            await asyncio.sleep(0)
        return head, location.size

    async def _make(self, message: Message) -> None:
        """Make what the plan needs and is not kept, and note it to be kept."""
        plan, size = self._plan, 0
        if self._needs_scan(message) and message.body is not None:
            size = len(message.body)
        if plan.envelope and not message.envelope:
            size = max(size, len(message.header))
        await off_loop(size, self._make_forms, message)

    def _make_forms(self, message: Message) -> None:
        plan = self._plan
        content = message.content
        header = envelope = structure = None
        if self._needs_scan(message) and message.part is None:
            assert message.body is not None
            message.part = scan_offsets(message.body)
        if message.part is not None and not message.structure:
            if plan.structure or content.structure is None:
                message.structure = format_structure(message.part)
            if content.structure is None:
                structure = encode_part(message.part, message.structure)
        if plan.envelope and not message.envelope:
            message.envelope = envelope = envelope_of(message.header)
        if (
            plan.header
            and content.kept_header is None
            and message.header_end <= LONGEST_HEADER_BYTES
        ):
            header = message.header
        if header or envelope or structure:
            self._keeper.note(Kept(message.row.message, header, envelope, structure))

    async def keep(self) -> None:
        """Keep what was made; a fault costs only time the next time."""
        await self._keeper.keep()

    async def range(self, location: BodyLocation, start: int, end: int) -> bytes:
        """Return a range of a large body. Raises Unavailable."""
        return await self._bodies.range(location, start, end)

    async def pieces(self, location: BodyLocation, start: int, end: int) -> AsyncIterator[bytes]:
        """Yield a range of a large body in pieces. Raises Unavailable."""
        for at in range(start, end, PIECE_BYTES):
            yield await self._bodies.range(location, at, min(at + PIECE_BYTES, end))
