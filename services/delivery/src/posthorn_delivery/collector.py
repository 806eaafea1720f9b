"""The collector: takes away the blobs that no message needs any more.

Rules:

- One process collects at a time, under a lease that it renews from batch to batch; losing it ends the round.
- A segment is condemned first, in one transaction that also points its last living messages elsewhere. Its blob goes a grace
  period later, and only then its row. A crash at any point leaves work for the next round, never a message without its octets.
- Segments mostly dead are written anew, each to one new segment, each body as it is stored. A blob under ``bodies/`` holds one
  message, so it is never written anew.
- Nothing goes unless the stores are known to belong together (ADR 18), which is asked anew before each batch. Besides, a brake
  holds when much of what has lain there for long would go at once; what lived for less than a day is no part of it.
- Blobs that no row names are dealt with in ``orphans``.
- Rows that nothing can ask for any more go with the round: of messages without references, of long senders.
- A fault of a part ends the round; the next one goes on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import batched
from uuid import UUID

import structlog
from prometheus_client import Counter

from posthorn.model.blob_range import BlobRange
from posthorn.ports.blobs import BODIES, SEGMENTS, Blobs
from posthorn.ports.clock import Clock
from posthorn.ports.errors import Unavailable
from posthorn.ports.ingest import Backlog
from posthorn.ports.segments import DeadSegment, LiveMessage, Segment, SegmentCatalog
from posthorn.runtime.brakes import Brake
from posthorn.runtime.ids import new_id
from posthorn.wire.srs import VALID_DAYS
from posthorn_delivery.collector_settings import CollectorSettings
from posthorn_delivery.orphans import DELETE_PARALLEL, Orphans, at_once

log = structlog.get_logger()

_condemned = Counter(
    "posthorn_delivery_collector_condemned_total", "Segments marked for removal, nothing in them alive"
)
_rewritten = Counter("posthorn_delivery_collector_rewritten_total", "Segments written anew without their dead")
_removed = Counter("posthorn_delivery_collector_removed_total", "Segments whose blob was removed")
_freed = Counter(
    "posthorn_delivery_collector_freed_octets_total", "Octets of blobs marked for removal, less those written anew"
)
_forgotten = Counter(
    "posthorn_delivery_collector_forgotten_total", "Messages without references whose rows were deleted"
)
_faults = Counter("posthorn_delivery_collector_faults_total", "Rounds that a fault cut short, by part", ["part"])

_MOST_BATCHES = 50  # of one step in one round
_LONG_SENDER_DAYS = VALID_DAYS + 2
"""Days from the last address made: its time, and what clocks may differ by."""
_LONG_SENDERS_AT_ONCE = 2000
_SPAN_OCTETS = 16 * 1024**2  # living bodies that lie this close together come with one read


@dataclass(slots=True)
class Round:
    """What one round did."""

    condemned: int = 0
    rewritten: int = 0
    removed: int = 0
    octets: int = 0
    """Octets set free once the condemned blobs are gone."""
    orphans: int = 0
    """Moved to the trash."""
    rescued: int = 0
    """Moved back from it."""
    discarded: int = 0
    """Removed from it for good."""
    forgotten: int = 0
    long_senders: int = 0
    """Stored senders that no address can name any more (ADR 27)."""


@dataclass(frozen=True, slots=True)
class CollectorBrakes:
    """What may go without an operator's word."""

    orphans: Brake
    removal: Brake

    @classmethod
    def of(cls, settings: CollectorSettings, released: Callable[[], bool] = lambda: False) -> CollectorBrakes:
        """Make them as the settings say."""
        return cls(
            Brake("orphans", settings.collector_orphan_most_share, settings.collector_orphan_most, released),
            Brake("removal", settings.collector_removal_most_share, settings.collector_removal_most, released),
        )


