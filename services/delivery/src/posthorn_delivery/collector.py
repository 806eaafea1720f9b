"""The collector: removes blobs that no message refers to.

Rules:

- One process collects at a time, under a lease that it renews from batch to batch; losing it ends
  the round.
- A segment is condemned first, in one transaction that also redirects its live messages. Its blob
  is deleted a grace period later, and only then its row. A crash at any point leaves work for the
  next round, never a message without its body.
- Mostly dead segments are rewritten, each to one new segment, each body as it is stored; old ones
  with any dead bytes as well, since what is deleted must be gone some day. The new segment is young,
  so this happens to the same bodies once in that time at most. A blob under ``bodies/`` holds one
  message, so it is never rewritten.
- Nothing is removed unless the stores are known to belong together (ADR 18), which is checked
  before each batch. A brake holds when too many segments older than a day would be removed at once.
- Blobs that no row names are handled in ``orphans``.
- A round also deletes unused rows: messages without references, expired long senders.
- A fault of a part ends the round; the next one continues.
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
    "posthorn_delivery_collector_condemned_total",
    "Segments marked for removal, without live messages",
)
_rewritten = Counter(
    "posthorn_delivery_collector_rewritten_total", "Segments rewritten without their dead messages"
)
_removed = Counter("posthorn_delivery_collector_removed_total", "Segments whose blob was removed")
_freed = Counter(
    "posthorn_delivery_collector_freed_bytes_total",
    "Bytes of blobs marked for removal, less those rewritten",
)
_forgotten = Counter(
    "posthorn_delivery_collector_forgotten_total",
    "Messages without references whose rows were deleted",
)
_faults = Counter(
    "posthorn_delivery_collector_faults_total", "Rounds ended by a fault, by part", ["part"]
)

_MOST_BATCHES = 50  # maximum per step and round
_LONG_SENDER_DAYS = VALID_DAYS + 2
"""Days after the last address was made: its validity, and one for clock differences."""
_LONG_SENDERS_AT_ONCE = 2000
_SPAN_OCTETS = 16 * 1024**2  # live bodies this close together are read at once


@dataclass(slots=True)
class Round:
    """Result of a round."""

    condemned: int = 0
    rewritten: int = 0
    removed: int = 0
    octets: int = 0
    """Bytes freed once the condemned blobs are deleted."""
    orphans: int = 0
    """Moved to the trash."""
    rescued: int = 0
    """Moved back from it."""
    discarded: int = 0
    """Deleted from it."""
    forgotten: int = 0
    long_senders: int = 0
    """Stored senders that no valid address names (ADR 27)."""


@dataclass(frozen=True, slots=True)
class CollectorBrakes:
    """What may be removed without an operator's release."""

    orphans: Brake
    removal: Brake

    @classmethod
    def from_settings(
        cls, settings: CollectorSettings, released: Callable[[], bool] = lambda: False
    ) -> CollectorBrakes:
        """Make the brakes from the settings."""
        return cls(
            Brake(
                "orphans",
                settings.collector_orphan_most_share,
                settings.collector_orphan_most,
                released,
            ),
            Brake(
                "removal",
                settings.collector_removal_most_share,
                settings.collector_removal_most,
                released,
            ),
        )


class Collector:
    """Removes unreferenced blobs. ``backlog`` measures INGEST and DEAD.

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
        self._brakes = brakes or CollectorBrakes.from_settings(settings)
        self._orphans = Orphans(segments, blobs, backlog, settings, self._brakes.orphans, clock)

    async def run(self) -> None:
        """Collect until cancelled; run as a supervised task."""
        while True:
            try:
                done = await self.collect_once()
                if done != Round():
                    log.info("collected", **asdict(done))
            except Unavailable as fault:
                _faults.labels(fault.part).inc()
                log.warning("collection round ended early", fault=fault)
            await asyncio.sleep(self._settings.collector_interval_seconds)

    async def collect_once(self) -> Round:
        """Do one round, if this process leads; return what was done. Raises Unavailable."""
        done = Round()
        for step in (
            self._condemn,
            self._remove,
            self._forget,
            self._forget_long_senders,
            self._sweep,
            self._rewrite,  # last: on a full disk it cannot, and what frees space must be done
        ):
            await step(done)
        return done

    async def _leads(self) -> bool:
        if not await self._segments.lead(self._settings.collector_interval_seconds + 60):
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
            before = done.rewritten
            found = await self._segments.mostly_dead(
                settings.collector_live_share,
                settings.collector_rewrite_age_seconds,
                settings.collector_batch,
            )
            await self._rewrite_each(found, done)
            if len(found) < settings.collector_batch or done.rewritten == before:
                break
        # one batch a round: there may be any number, and none is urgent
        if await self._leads():
            old = await self._segments.partly_dead(
                settings.collector_erase_seconds, settings.collector_batch
            )
            await self._rewrite_each(old, done)

    async def _rewrite_each(self, segments: Sequence[DeadSegment], done: Round) -> None:
        for segment in segments:
            if segment.live_octets and not segment.key.startswith(BODIES):
                await self._rewrite_one(segment, done)

    async def _rewrite_one(self, segment: DeadSegment, done: Round) -> None:
        live = await self._segments.live_messages(segment.id)
        if not live:  # the last of them was deleted a moment ago
            await self._condemn_one(segment, done)
            return
        try:
            bodies = await self._bodies(segment.key, live)
        except Unavailable as fault:
            # Either the store is down, which ends the round, or this blob is damaged, which must
            # not hold up the others.
            await self._blobs.probe()
            log.error(
                "a segment cannot be read", segment=segment.key, fault=fault, living=len(live)
            )
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
            # some were deleted meanwhile: the next round handles the rest
            await self._blobs.delete(key)
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
        return [
            octets[place.offset - first : place.offset - first + place.length] for place in places
        ]

    async def _remove(self, done: Round) -> None:
        if not await self._leads():
            return
        settings, segments = self._settings, self._segments
        old = await segments.long_standing_condemned(settings.collector_grace_seconds)
        brake = self._brakes.removal
        held = brake.holds(old, 0 if old <= brake.most(0) else await segments.long_standing())
        for _ in range(_MOST_BATCHES):
            condemned = await segments.condemned(
                settings.collector_grace_seconds, settings.collector_batch, long_standing=not held
            )
            for some in batched(condemned, DELETE_PARALLEL, strict=False):
                faults = await at_once(self._blobs.delete, [key for _, key in some])
                await segments.removed(
                    [
                        segment
                        for (segment, _), fault in zip(some, faults, strict=True)
                        if fault is None
                    ]
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
            count = await self._segments.forget_long_senders(
                _LONG_SENDER_DAYS, _LONG_SENDERS_AT_ONCE
            )
            done.long_senders += count
            if count < _LONG_SENDERS_AT_ONCE:
                return

    async def _forget(self, done: Round) -> None:
        for _ in range(_MOST_BATCHES):
            if not await self._leads():
                return
            count = await self._segments.forget_messages(
                self._settings.collector_forget_age_seconds, self._settings.collector_batch
            )
            done.forgotten += count
            _forgotten.inc(count)
            if count < self._settings.collector_batch:
                return

    async def _sweep(self, done: Round) -> None:
        swept = await self._orphans.sweep(self._leads)
        done.orphans, done.rescued, done.discarded = swept.orphans, swept.rescued, swept.discarded
