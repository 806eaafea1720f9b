"""The publisher: carries what Postgres says of addresses into the directory's bucket, and keeps the
two alike.

Theory:

- Changes arrive through the outbox, and only through it. Reconciliation compares both sides without
  a lock and *doubts* what differs, which puts it into the outbox: whatever is written to the bucket
  is read from Postgres under the publisher's lock, so an older state never follows a newer one.
- The bucket is marked as filled only after a comparison that found nothing to repair. A bucket that
  was lost and made anew is not marked; that is looked for every few seconds and repaired at once.
- What is behind is said in the bucket (ADR 22), so that nobody takes an absence for an answer. A
  change that is announced before it is published is marked first (``announce``), after its commit;
  whoever lifts the mark reads its revision, then what the outbox holds, and replaces just that
  revision: a mark that was set meanwhile has another one and stays. So the mark names every change
  that was announced and is not published, whichever process dies. Besides, all that waits is marked
  while there is more than a round to go: it may come from the release before, or be something that
  the bucket has lost.
- While NATS or Postgres does not serve, the outbox keeps what is to be said. After any fault both
  sides are compared again soon, for a write may have landed of which the answer was lost.
- "Not in Postgres" means "not wanted" only in a Postgres that is known to be ours (ADR 18), and a
  comparison that finds many entries to remove finds a fault rather: changes come by the outbox. So
  such entries are removed only when that is certain and the brake lets go; until then they stay,
  and everything else is put right.
- A comparison that fails keeps nothing from being published, and is put off: it reads everything,
  and must not be all that is done.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress

import structlog
from prometheus_client import Counter, Gauge, Histogram

from posthorn.model.directory_entry import Entry
from posthorn.model.unpublished import Unpublished, of_subjects
from posthorn.ports.directory import DirectoryBucket, DirectorySource
from posthorn.ports.errors import Unavailable
from posthorn.runtime.brakes import Brake
from posthorn.runtime.outage import Outage

log = structlog.get_logger()

_AT_ONCE = 128
_FULL_ROUND = 100
"""Entries in a round behind which there are probably more: an eighth of a round is not for
interactive changes."""
_PARALLEL = 64
_POLL_SECONDS = 1.0
_BUSY_SECONDS = 0.02
_CHECK_SECONDS = 5.0
_AFTER_FAULT_SECONDS = 15.0
_MOST_PASSES = 10
_HOPE_SECONDS = 3.0
_MARK_SECONDS = 1.0
_MARK_TRIES = 20
_ANNOUNCE_SECONDS = 3.0
REMOVED_SHARE = 0.01
"""Share of the bucket's entries that one comparison may remove, or REMOVED_LEAST if that is
more."""
REMOVED_LEAST = 100

_published = Counter("posthorn_api_directory_published_total", "Directory entries written")
_repaired = Counter(
    "posthorn_api_directory_repaired_total", "Directory entries that reconciliation found wrong"
)
_reconciled = Counter(
    "posthorn_api_directory_reconciliations_total", "Comparisons of the directory with the database"
)
_faults = Counter(
    "posthorn_api_directory_faults_total", "Rounds of publishing that failed, by part", ["part"]
)
change_seconds = Histogram(
    "posthorn_api_directory_seconds",
    "From a change of an address, but for bulk changes, until smtp-in can see it",
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600, 3600),
)
_stalled = Gauge("posthorn_api_directory_stalled", "1 while publishing fails")
_behind = Gauge(
    "posthorn_api_directory_behind", "1 while the directory is marked as behind with changes"
)
_unmarked = Counter(
    "posthorn_api_directory_unmarked_total",
    "Changes announced that could neither be published nor marked as late",
)


class Publisher:
    """Publishes the directory. One runs in every API process; they take turns by the lock of the
    source."""

    def __init__(
        self,
        source: DirectorySource,
        bucket: DirectoryBucket,
        reconcile_seconds: float = 600.0,
        *,
        certain: Callable[[], Awaitable[None]] | None = None,
        brake: Brake | None = None,
    ) -> None:
        """``certain`` raises Unavailable unless Postgres is known to belong to the other stores;
        None: not checked."""
        self._source = source
        self._bucket = bucket
        self._reconcile_seconds = reconcile_seconds
        self._reconcile_at = 0.0
        self._check_at = 0.0
        self._mark_at = 0.0
        self._marking = asyncio.Lock()
        self._certain = certain
        self._brake = brake
        self._wake = asyncio.Event()
        self._round = asyncio.Event()
        self._waiting = 0
        self._outage = Outage(
            "the directory cannot be published now", "the directory is published again"
        )
        self._compares = True
        self._failing_since = 0.0

    async def run(self) -> None:
        """Publish for ever; a supervised task."""
        while True:
            self._wake.clear()
            alone = True
            try:
                await self._reconcile_when_due()
                self._compares = True
            except Unavailable as fault:
                _faults.labels(fault.part).inc()
                if self._compares:
                    log.warning("the directory cannot be compared now", fault=fault)
                self._compares = False
            try:
                alone = await self.publish()
                self._report(None)
            except Unavailable as fault:
                self._report(fault)
            self._round_ends()
            if self._outage.is_on:
                await asyncio.sleep(_POLL_SECONDS)
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(
                    _POLL_SECONDS if alone or not self._waiting else _BUSY_SECONDS
                ):
                    await self._wake.wait()

    async def wait_published(self, outbox_ids: Sequence[int], timeout: float) -> bool:
        """Wait until the outbox entries are published, at most ``timeout`` seconds, and not once
        publishing has failed for a while.

        Gives whether they are; those that are not are marked, so that mail for them is put off and
        not refused. Never raises: the change is made, and will be published.
        """
        if not outbox_ids or await self._settled(outbox_ids, timeout):
            return True
        try:
            async with asyncio.timeout(_ANNOUNCE_SECONDS):
                await self._join(await self._source.unpublished(outbox_ids))
        except (TimeoutError, Unavailable) as fault:
            self._unmarkable(fault)
        return False

    async def announce(self, subjects: Collection[str]) -> None:
        """Mark subjects whose change is committed and is reported before it is published. Never
        raises."""
        if not subjects:
            return
        self._wake.set()
        try:
            async with asyncio.timeout(_ANNOUNCE_SECONDS):
                await self._join(of_subjects(subjects))
        except (TimeoutError, Unavailable) as fault:
            self._unmarkable(fault)

    async def _settled(self, outbox_ids: Sequence[int], timeout: float) -> bool:
        self._waiting += 1
        try:
            async with asyncio.timeout(timeout):
                while (
                    not self._outage.is_on or time.monotonic() - self._failing_since < _HOPE_SECONDS
                ):
                    this_round = self._round
                    self._wake.set()
                    await this_round.wait()
                    if await self._source.published(outbox_ids):
                        return True
        except (TimeoutError, Unavailable):
            pass
        finally:
            self._waiting -= 1
        return False

    async def publish(self) -> bool:
        """Publish what the outbox holds. False while another process does so. Raises
        Unavailable."""
        is_more = False
        while True:
            if is_more and (now := time.monotonic()) >= self._mark_at:
                await self._mark_all()
                self._mark_at = time.monotonic() + max(_MARK_SECONDS, 10 * (time.monotonic() - now))
            async with self._source.pending(_AT_ONCE) as changes:
                if changes is None:
                    return False
                await self._put(changes)
            self._round_ends()
            if not changes:
                await self._lift()
                return True
            is_more = len(changes) >= _FULL_ROUND

    def _round_ends(self) -> None:
        """Have those that wait for their change look again: it may be published long before all
        that waits is."""
        finished, self._round = self._round, asyncio.Event()
        finished.set()

    async def _join(self, unpublished: Unpublished) -> None:
        """Add to the mark. It is written even if it covers all of this already: its revision
        keeps it from being lifted."""
        async with self._marking:
            for _ in range(_MARK_TRIES if unpublished else 0):
                revision, before = await self._bucket.behind()
                if await self._bucket.mark_behind(before.joined(unpublished), revision):
                    _behind.set(1)
                    return
            if unpublished:
                raise Unavailable("directory", "others change the mark all the time")

    async def _mark_all(self) -> None:
        """Say that all that waits is late. What others have marked stays, as of now it may not
        be in the outbox that was read."""
        await self._join(await self._source.unpublished())

    async def _lift(self) -> None:
        """Take out of the mark what is published."""
        revision, before = await self._bucket.behind()  # before the outbox is read; see above
        if before and (still := await self._source.unpublished()) != before:
            await self._bucket.mark_behind(still, revision)
            before = still
        _behind.set(bool(before))

    def _unmarkable(self, fault: Exception) -> None:
        _unmarked.inc()
        log.warning(
            "a change is neither published nor marked as late",
            detail=f"{type(fault).__name__}: {fault}",
        )

    async def reconcile(self) -> int:
        """Compare both sides and publish what differs, until nothing does; then mark the bucket as
        filled.

        Gives how many entries were wrong. Raises Unavailable.
        """
        repaired = 0
        for _ in range(_MOST_PASSES):
            filled = await self._bucket.is_filled()
            wrong, kept = await self._differences()
            if not wrong and not kept and not filled:
                await self._bucket.mark_filled()
                log.info("the directory is filled")
            if not wrong:
                break
            repaired += len(wrong)
            await self._publish_anew(wrong)
            if filled:
                break
        _reconciled.inc()
        if repaired:
            _repaired.inc(repaired)
            log.warning("the directory was put right", entries=repaired)
        return repaired

    async def rebuild(self) -> int:
        """Write every entry anew, whatever the bucket says, and take out what should not be there;
        returns how many entries.

        The bucket answers meanwhile: nothing is removed that is right. Raises Unavailable.
        """
        subjects = set(await self._bucket.entries())
        async for subject, _ in self._source.everything():
            subjects.add(subject)
        await self._publish_anew(subjects)
        await self.reconcile()
        return len(subjects)

    async def _publish_anew(self, subjects: Collection[str]) -> None:
        await self._source.recheck(subjects)
        while not await self.publish():  # noqa: ASYNC110 - another process publishes, and no event tells of that
            await asyncio.sleep(_BUSY_SECONDS)

    async def _differences(self) -> tuple[list[str], int]:
        """Return what is to be published anew, and how many entries stay that Postgres does not
        know."""
        entries = await self._bucket.entries()
        total = len(entries)
        wrong = [
            subject
            async for subject, entry in self._source.everything()
            if entries.pop(subject, None) != entry
        ]
        if await self._may_remove(len(entries), total):
            return wrong + list(entries), 0
        return wrong, len(entries)

    async def _may_remove(self, unknown: int, of: int) -> bool:
        if unknown and self._certain is not None:
            try:
                await self._certain()
            except Unavailable as fault:
                log.warning(
                    "entries that Postgres does not know stay for now",
                    entries=unknown,
                    fault=fault,
                )
                return False
        return self._brake is None or not self._brake.holds(unknown, of)

    async def _reconcile_when_due(self) -> None:
        now = time.monotonic()
        if now >= self._check_at and not await self._bucket.is_filled():
            self._reconcile_at = now
        if now >= self._check_at:
            self._check_at = now + _CHECK_SECONDS
        if now >= self._reconcile_at:
            pause = _AFTER_FAULT_SECONDS
            try:
                await self.reconcile()
                pause = self._reconcile_seconds
            finally:
                self._reconcile_at = time.monotonic() + pause

    async def _put(self, changes: Mapping[str, Entry | None]) -> None:
        """Write the entries, several at a time. Returns, or raises the first fault, when none is
        on its way any more."""
        waiting = list(changes.items())
        faults: list[Unavailable] = []

        async def work() -> None:
            while waiting and not faults:
                subject, entry = waiting.pop()
                try:
                    await self._bucket.put(subject, entry)
                    _published.inc()
                except Unavailable as fault:
                    faults.append(fault)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(_PARALLEL, len(waiting))):
                group.create_task(work())
        if faults:
            raise faults[0]

    def _report(self, fault: Unavailable | None) -> None:
        if fault is not None:
            _faults.labels(fault.part).inc()
            self._reconcile_at = min(self._reconcile_at, time.monotonic() + _AFTER_FAULT_SECONDS)
            if self._outage.begin(fault=fault):
                self._failing_since = time.monotonic()
        else:
            self._outage.end()
        _stalled.set(self._outage.is_on)
