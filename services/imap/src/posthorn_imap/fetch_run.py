"""One FETCH: the messages of its set, page by page, each with its items.

Rules:

- Nothing is sent of a message before it is known that it can be read; if it breaks off all the
  same, ``BrokenOffError`` is raised.
- ``\\Seen`` is set in one STORE for all messages that are sent together, and reported with them.
- Memory is bounded: pages of rows, chunks of bodies, and output that waits for the client.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import aclosing
from itertools import batched
from typing import TYPE_CHECKING

import structlog

from posthorn.ports.blobs import BlobMissing
from posthorn.ports.errors import Unavailable
from posthorn.ports.mailbox_view import (
    SEEN,
    Content,
    EntryFlags,
    EntryRow,
    FlagColumns,
    MailboxGone,
    UidRange,
)
from posthorn.wire.imap.fetch_items import Attribute
from posthorn_imap import ranges
from posthorn_imap.answering import No
from posthorn_imap.changing import announce
from posthorn_imap.fetch_forms import Literal, UnknownEncoding, item_of, metadata_item
from posthorn_imap.fetch_plan import Plan
from posthorn_imap.flag_lines import flag_lines
from posthorn_imap.flags import flags_form
from posthorn_imap.message_content import ContentRow, Loader, Message
from posthorn_imap.one_ahead import one_ahead
from posthorn_imap.pacing import Pace
from posthorn_imap.ranges import Places

if TYPE_CHECKING:
    from posthorn_imap.session import ImapSession

log = structlog.get_logger()

ROWS = 1000
"""Most messages of a page with metadata alone, but more than flags."""
CONTENTS = 250
"""Most messages of a page whose content is located: two pages are in memory."""
CHUNK_BYTES = 2 * 1024 * 1024
"""Bytes of bodies that are read before they are sent."""
MOST_ITEM_BYTES = 4 * 1024 * 1024
"""Bytes of the items of one message beyond which no more are made: a command may ask for the same
bytes thousands of times."""
MOST_FAILURES = 3
"""Bodies that could not be read, at which FETCH ends."""
READ_AHEAD = 32
"""Messages after which reading of the next ones is begun."""
_SEND_BYTES = 64 * 1024


class BrokenOffError(Exception):
    """The rest of a literal cannot be read."""


class FetchRun:
    """One FETCH."""

    def __init__(self, session: ImapSession, plan_: Plan, changed_since: int) -> None:
        self._session = session
        self._selected = session.mailbox
        self._view = session.backend.view
        self._out = session.out
        self._reads = session.reads
        self._plan = plan_
        self._changed_since = changed_since
        self._sets_seen = plan_.sets_seen and not self._selected.read_only
        self._loader = Loader(
            self._view,
            session.backend.bodies,
            self._selected.account,
            self._selected.mailbox,
            plan_,
        )
        self.gone = 0
        """Messages that do not exist any more."""
        self.failed = 0
        """Messages whose bodies could not be read."""
        self.unknown_encoding = False
        self._pace = Pace(session)
        self._sent = 0  # bytes since the client was last waited for

    async def send(self, places: Places) -> None:
        """Send the messages. Raises BrokenOffError, No, Unavailable, MailboxGone, and ConnectionError
        when the client has gone."""
        if self._plan.flags_alone:
            await self._send_flags(places)
            return
        if self._plan.body_alone and not self._changed_since and ranges.count(places) == 1:
            await self._send_one(places)
            return
        if not self._plan.content:
            async with aclosing(
                one_ahead(ranges.pages(places, min(ROWS, self._selected.page)), self._rows)
            ) as metadata:
                async for found in metadata:
                    await self._send_lines(self._metadata(found))
            return
        async with aclosing(
            one_ahead(ranges.pages(places, min(CONTENTS, self._selected.page)), self._page)
        ) as pages:
            async for there in pages:
                await self._send_located(there)
                if self.failed >= MOST_FAILURES:
                    return

    async def _page(self, page: Places) -> list[Message]:
        """Return the messages of a page that are there, located."""
        if self._plan.rows or self._changed_since:
            messages = [Message(number, row) for number, row in await self._rows(page)]
        else:
            messages = self._unlooked(page)
        there = await self._loader.locate(messages)
        self.gone += len(messages) - len(there)
        return there

    async def _rows(self, page: Places) -> list[tuple[int, EntryRow]]:
        selected = self._selected
        rows = await self._view.rows(
            selected.account, selected.mailbox, self._uids(page), self._changed_since
        )
        return self._numbered(page, rows)

    def _uids(self, page: Places) -> list[UidRange]:
        uids = self._selected.numbering.uids
        return [(uids[first], uids[end - 1]) for first, end in page]

    def _numbered(self, page: Places, entries: Sequence[EntryRow]) -> list[tuple[int, EntryRow]]:
        """Return the entries with their numbers; count those that are gone."""
        uids = self._selected.numbering.uids
        found: list[tuple[int, EntryRow]] = []
        following = iter(entries)
        entry = next(following, None)
        for first, end in page:
            for place in range(first, end):
                while entry is not None and entry.uid < uids[place]:
                    entry = next(following, None)
                if entry is None or entry.uid != uids[place]:
                    self.gone += 1
                    continue
                found.append((place + 1, entry))
                entry = next(following, None)
        return found

    def _unlooked(self, page: Iterable[tuple[int, int]]) -> list[Message]:
        """Return messages of which the content alone is looked at."""
        uids = self._selected.numbering.uids
        return [
            Message(place + 1, ContentRow(uids[place]))
            for first, end in page
            for place in range(first, end)
        ]

    # metadata

    async def _send_flags(self, places: Places) -> None:
        selected = self._selected

        async def read(page: Places) -> tuple[Places, FlagColumns]:
            columns = await self._view.flag_columns(
                selected.account, selected.mailbox, self._uids(page), self._changed_since
            )
            return page, columns

        pages = ranges.pages(places, selected.page)
        async with aclosing(one_ahead(pages, read)) as found:
            async for page, columns in found:
                numbers = ranges.numbers_of(selected.numbering, page, columns.uids)
                lines = flag_lines(self._plan.items, numbers, columns)
                self.gone += ranges.count(page) - len(lines)
                await self._send_lines(lines)

    def _metadata(self, found: Iterable[tuple[int, EntryRow]]) -> Iterator[bytes]:
        items = self._plan.items
        for number, row in found:
            forms = b" ".join([metadata_item(item, row) for item in items])
            yield b"* %d FETCH (%b)\r\n" % (number, forms)

    async def _send_lines(self, lines: Iterable[bytes]) -> None:
        for some in batched(lines, 500, strict=False):
            await self._put(b"".join(some))

    # content

    async def _send_one(self, places: Places) -> None:
        """Send the body of one message; locate those that may be asked for next with it."""
        selected = self._selected
        ahead, place = selected.ahead, places[0][0]
        ahead.note(place)
        messages = self._unlooked(places)
        if self._plan.rows:
            messages = [Message(number, row) for number, row in await self._rows(places)]
        for message in messages:  # one, or none
            content = None
            if not selected.is_behind:
                content = await ahead.take(message.row.uid, selected.modseq)
            if content is not None:
                self._loader.place(message, content)
            elif not await self._locate_ahead(message):
                self.gone += 1
                return
            if self._plan.rows or not self._loader.is_small(message):
                await self._send_located([message])
            elif (items := await self._items(message)) is not None:
                await self._send_message(message.number, items)
                self._reads.sent(self._plan.items, [message.row])
        if not selected.is_behind:
            self._locate_behind(self._unlooked(_each(ahead.due(len(selected.numbering)))))

    def _locate_behind(self, messages: list[Message]) -> None:
        """Locate messages while the client takes the one before."""

        async def located() -> dict[int, Content]:
            try:
                there = await self._loader.locate(messages)
            except (Unavailable, MailboxGone) as error:
                log.info("messages not located ahead", fault=error)
                return {}
            return {each.row.uid: each.content for each in there}

        if messages:
            uids = [each.row.uid for each in messages]
            self._selected.ahead.begin(uids, self._selected.modseq, located())

    async def _locate_ahead(self, message: Message) -> bool:
        """Locate a message and those after it; return whether it is there."""
        selected = self._selected
        ahead, modseq = selected.ahead, selected.modseq
        places = ahead.following(len(selected.numbering.uids))
        following = self._unlooked(_each(places))
        try:
            there = await self._loader.locate([message, *following])
        except Unavailable as error:
            if not following:
                raise
            log.info("messages not located ahead", fault=error)
            there = await self._loader.locate([message])
        ahead.keep({each.row.uid: each.content for each in there if each is not message}, modseq)
        return message in there

    async def _send_located(self, there: list[Message]) -> None:
        async for chunk in self._chunks(there):
            seen = await self._see([message for message, _ in chunk])
            for message, items in chunk:
                if (entry := seen.get(message.row.uid)) is not None:
                    self._put_seen(items, entry)
                await self._send_message(message.number, items)
            self._reads.sent(self._plan.items, [message.row for message, _ in chunk])
            if self.failed >= MOST_FAILURES:
                break
        await self._loader.keep()

    async def _chunks(
        self, messages: list[Message]
    ) -> AsyncIterator[list[tuple[Message, list[bytes | Literal]]]]:
        """Yield messages with their items, as many as are held at once."""
        chunk: list[tuple[Message, list[bytes | Literal]]] = []
        size = 0
        for place, message in enumerate(messages):
            if place % READ_AHEAD == 0:
                await asyncio.sleep(0)  # others have their turn, also where nothing is read
                self._loader.prefetch(messages[place : place + 2 * READ_AHEAD])
            items = await self._items(message)
            if items is None:
                if self.failed >= MOST_FAILURES:
                    break
                continue
            message.forget()
            chunk.append((message, items))
            size += sum(len(item) for item in items if isinstance(item, bytes))
            if size >= CHUNK_BYTES or any(isinstance(item, Literal) for item in items):
                yield chunk
                chunk, size = [], 0
        if chunk:
            yield chunk

    async def _items(self, message: Message) -> list[bytes | Literal] | None:
        """Return the items of a message; None for one that cannot be read."""
        try:
            try:
                return await self._made(message)
            except BlobMissing:
                if not await self._loader.relocate(message):
                    self.gone += 1
                    return None
                return await self._made(message)
        except UnknownEncoding:
            self.unknown_encoding = True
        except Unavailable as error:
            self.failed += 1
            log.warning(
                "a message cannot be read",
                message=str(message.row.message),
                fault=error,
            )
        return None

    async def _made(self, message: Message) -> list[bytes | Literal]:
        await self._loader.load(message)
        utf8 = self._session.utf8
        made: list[bytes | Literal] = []
        size = 0
        for item in self._plan.items:
            if size > MOST_ITEM_BYTES:
                raise No("the items of a message are too large together", b"LIMIT")
            form = await item_of(item, message, self._loader, utf8=utf8)
            made.append(form)
            size += len(form) if isinstance(form, bytes) else 0
            await self._pace.turn()  # a command may ask for thousands of items
        return made

    async def _send_message(self, number: int, items: list[bytes | Literal]) -> None:
        whole = [item for item in items if isinstance(item, bytes)]
        if len(whole) == len(items):
            await self._put(b"* %d FETCH (%b)\r\n" % (number, b" ".join(whole)))
            return
        separator = b"* %d FETCH (" % number
        try:
            for item in items:
                if isinstance(item, bytes):
                    await self._put(separator + item)
                else:
                    await self._put(separator + item.head)
                    async for piece in item.pieces():
                        await self._put(piece)
                separator = b" "
        except Unavailable as error:
            log.warning("a message broke off", fault=error)
            raise BrokenOffError from None
        await self._put(b")\r\n")

    async def _put(self, octets: bytes) -> None:
        self._out.send(octets)
        self._sent += len(octets)
        if self._sent >= _SEND_BYTES:
            self._sent = 0
            await self._out.room()

    # \Seen

    async def _see(self, messages: Sequence[Message]) -> dict[int, EntryFlags]:
        """Set ``\\Seen`` of those without it; return their flags now, by UID."""
        if not self._sets_seen:
            return {}
        unseen = [message.row.uid for message in messages if not message.row.flags & SEEN]
        if not unseen:
            return {}
        selected = self._selected
        stored = await self._view.store(selected.account, selected.mailbox, unseen, "+", SEEN, ())
        if stored.advanced:
            before = selected.modseq
            await announce(self._session, selected, stored.modseq)
            selected.ahead.go_on(before, selected.modseq)
        selected.note_told(stored.changed)
        return {entry.uid: entry for entry in stored.changed}

    def _put_seen(self, items: list[bytes | Literal], entry: EntryFlags) -> None:
        """Report the flags of a message that was seen just now."""
        shown = {Attribute.FLAGS: flags_form(entry.flags, entry.keywords)}
        if self._session.condstore:
            shown[Attribute.MODSEQ] = b"MODSEQ (%d)" % entry.modseq
        for item, form in shown.items():
            if item in self._plan.items:
                items[self._plan.items.index(item)] = form
            else:
                items.append(form)


def _each(places: Iterable[int]) -> Places:
    return [(place, place + 1) for place in places]
