"""The collector: takes away the blobs that no message needs any more.

Rules:

- One process collects at a time, under a lease that it renews from batch to batch; losing it ends the round.
- A segment is condemned first, in one transaction that also points its last living messages elsewhere. Its blob goes a grace
  period later, and only then its row. A crash at any point leaves work for the next round, never a message without its octets.
- Segments mostly dead are written anew, each to one new segment, each body as it is stored. A blob under ``bodies/`` holds one
  message, so it is never written anew.
- A blob without a segment row is an orphan when it is old: what a running batch has just written is young.
- A blob under ``bodies/`` has no row until its message is placed, and the message may lie on INGEST for long or on DEAD for
  ever. A retry from DEAD gives a message a new time on INGEST, and so does the retry lane, so times alone prove nothing. Such a
  blob goes only when it was without a row on two searches, and on both of them DEAD and the retry lane were empty, and INGEST
  moved and held nothing as old as the blob.
- A fault of a part ends the round; the next one goes on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from itertools import batched
from uuid import UUID

import structlog
from prometheus_client import Counter

from posthorn.ports.blobs import BODIES, SEGMENTS, Blobs
from posthorn.ports.clock import Clock
from posthorn.ports.faults import Unavailable
from posthorn.ports.ingest import Backlog
from posthorn.ports.mailboxes import DeadSegment, LiveMessage, Placement, Segment, Storeroom
from posthorn.runtime.ids import new_id
from posthorn_delivery.collector_settings import CollectorSettings

log = structlog.get_logger()

_condemned = Counter(
    "posthorn_delivery_collector_condemned_total", "Segments marked for removal, nothing in them alive"
)
_rewritten = Counter("posthorn_delivery_collector_rewritten_total", "Segments written anew without their dead")
_removed = Counter("posthorn_delivery_collector_removed_total", "Segments whose blob was removed")
_freed = Counter(
    "posthorn_delivery_collector_freed_octets_total", "Octets of blobs marked for removal, less those written anew"
)
_orphans = Counter("posthorn_delivery_collector_orphans_total", "Blobs removed that no segment named")
_forgotten = Counter(
    "posthorn_delivery_collector_forgotten_total", "Messages without references whose rows were deleted"
)
_faults = Counter("posthorn_delivery_collector_faults_total", "Rounds that a fault cut short, by part", ["part"])

_MOST_BATCHES = 50  # of one step in one round
_DELETE_PARALLEL = 8
_SPAN_OCTETS = 16 * 1024**2  # living bodies that lie this close together come with one read
_SWEEP_PAGE = 500
_MOST_SUSPECTS = 10_000
_SLACK = timedelta(hours=1)
_LINE_MOVES = timedelta(minutes=10)


@dataclass(slots=True)
class Round:
    """What one round did."""

    condemned: int = 0
    rewritten: int = 0
    removed: int = 0
    octets: int = 0
    """Octets set free once the condemned blobs are gone."""
    orphans: int = 0
    forgotten: int = 0


class Collector:
    """Collects what is dead. ``backlog`` tells what waits on INGEST and DEAD."""

    def __init__(
        self,
        storeroom: Storeroom,
        blobs: Blobs,
        backlog: Callable[[], Awaitable[Backlog]],
        settings: CollectorSettings,
        clock: Clock = time.time,
    ) -> None:
        self._storeroom = storeroom
        self._blobs = blobs
        self._backlog = backlog
        self._settings = settings
        self._clock = clock
        self._next_sweep = 0.0
        self._suspects: dict[str, float] = {}

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
        for step in (self._condemn, self._rewrite, self._remove, self._forget, self._sweep):
            await step(done)
        return done

    async def _leads(self) -> bool:
        return await self._storeroom.lead(self._settings.collector_interval + 60)

    async def _condemn(self, done: Round) -> None:
        for _ in range(_MOST_BATCHES):
            if not await self._leads():
                return
            dead = await self._storeroom.mostly_dead(0.0, 0.0, self._settings.collector_batch)
            before = done.condemned
            for segment in dead:
                await self._condemn_one(segment, done)
            if len(dead) < self._settings.collector_batch or done.condemned == before:
                return

    async def _condemn_one(self, segment: DeadSegment, done: Round) -> None:
        if await self._storeroom.move(segment.id, None, {}):
            done.condemned += 1
            done.octets += segment.octets
            _condemned.inc()
            _freed.inc(segment.octets)

    async def _rewrite(self, done: Round) -> None:
        settings = self._settings
        for _ in range(_MOST_BATCHES):
            if not await self._leads():
                return
            found = await self._storeroom.mostly_dead(
                settings.collector_live_share, settings.collector_rewrite_age, settings.collector_batch
            )
            before = done.rewritten
            for segment in found:
                if segment.live_octets and not segment.key.startswith(BODIES):
                    await self._rewrite_one(segment, done)
            if len(found) < settings.collector_batch or done.rewritten == before:
                return

    async def _rewrite_one(self, segment: DeadSegment, done: Round) -> None:
        live = await self._storeroom.live_messages(segment.id)
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
        moved: dict[UUID, Placement] = {}
        octets = 0
        for message, body in zip(live, bodies, strict=True):
            moved[message.id] = Placement(octets, len(body), message.placement.encoding)
            octets += len(body)
        key = f"{SEGMENTS}{new}"
        await self._blobs.put(key, bodies)
        if not await self._storeroom.move(segment.id, Segment(new, key, octets, ()), moved):
            await self._blobs.delete(key)  # some have died meanwhile: the next round sees the rest
            return
        done.rewritten += 1
        done.octets += segment.octets - octets
        _rewritten.inc()
        _freed.inc(max(0, segment.octets - octets))

    async def _bodies(self, key: str, live: Sequence[LiveMessage]) -> list[bytes]:
        places = [message.placement for message in live]
        first = min(place.offset for place in places)
        span = max(place.offset + place.length for place in places) - first
        if span > _SPAN_OCTETS:
            return [await self._blobs.read(key, place.offset, place.length) for place in places]
        octets = await self._blobs.read(key, first, span)
        return [octets[place.offset - first : place.offset - first + place.length] for place in places]

    async def _remove(self, done: Round) -> None:
        for _ in range(_MOST_BATCHES):
            if not await self._leads():
                return
            condemned = await self._storeroom.condemned(self._settings.collector_grace, self._settings.collector_batch)
            for some in batched(condemned, _DELETE_PARALLEL, strict=False):
                faults = await self._delete([key for _, key in some])
                await self._storeroom.removed(
                    [segment for (segment, _), fault in zip(some, faults, strict=True) if fault is None]
                )
                done.removed += faults.count(None)
                _removed.inc(faults.count(None))
                for fault in faults:
                    if fault is not None:
                        raise fault
            if len(condemned) < self._settings.collector_batch:
                return

    async def _delete(self, keys: Sequence[str]) -> list[Unavailable | None]:
        async def delete(key: str) -> Unavailable | None:
            try:
                await self._blobs.delete(key)
            except Unavailable as fault:
                return fault
            return None

        return await asyncio.gather(*map(delete, keys))

    async def _forget(self, done: Round) -> None:
        for _ in range(_MOST_BATCHES):
            if not await self._leads():
                return
            count = await self._storeroom.forget_messages(
                self._settings.collector_forget_age, self._settings.collector_batch
            )
            done.forgotten += count
            _forgotten.inc(count)
            if count < self._settings.collector_batch:
                return

    async def _sweep(self, done: Round) -> None:
        now = self._clock()
        if now < self._next_sweep or not await self._leads():
            return
        old = datetime.fromtimestamp(now, UTC) - timedelta(seconds=self._settings.collector_orphan_age)
        # before the search: a message that was parked or retried since then is seen by the next one
        bodies_old = self._bodies_may_go_before(old, await self._backlog())
        async for keys in self._unknown(SEGMENTS, old):
            await self._remove_orphans(keys, done)
        suspects: dict[str, float] = {}
        if bodies_old is not None:
            async for keys in self._unknown(BODIES, bodies_old):
                since = {key: self._suspects.get(key, now) for key in keys}
                certain = [key for key in keys if now - since[key] >= self._settings.collector_orphan_age]
                await self._remove_orphans(certain, done)
                if len(suspects) < _MOST_SUSPECTS:
                    suspects |= {key: since[key] for key in keys if key not in certain}
        self._suspects = suspects
        self._next_sweep = now + self._settings.collector_orphan_interval

    def _bodies_may_go_before(self, old: datetime, backlog: Backlog) -> datetime | None:
        """How old a body without a row must be for no waiting message to refer to it; None when that cannot be told."""
        if backlog.dead or backlog.oldest_dead is not None or backlog.retrying:
            log.info(
                "bodies without a row stay while messages are parked or set aside",
                parked=backlog.dead,
                set_aside=backlog.retrying,
            )
            return None
        if backlog.oldest is None:
            return old
        if datetime.fromtimestamp(self._clock(), UTC) - backlog.oldest > _LINE_MOVES:
            log.info("bodies without a row stay while the stream does not move", waiting=backlog.messages)
            return None
        return min(old, backlog.oldest - _SLACK)

    async def _unknown(self, prefix: str, old: datetime) -> AsyncIterator[Sequence[str]]:
        """Keys of blobs last changed before that time which no segment names, in pages."""
        page: list[str] = []
        async for blob in self._blobs.list(prefix):
            if blob.modified_at < old:
                page.append(blob.key)
            if len(page) >= _SWEEP_PAGE:
                if not await self._leads():
                    return
                yield sorted(await self._storeroom.unknown_keys(page))
                page.clear()
        if page:
            yield sorted(await self._storeroom.unknown_keys(page))

    async def _remove_orphans(self, keys: Sequence[str], done: Round) -> None:
        for some in batched(keys, _DELETE_PARALLEL, strict=False):
            faults = await self._delete(some)
            done.orphans += faults.count(None)
            _orphans.inc(faults.count(None))
            log.info("orphans removed", keys=[key for key, fault in zip(some, faults, strict=True) if fault is None])
            for fault in faults:
                if fault is not None:
                    raise fault