class Collector:
    """Collects what is dead. ``backlog`` tells what waits on INGEST and DEAD.

    ``certain`` raises Unavailable unless the stores are known to belong together.
    """

    def __init__(
        self,
        segments: SegmentCatalog,
        blobs: Blobs,
        backlog: Callable[[], Awaitable[Backlog]],
        settings: CollectorSettings,
        clock: Clock = time.time,
        *,
        certain: Callable[[], Awaitable[None]] | None = None,
        brakes: CollectorBrakes | None = None,
    ) -> None:
        self._segments = segments
        self._blobs = blobs
        self._settings = settings
        self._certain = certain
        self._brakes = brakes or CollectorBrakes.of(settings)
        self._orphans = Orphans(segments, blobs, backlog, settings, self._brakes.orphans, clock)

    async def run(self) -> None:
        """Collect for ever; run as a supervised task."""
        while True:
            try:
                done = await self.collect_once()
                if done != Round():
                    log.info("collected", **asdict(done))
            except Unavailable as fault:
                _faults.labels(fault.part).inc()
                log.warning("collecting stopped early", part=fault.part, detail=str(fault))
            await asyncio.sleep(self._settings.collector_interval)

    async def collect_once(self) -> Round:
        """Do one round, if this process leads; tells what was done. Raises Unavailable."""
        done = Round()
        for step in (self._condemn, self._rewrite, self._remove, self._forget, self._forget_long_senders, self._sweep):
            await step(done)
        return done

    async def _leads(self) -> bool:
        if not await self._segments.lead(self._settings.collector_interval + 60):
            return False
        if self._certain is not None:
            await self._certain()
        return True

    async def _condemn(self, done: Round) -> None:
        for _ in range(_MOST_BATCHES):
            if not await self._leads():
                return
            dead = await self._segments.mostly_dead(0.0, 0.0, self._settings.collector_batch)
            before = done.condemned
            for segment in dead:
                await self._condemn_one(segment, done)
            if len(dead) < self._settings.collector_batch or done.condemned == before:
                return

    async def _condemn_one(self, segment: DeadSegment, done: Round) -> None:
        if await self._segments.move(segment.id, None, {}):
            done.condemned += 1
            done.octets += segment.octets
            _condemned.inc()
            _freed.inc(segment.octets)

    async def _rewrite(self, done: Round) -> None:
        settings = self._settings
        for _ in range(_MOST_BATCHES):
            if not await self._leads():
                return
            found = await self._segments.mostly_dead(
                settings.collector_live_share, settings.collector_rewrite_age, settings.collector_batch
            )
            before = done.rewritten
            for segment in found:
                if segment.live_octets and not segment.key.startswith(BODIES):
                    await self._rewrite_one(segment, done)
            if len(found) < settings.collector_batch or done.rewritten == before:
                return

    async def _rewrite_one(self, segment: DeadSegment, done: Round) -> None:
        live = await self._segments.live_messages(segment.id)
        if not live:  # the last of them died a moment ago
            await self._condemn_one(segment, done)
            return
        try:
            bodies = await self._bodies(segment.key, live)
        except Unavailable as fault:
            # Either the store is down, which ends the round, or this blob is damaged, which must not hold up the others.
            await self._blobs.probe()
            log.error("a segment cannot be read", segment=segment.key, detail=str(fault), living=len(live))
            return
        new = new_id()
        moved: dict[UUID, BlobRange] = {}
        octets = 0
        for message, body in zip(live, bodies, strict=True):
            moved[message.id] = BlobRange(octets, len(body), message.blob_range.encoding)
            octets += len(body)
        key = f"{SEGMENTS}{new}"
        await self._blobs.put(key, bodies)
        if not await self._segments.move(segment.id, Segment(new, key, octets, ()), moved):
            await self._blobs.delete(key)  # some have died meanwhile: the next round sees the rest
            return
        done.rewritten += 1
        done.octets += segment.octets - octets
        _rewritten.inc()
        _freed.inc(max(0, segment.octets - octets))

    async def _bodies(self, key: str, live: Sequence[LiveMessage]) -> list[bytes]:
        places = [message.blob_range for message in live]
        first = min(place.offset for place in places)
        span = max(place.offset + place.length for place in places) - first
        if span > _SPAN_OCTETS:
            return [await self._blobs.read(key, place.offset, place.length) for place in places]
        octets = await self._blobs.read(key, first, span)
        return [octets[place.offset - first : place.offset - first + place.length] for place in places]

    async def _remove(self, done: Round) -> None:
        if not await self._leads():
            return
        settings, segments = self._settings, self._segments
        old = await segments.long_standing_condemned(settings.collector_grace)
        brake = self._brakes.removal
        held = brake.holds(old, 0 if old <= brake.most(0) else await segments.long_standing())
        for _ in range(_MOST_BATCHES):
            condemned = await segments.condemned(
                settings.collector_grace, settings.collector_batch, long_standing=not held
            )
            for some in batched(condemned, DELETE_PARALLEL, strict=False):
                faults = await at_once(self._blobs.delete, [key for _, key in some])
                await segments.removed(
                    [segment for (segment, _), fault in zip(some, faults, strict=True) if fault is None]
                )
                done.removed += faults.count(None)
                _removed.inc(faults.count(None))
                for fault in faults:
                    if fault is not None:
                        raise fault
            if len(condemned) < settings.collector_batch or not await self._leads():
                return

    async def _forget_long_senders(self, done: Round) -> None:
        for _ in range(_MOST_BATCHES):
            if not await self._leads():
                return
            count = await self._segments.forget_long_senders(_LONG_SENDER_DAYS, _LONG_SENDERS_AT_ONCE)
            done.long_senders += count
            if count < _LONG_SENDERS_AT_ONCE:
                return

    async def _forget(self, done: Round) -> None:
        for _ in range(_MOST_BATCHES):
            if not await self._leads():
                return
            count = await self._segments.forget_messages(
                self._settings.collector_forget_age, self._settings.collector_batch
            )
            done.forgotten += count
            _forgotten.inc(count)
            if count < self._settings.collector_batch:
                return

    async def _sweep(self, done: Round) -> None:
        swept = await self._orphans.sweep(self._leads)
        done.orphans, done.rescued, done.discarded = swept.orphans, swept.rescued, swept.discarded
