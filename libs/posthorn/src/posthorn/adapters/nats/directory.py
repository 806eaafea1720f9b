"""The directory, as smtp-in reads it: direct gets through a bounded cache that a watch keeps up to
date.

Theory of operation:

- A change reaches the cache through the watch within milliseconds: the new entry replaces the
  cached one, and the result of a concurrent read is not cached. Entries also expire, in case a
  replica answered behind the leader.
- Nothing is cached unless the watch is alive. A disconnect, a gap in its sequence, missed
  heartbeats or the bucket's removal end it; then the cache is dropped, and the watch is recreated.
- An absence counts only in a filled bucket: the filled mark is read again after each such answer,
  and must be unchanged. So a bucket that was lost and recreated never answers ``unknown``.
- Nor does an absence count for changes not published yet (``model.unpublished``). The watch keeps
  that mark, which costs no read. It is checked before the entries are read and after: entries are
  written before the mark is lifted, so a reader that sees it lifted before reading sees the
  entries. Without the watch it is read before an absence counts.
- A process that finds that the stores do not belong together sets the halt flag in the bucket (ADR
  18). The watch delivers it, and while it is set every lookup raises Halted.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Self

import structlog
from nats.aio.msg import Msg

from posthorn.adapters.nats.bucket import is_removal, read_behind, read_key, read_mark
from posthorn.adapters.nats.connection import Connection
from posthorn.adapters.nats.installation import read_halted
from posthorn.adapters.nats.layout import BUCKET_PREFIX, BUCKET_STREAM
from posthorn.adapters.nats.policy_cache import PolicyCache
from posthorn.adapters.nats.watch import Watch
from posthorn.model.directory_entry import (
    BEHIND_KEY,
    FILLED_KEY,
    HALTED_KEY,
    AddressEntry,
    DomainEntry,
    Entry,
    EntryError,
    RecipientStatus,
    decode_entry,
    decode_key,
    encode_key,
)
from posthorn.model.filter_policy import FilterPolicy
from posthorn.model.unpublished import NOTHING, Unpublished, decode_unpublished
from posthorn.ports.directory import DirectoryBehind
from posthorn.ports.errors import Halted, Unavailable
from posthorn.runtime.tasks import cancel_and_wait
from posthorn.wire.address import Address, AddressError, parse_address

log = structlog.get_logger()

CACHED_ENTRIES = 100_000
_PRESENT_SECONDS = 60.0
_ABSENT_SECONDS = 30.0
_AGAIN_WAIT = 0.2


class NatsDirectory:
    """Directory on the bucket. Run ``run()`` as a task, or use it as an async context manager,
    which does that."""

    def __init__(self, connection: Connection, *, entries: int = CACHED_ENTRIES) -> None:
        self._connection = connection
        self._most = entries
        # by subject: expiry, entry
        self._cache: OrderedDict[str, tuple[float, Entry | None]] = OrderedDict()
        self._reads: dict[str, asyncio.Task[Entry | None]] = {}
        self._policies = PolicyCache()
        self._mark: tuple[str, str] | None = None
        self._behind: tuple[int, Unpublished] | None = None
        """The mark of unpublished changes with its revision; None: unknown, since the watch is
        not alive."""
        self._halted: str | None = None
        self._live = False
        self._watch = Watch(
            connection,
            BUCKET_STREAM,
            {"deliver_policy": "new"},
            self._changed,
            self._drop,
            {
                f"$JS.EVENT.ADVISORY.STREAM.{event}.{BUCKET_STREAM}": self._bucket_changed
                for event in ("DELETED", "CREATED")
            },
        )
        self._watching: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._watching = asyncio.create_task(self.run(), name="directory watch")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._watching is not None:
            await cancel_and_wait(self._watching)

    @property
    def is_live(self) -> bool:
        """Whether the watch is alive, so that answers may come from the cache."""
        return self._live

    async def standing(self, address: Address) -> RecipientStatus:
        """Raises Halted while the system is halted."""
        self._refuse_halted()
        before = self._behind
        standing, absent = await self._standing(address)
        if absent and (before is None or self._behind is None):
            before = await read_behind(self._connection)
            standing, absent = await self._standing(address)
        if absent and before is not None:
            for _, unpublished in (before, self._behind or before):
                if any(map(unpublished.covers, absent)):
                    raise DirectoryBehind(standing)
        return standing

    async def room(self, address: Address) -> int | None:
        found, _, _ = await self._found(address)
        return found.room_bytes if isinstance(found, AddressEntry) else None

    async def policy(self, address: Address) -> FilterPolicy:
        """Of a ``+tag`` and of a catch-all, that of the address that gets the mail, with its own
        domain's. Raises Halted while the system is halted."""
        self._refuse_halted()
        found, subject, _ = await self._found(address)
        domain = await self._entry(f"@{subject.rpartition('@')[2]}")
        return self._policies.policy(domain, found if isinstance(found, AddressEntry) else None)

    async def postmaster(self, domain: str) -> Address | None:
        self._refuse_halted()
        entry = await self._entry(f"@{domain}")
        if not isinstance(entry, DomainEntry) or entry.postmaster is None:
            return None
        try:
            return parse_address(entry.postmaster)
        except AddressError as error:
            raise Unavailable("directory", f"an entry cannot be decoded: {error}") from error

    async def _standing(self, address: Address) -> tuple[RecipientStatus, list[str]]:
        found, _, absent = await self._found(address)
        return found.at(time.time()) if isinstance(found, AddressEntry) else found, absent

    async def _found(
        self, address: Address
    ) -> tuple[AddressEntry | RecipientStatus, str, list[str]]:
        """Return what the address is, the address whose entry says so, and for an unknown one the
        subjects that were not found."""
        exact = await self._address(str(address))
        if exact is not None:
            return exact, str(address), []
        absent = [str(address), f"@{address.domain}"]
        domain = await self._entry(f"@{address.domain}")
        if domain is None:
            return RecipientStatus.FOREIGN, str(address), absent
        if not isinstance(domain, DomainEntry):
            raise Unavailable("directory", "an entry of the wrong kind")
        for other in (
            str(base) if domain.plus_addressing and (base := address.base) else None,
            domain.catch_all,
        ):
            if other is None:
                continue
            if (entry := await self._address(other)) is not None:
                return entry, other, []
            absent.append(other)
        return RecipientStatus.UNKNOWN, str(address), absent

    async def probe(self) -> None:
        """A bucket that was never filled does not serve."""
        if not self._live:
            self._halted = await read_halted(self._connection)
        self._refuse_halted()
        if await read_mark(self._connection) is None:
            raise Unavailable("directory", "the bucket is not filled yet")

    def _refuse_halted(self) -> None:
        if self._halted is not None:
            raise Halted("directory", f"halted: {self._halted}")

    async def run(self) -> None:
        """Keep the watch alive until cancelled."""
        self._connection.on_down(self._drop)
        try:
            while True:
                try:
                    if await self._watch.once(self._watched):
                        log.warning("the directory watch is silent; starting a new one")
                        self._connection.check_soon()
                except Unavailable:
                    pass
                except Exception:
                    log.exception("the directory watch failed; starting a new one")
                await asyncio.sleep(_AGAIN_WAIT)
        finally:
            self._connection.forget(self._drop)
            self._drop()

    async def _address(self, subject: str) -> AddressEntry | None:
        entry = await self._entry(subject)
        if entry is None:
            return None
        if not isinstance(entry, AddressEntry):
            raise Unavailable("directory", "an entry of the wrong kind")
        return entry

    async def _entry(self, subject: str) -> Entry | None:
        kept = self._cache.get(subject)
        if kept is not None and kept[0] > time.monotonic():
            self._cache.move_to_end(subject)
            return kept[1]
        read = self._reads.get(subject)
        if read is None:
            read = self._reads[subject] = asyncio.create_task(self._read(subject))
            read.add_done_callback(lambda done: self._read_ended(subject, done))
        return await asyncio.shield(read)

    def _read_ended(self, subject: str, read: asyncio.Task[Entry | None]) -> None:
        if self._reads.get(subject) is read:
            del self._reads[subject]
        if not read.cancelled():
            read.exception()  # all waiters have it already

    async def _read(self, subject: str) -> Entry | None:
        task = asyncio.current_task()
        entry = await self._read_bucket(subject)
        if self._reads.get(subject) is task:
            self._keep(subject, entry)
        elif kept := self._cache.get(subject):
            return kept[1]  # it was changed meanwhile
        return entry

    async def _read_bucket(self, subject: str) -> Entry | None:
        try:
            key = encode_key(subject)
        except EntryError as error:
            raise Unavailable("directory", str(error)) from error
        mark = self._mark or await self._read_mark()
        for _ in range(3):
            message = await read_key(self._connection, key)
            if message is not None:
                try:
                    return decode_entry(message.data)
                except EntryError as error:
                    log.error(
                        "an entry of the directory bucket cannot be decoded",
                        key=key,
                        detail=str(error),
                    )
                    raise Unavailable("directory", str(error)) from error
            confirmed = await self._read_mark()
            if confirmed == mark:
                return None
            mark = confirmed
        raise Unavailable("directory", "the bucket is being recreated")

    async def _read_mark(self) -> tuple[str, str]:
        mark = await read_mark(self._connection)
        if self._live:
            self._mark = mark
        if mark is None:
            raise Unavailable("directory", "the bucket is not filled yet")
        return mark

    def _keep(self, subject: str, entry: Entry | None) -> None:
        if not self._live:
            return
        lasts = _ABSENT_SECONDS if entry is None else _PRESENT_SECONDS
        self._cache[subject] = (time.monotonic() + lasts, entry)
        self._cache.move_to_end(subject)
        if len(self._cache) > self._most:
            self._cache.popitem(last=False)

    def _drop(self) -> None:
        self._live = False
        self._mark = None
        self._behind = None
        self._cache.clear()
        self._reads.clear()
        self._watch.end()

    async def _watched(self, _: Mapping[str, Any]) -> None:
        """Read the marks at the beginning of a watch; what is read from now on may be cached."""
        self._mark = await read_mark(self._connection)
        self._note_behind(*await read_behind(self._connection))
        self._halted = await read_halted(self._connection)
        self._reads.clear()  # the result of a read begun before the watch may be old
        self._live = not self._watch.is_broken

    def _note_behind(self, revision: int, unpublished: Unpublished) -> None:
        if self._behind is None or self._behind[0] <= revision:
            self._behind = revision, unpublished

    async def _bucket_changed(self, _: Msg) -> None:
        self._drop()
        self._connection.check_soon()

    def _changed(self, message: Msg) -> None:
        key = message.subject.removeprefix(BUCKET_PREFIX)
        if key == FILLED_KEY:
            self._mark = None  # read again when next needed
            return
        if key == BEHIND_KEY:
            found = NOTHING if is_removal(message) else decode_unpublished(message.data)
            self._note_behind(message.metadata.sequence.stream, found)
            return
        if key == HALTED_KEY:
            self._halted = None if is_removal(message) else message.data.decode(errors="replace")
            return
        try:
            subject = decode_key(key)
        except EntryError:
            return
        self._reads.pop(subject, None)
        try:
            self._keep(subject, None if is_removal(message) else decode_entry(message.data))
        except EntryError:
            self._cache.pop(subject, None)
