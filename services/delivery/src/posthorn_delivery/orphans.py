"""Orphans: blobs that no segment row names. They are moved to the trash first, and deleted much
later.

Rules:

- A blob without a segment row is a candidate when it is old: what a running batch has just written
  is young. It is moved to the trash when two searches, at least that age apart, found it without a
  row.
- A blob under ``bodies/`` has no row until its message is delivered, and the message may stay on
  INGEST for long, or on DEAD without limit. A retry from DEAD gives a message a new time on INGEST,
  so times alone prove nothing. Such a blob is a candidate only when in both searches DEAD was
  empty, and INGEST advanced and held nothing as old as the blob.
- Many orphans in one search mean a fault (such as a database that does not belong to the blobs):
  the brake then holds, and nothing is moved. Empty ones do not count: they are bodies whose message
  was refused, and their number is up to those who send.
- A blob in the trash that has a row after all (the database was repaired) is moved back at the
  start of the next search, and by delivery when its message comes. The rest is deleted after
  ``collector_trash_seconds``, bodies only while no waiting message can refer to them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import batched

import structlog
from prometheus_client import Counter

from posthorn.ports.blobs import BODIES, SEGMENTS, TRASH, BlobInfo, BlobMissing, Blobs
from posthorn.ports.clock import Clock
from posthorn.ports.errors import Unavailable
from posthorn.ports.ingest import Backlog
from posthorn.ports.segments import SegmentCatalog
from posthorn.runtime.brakes import Brake
from posthorn_delivery.collector_settings import CollectorSettings

log = structlog.get_logger()

_orphans = Counter(
    "posthorn_delivery_collector_orphans_total",
    "Blobs moved to the trash because no segment names them",
)
_rescued = Counter(
    "posthorn_delivery_collector_rescued_total",
    "Blobs moved back from the trash because a segment names them",
)
_discarded = Counter("posthorn_delivery_collector_discarded_total", "Blobs deleted from the trash")

DELETE_PARALLEL = 8
_SWEEP_PAGE = 500
_MOST_SUSPECTS = 10_000
_SLACK = timedelta(hours=1)
_LINE_MOVES = timedelta(minutes=10)

type Leads = Callable[[], Awaitable[bool]]
"""Whether this process still leads; raises Unavailable unless the stores are known to belong
together."""


async def at_once(
    work: Callable[[str], Awaitable[None]], keys: Sequence[str]
) -> list[Unavailable | None]:
    """Process all keys concurrently; return the fault of each, or None. A missing blob is no
    fault."""

    async def one(key: str) -> Unavailable | None:
        try:
            await work(key)
        except BlobMissing:
            return None
        except Unavailable as fault:
            return fault
        return None

    return await asyncio.gather(*map(one, keys))


@dataclass(frozen=True, slots=True)
class Swept:
    """Result of a search."""

    orphans: int = 0
    rescued: int = 0
    discarded: int = 0


@dataclass(slots=True)
class _Found:
    """What a search has found so far."""

    listed: int = 0
    unknown: int = 0
    suspects: dict[str, float] = field(default_factory=dict)
    """Blobs without a row, with the time at which each was first found; at most _MOST_SUSPECTS."""
    is_whole: bool = True


class Orphans:
    """Searches for orphans periodically."""

    def __init__(
        self,
        segments: SegmentCatalog,
        blobs: Blobs,
        backlog: Callable[[], Awaitable[Backlog]],
        settings: CollectorSettings,
        brake: Brake,
        clock: Clock = time.time,
    ) -> None:
        self._segments = segments
        self._blobs = blobs
        self._backlog = backlog
        self._settings = settings
        self._brake = brake
        self._clock = clock
        self._next_sweep = 0.0
        self._suspects: dict[str, float] = {}

    async def sweep(self, leads: Leads) -> Swept:
        """Search, if the interval has passed. Raises Unavailable."""
        now = self._clock()
        if now < self._next_sweep or not await leads():
            return Swept()
        old = datetime.fromtimestamp(now, UTC) - timedelta(
            seconds=self._settings.collector_orphan_age_seconds
        )
        # before the search: a message that was parked or retried since then is seen by the next one
        try:
            bodies_old = self._bodies_may_go_before(old, await self._backlog())
        except Unavailable:
            await self._tend_trash(now, leads, bodies=False)
            raise
        rescued, discarded = await self._tend_trash(now, leads, bodies=bodies_old is not None)
        found = _Found()
        await self._search(SEGMENTS, old, now, found, leads)
        if bodies_old is not None:
            await self._search(BODIES, bodies_old, now, found, leads)
        if not found.is_whole:
            return Swept(0, rescued, discarded)
        self._suspects = found.suspects
        moved = 0
        if not self._brake.holds(found.unknown, found.listed):
            age = self._settings.collector_orphan_age_seconds
            moved = await self._move(
                [key for key, since in found.suspects.items() if now - since >= age], leads
            )
        self._next_sweep = now + self._settings.collector_orphan_interval_seconds
        return Swept(moved, rescued, discarded)

    def _bodies_may_go_before(self, old: datetime, backlog: Backlog) -> datetime | None:
        """Return the age at which no waiting message can refer to a body without a row; None if
        it cannot be determined."""
        if backlog.dead or backlog.oldest_dead is not None or backlog.retrying:
            log.info(
                "bodies without a row are not removed while messages are parked or in the retry lane",
                parked=backlog.dead,
                set_aside=backlog.retrying,
            )
            return None
        if backlog.oldest is None:
            return old
        if datetime.fromtimestamp(self._clock(), UTC) - backlog.oldest > _LINE_MOVES:
            log.info(
                "bodies without a row are not removed while the stream does not advance",
                waiting=backlog.messages,
            )
            return None
        return min(old, backlog.oldest - _SLACK)

    async def _search(
        self, prefix: str, old: datetime, now: float, found: _Found, leads: Leads
    ) -> None:
        async for page in _pages(self._blobs.list(prefix)):
            if not await leads():
                found.is_whole = False
                return
            found.listed += len(page)
            aged = {blob.key: blob.size for blob in page if blob.modified_at < old}
            unknown = sorted(await self._segments.unknown_keys(list(aged))) if aged else []
            found.unknown += sum(aged[key] > 0 for key in unknown)
            room = max(0, _MOST_SUSPECTS - len(found.suspects))
            found.suspects |= {key: self._suspects.get(key, now) for key in unknown[:room]}

    async def _move(self, keys: Sequence[str], leads: Leads) -> int:
        moved = 0
        for page in batched(keys, _SWEEP_PAGE, strict=False):
            if not await leads():
                return moved
            still = sorted(await self._segments.unknown_keys(page))
            moved += await self._each(
                lambda key: self._blobs.move(key, TRASH + key), still, _orphans
            )
            log.info("orphans moved to the trash", keys=still)
            for key in still:
                self._suspects.pop(key, None)
        return moved

    async def _tend_trash(self, now: float, leads: Leads, *, bodies: bool) -> tuple[int, int]:
        """Move back blobs that a row names, delete old ones; return the number of each.
        ``bodies``: whether those of waiting messages cannot be among them."""
        rescued = discarded = 0
        long_ago = datetime.fromtimestamp(now, UTC) - timedelta(
            seconds=self._settings.collector_trash_seconds
        )
        async for page in _pages(self._blobs.list(TRASH)):
            if not await leads():
                break
            former = {blob.key.removeprefix(TRASH): blob for blob in page}
            unknown = await self._segments.unknown_keys(list(former))
            known = sorted(former.keys() - unknown)
            if known:
                log.warning(
                    "blobs moved back from the trash because a segment names them", keys=known
                )
            rescued += await self._each(
                lambda key: self._blobs.move(TRASH + key, key), known, _rescued
            )
            late = [
                former[key].key
                for key in sorted(unknown)
                if former[key].modified_at < long_ago and (bodies or not key.startswith(BODIES))
            ]
            discarded += await self._each(self._blobs.delete, late, _discarded)
        return rescued, discarded

    async def _each(
        self, work: Callable[[str], Awaitable[None]], keys: Sequence[str], counter: Counter
    ) -> int:
        done = 0
        for some in batched(keys, DELETE_PARALLEL, strict=False):
            faults = await at_once(work, some)
            done += faults.count(None)
            counter.inc(faults.count(None))
            for fault in faults:
                if fault is not None:
                    raise fault
        return done


async def _pages(blobs: AsyncIterator[BlobInfo]) -> AsyncIterator[Sequence[BlobInfo]]:
    page: list[BlobInfo] = []
    async for blob in blobs:
        page.append(blob)
        if len(page) >= _SWEEP_PAGE:
            yield page
            page = []
    if page:
        yield page
