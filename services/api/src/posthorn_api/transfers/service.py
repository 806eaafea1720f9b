"""What the API decides about mail on its way out and in: export and import of mailboxes.

Rules:

- Neither holds more than a few messages: an export reads as its client takes, an import reads as
  the stores take.
- A tenant has a few of each at a time (``runtime.fair_slots``). A client that is too slow is cut
  off: an import has a least rate (``runtime.least_rate``), what an export's client takes is watched
  by ``runtime.http``; both have a time in all.
- An export that cannot read a message ends in an error, so that the client sees that it is not
  whole. A message that is deleted meanwhile is left out.
- An import stores mail as delivery does: a segment of many bodies is written first, then its rows
  in one transaction. What was there already, byte for byte, is not brought in again: so an import
  that broke off is repeated as a whole.
- A unique id of POP3 goes with its message, also to one that is there already.
- A message that cannot be taken (too large, no room, no name for its mailbox) is counted and told
  of, and the rest goes on.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Hashable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import aclosing, contextmanager, suppress
from uuid import UUID

import structlog
from prometheus_client import Counter

from posthorn.model.segment import Packed, pack
from posthorn.model.stored_header import kept_header
from posthorn.ports.api_keys import ApiKey
from posthorn.ports.blobs import SEGMENTS, BlobMissing, Blobs
from posthorn.ports.bodies import BodyReader
from posthorn.ports.errors import Conflict, Unavailable
from posthorn.ports.segments import Segment, SegmentMessage
from posthorn.ports.transfers import Contents, Exported, Importing, ImportLost, Transfers
from posthorn.runtime.fair_slots import FairSlots
from posthorn.runtime.holders import present_holder
from posthorn.runtime.ids import new_id
from posthorn.runtime.least_rate import LeastRate
from posthorn.wire.archive import maildir
from posthorn.wire.archive.tar import END, directory_header
from posthorn_api.directory.fields import address_in
from posthorn_api.http.problems import RateLimited
from posthorn_api.mailboxes.service import in_known_mailbox, mailbox_in
from posthorn_api.transfers.archives import Format
from posthorn_api.transfers.digests import Digests
from posthorn_api.transfers.import_run import ImportRun, Summary, Waiting
from posthorn_api.transfers.writing import gathered, written

log = structlog.get_logger()

AT_ONCE, AT_ONCE_EACH = 6, 2
"""Imports at work in this process, and of one tenant; each holds a batch and a message. The same
of exports."""
WHOLE_SECONDS = 6 * 3600.0
"""How long an import or an export may take in all."""
IDLE_SECONDS = 60.0
"""How long nothing may come before an import is broken off."""
_RETRY_SECONDS = 10.0
_PAGE = 200
_DIGESTS_PAGE = 5000
_AHEAD = 16
_PAUSES = (0.5, 1.0, 2.0)

_exported = Counter("posthorn_api_exported_messages_total", "Messages exported")


class TransferService:
    """Export and import. Every method takes the caller's key and sees what its tenant sees."""

    def __init__(
        self,
        transfers: Transfers,
        bodies: BodyReader,
        blobs: Blobs,
        compress: Callable[[bytes], bytes] | None,
        *,
        max_size: int = 40 * 1024 * 1024,
        whole_seconds: float = WHOLE_SECONDS,
    ) -> None:
        self._transfers = transfers
        self._bodies = bodies
        self._blobs = blobs
        self._compress = compress
        self.max_size = max_size
        self.whole_seconds = whole_seconds
        self.importing = FairSlots(
            "imports of mail", AT_ONCE, most_each=AT_ONCE_EACH, spare=2, retry_seconds=10.0
        )
        self.exporting = FairSlots(
            "exports of mail", AT_ONCE, most_each=AT_ONCE_EACH, spare=2, retry_seconds=10.0
        )
        self._exporting_accounts: set[str] = set()

    async def export(
        self, caller: ApiKey, address: str, form: Format, mailbox: str | None
    ) -> tuple[Contents, AsyncGenerator[bytes]]:
        """Begin an export. The pieces raise Unavailable when a message cannot be read, SlotsTaken
        when too many are under way, RateLimited for a second one of an account that calls: one
        who reads slowly must not hold all that its tenant may have."""
        address = address_in("address", address)

        async def at(name: str | None) -> Contents:
            return await self._transfers.contents(caller.tenant, address, name)

        contents = await (at(None) if mailbox is None else in_known_mailbox(mailbox, at))
        return contents, self._in_time(
            gathered(self._octets(contents, form)), present_holder(), caller.account
        )

    async def _in_time(
        self, pieces: AsyncGenerator[bytes], holder: Hashable, account: str | None
    ) -> AsyncGenerator[bytes]:
        end = time.monotonic() + self.whole_seconds
        with self._only_one(account):
            async with self.exporting.hold(holder), aclosing(pieces):
                async for piece in pieces:
                    if time.monotonic() > end:
                        raise Unavailable("export", "it takes too long")
                    yield piece

    @contextmanager
    def _only_one(self, account: str | None) -> Iterator[None]:
        """Let an account that calls make one export at a time. Raises RateLimited."""
        if account is None:
            yield
            return
        if account in self._exporting_accounts:
            raise RateLimited("your mail is being exported already", _RETRY_SECONDS)
        self._exporting_accounts.add(account)
        try:
            yield
        finally:
            self._exporting_accounts.discard(account)

    async def _octets(self, contents: Contents, form: Format) -> AsyncGenerator[bytes]:
        if form is Format.MAILDIR:
            for name in contents.mailboxes.values():
                for directory in (name, *(f"{name}/{kind}" for kind in maildir.DIRECTORIES)):
                    yield directory_header(directory)
        after = (0, 0)
        while page := await self._transfers.entries(contents, after, _PAGE):
            for place, entry in enumerate(page):
                if place % (_AHEAD // 2) == 0:
                    self._bodies.prefetch(ahead.location for ahead in page[place : place + _AHEAD])
                async with aclosing(self._message(contents, entry)) as pieces:
                    async for data in written(form, contents, entry, pieces):
                        yield data
            after = page[-1].mailbox, page[-1].uid
        if form is not Format.MBOX:
            yield END

    async def _message(self, contents: Contents, entry: Exported) -> AsyncGenerator[bytes]:
        """Yield a message's bytes; nothing at all when it has been deleted since it was listed."""
        location = entry.location
        for attempt in (1, 2):  # a collector may move the bytes between the look-up and the read
            pieces = self._bodies.stream(location)
            async with aclosing(pieces):
                try:
                    first = await anext(pieces, b"")
                except BlobMissing:
                    now = await self._transfers.entries(
                        contents, (entry.mailbox, entry.uid), 1, ahead=False
                    )
                    if not now:
                        return
                    if attempt == 2:
                        raise
                    location = now[0].location
                    continue
                yield first
                async for piece in pieces:
                    yield piece
            _exported.inc()
            return

    async def take_in(
        self,
        caller: ApiKey,
        address: str,
        form: Format,
        mailbox: str | None,
        pieces: AsyncIterator[bytes],
    ) -> Summary:
        """Import a file.

        Raises ValidationFailed for one that does not read, TimeoutError when it stops coming or is
        too slow, SlotsTaken, Conflict while another import into this account runs, Unavailable.
        """
        address = address_in("address", address)
        into = None if mailbox is None else mailbox_in("mailbox", mailbox)
        async with self.importing.hold(present_holder()):
            details = {"format": form.value} | ({} if into is None else {"mailbox": into})
            importing = await self._transfers.begin(caller.tenant, address, new_id(), details)
            work = ImportRun(self, importing, form, into)
            paced = LeastRate(idle_seconds=IDLE_SECONDS, whole_seconds=self.whole_seconds).read(
                pieces
            )
            try:
                return await work.run(paced)
            finally:
                await asyncio.shield(self._finish(importing, work.summary))

    async def _finish(self, importing: Importing, summary: Summary) -> None:
        counts = {
            name: getattr(summary, name)
            for name in ("messages", "imported", "duplicates", "failed", "left_out")
        } | {"imported_bytes": summary.octets}
        log.info("mail imported", account=importing.address, **counts)
        with suppress(Unavailable):  # the lease runs out by itself
            await self._transfers.finish(importing, counts)

    async def known(self, importing: Importing) -> Digests:
        """Learn what the account has."""
        digests, after = Digests(secrets.token_bytes(16)), (0, 0)
        while page := await self._transfers.digests(importing, after, _DIGESTS_PAGE):
            for mailbox, uid, digest in page:
                digests.add(digest)
                after = mailbox, uid
        return digests

    async def stay(self, importing: Importing) -> None:
        """Remain the one import into the account. Raises Conflict."""
        try:
            await self._transfers.stay(importing)
        except ImportLost:
            raise _lost() from None

    async def store(self, importing: Importing, batch: Sequence[Waiting]) -> set[UUID]:
        """Store a batch; returns the ids for which there was room."""
        packed, headers = await asyncio.to_thread(self._packed, [each.content for each in batch])
        number = new_id()
        messages = tuple(
            SegmentMessage(each.envelope, place, (importing.account,), header=header)
            for each, place, header in zip(batch, packed.ranges, headers, strict=True)
        )
        segment = Segment(number, f"{SEGMENTS}{number}", packed.octets, messages)
        await _patiently(lambda: self._blobs.put(segment.key, packed.parts))
        packed.parts.clear()
        try:
            return await _patiently(
                lambda: self._transfers.insert(importing, segment, [each.entry for each in batch])
            )
        except ImportLost:
            raise _lost() from None

    async def adopt(self, importing: Importing, unique_ids: Mapping[bytes, str]) -> None:
        """Assign unique ids of POP3, by SHA-256, to messages that are there already."""
        try:
            await _patiently(lambda: self._transfers.adopt(importing, unique_ids))
        except ImportLost:
            raise _lost() from None

    def _packed(self, contents: Sequence[bytes]) -> tuple[Packed, list[bytes | None]]:
        frame = self._compress
        headers = [None if frame is None else kept_header(each, frame) for each in contents]
        return pack(contents, frame), headers


async def _patiently[T](attempt: Callable[[], Awaitable[T]]) -> T:
    """Try again when a part fails for a moment: the upload behind it may be long."""
    for pause in _PAUSES:
        try:
            return await attempt()
        except Unavailable as fault:
            log.warning("an import waits", fault=fault)
            await asyncio.sleep(pause)
    return await attempt()


def _lost() -> Conflict:
    return Conflict(
        "another import into this account has taken over, or the account no longer exists"
    )
