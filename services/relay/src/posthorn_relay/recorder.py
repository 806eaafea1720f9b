"""Outcomes on their way to the queue: what gathers while one transaction is under way goes in the next.

From the remote host's 250 until it is recorded a message may be sent again, should this relay die: SMTP cannot tell (RFC 1047).
``posthorn_relay_record_seconds`` is that window.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from uuid import UUID

import structlog
from prometheus_client import Counter, Gauge, Histogram

from posthorn.ports.errors import Unavailable
from posthorn.ports.queue import Outcome, Queue

log = structlog.get_logger()

MOST_WAITING = 5000
"""Outcomes that may wait before nothing new is taken from the queue."""
BATCH = 500
"""Outcomes of one transaction at most."""
_PAUSE = 0.5
_APART = 0.05  # while there is much to record; a lone outcome is recorded at once

_window = Histogram(
    "posthorn_relay_record_seconds",
    "From the remote host's answer to its being recorded: the window in which a crash sends a message twice",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
_waiting = Gauge("posthorn_relay_unrecorded_outcomes", "Outcomes that wait to be recorded")
_lost = Counter(
    "posthorn_relay_lost_outcomes_total", "Outcomes that came too late: the recipient was no longer this relay's"
)


class Recorder:
    """Records outcomes in batches. ``told``: called once outcomes with a notice are recorded.

    ``uncertain``: called with the relay's id when nobody knows whether a batch was recorded. It is recorded again; until then
    the relay must claim nothing under that id, or a recipient given back and claimed anew would be given back twice.
    """

    def __init__(self, queue: Queue, told: Callable[[], None], uncertain: Callable[[UUID], None]) -> None:
        self._queue = queue
        self._told = told
        self._uncertain = uncertain
        self._outcomes: deque[tuple[UUID, Outcome, float]] = deque()
        self._under_way: UUID | None = None
        self._some = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._idle = asyncio.Event()
        self._idle.set()

    def put(self, relay: UUID, outcome: Outcome) -> None:
        """Take an outcome that has just come about."""
        self._outcomes.append((relay, outcome, time.monotonic()))
        self._some.set()
        self._idle.clear()
        if len(self._outcomes) >= MOST_WAITING:
            self._room.clear()

    async def room(self) -> None:
        """Wait while too many outcomes wait."""
        await self._room.wait()

    async def settled(self, seconds: float) -> bool:
        """Wait until everything is recorded; False when it was not in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        return self._idle.is_set()

    def holds(self, relay: UUID) -> bool:
        """Whether an outcome of the relay of this id is not recorded yet."""
        return self._under_way == relay or any(one[0] == relay for one in self._outcomes)

    def forget(self, relay: UUID) -> None:
        """The relay of this id was taken for dead: nothing of its is recorded any more."""
        kept = [one for one in self._outcomes if one[0] != relay]
        _lost.inc(len(self._outcomes) - len(kept))
        self._outcomes = deque(kept)

    async def run(self) -> None:
        """Record until cancelled. What the store cannot take now stays and is tried again."""
        recorded, began = 0, -_APART
        while True:
            await self._some.wait()
            if recorded > 1:
                await asyncio.sleep(began + _APART - time.monotonic())
            began = time.monotonic()
            relay = self._outcomes[0][0] if self._outcomes else None
            batch: list[tuple[UUID, Outcome, float]] = []
            while self._outcomes and len(batch) < BATCH and self._outcomes[0][0] == relay:
                batch.append(self._outcomes.popleft())
            self._under_way = relay
            try:
                if relay and batch:
                    await self._record(relay, batch)
            except Unavailable as fault:
                log.warning("outcomes are not recorded yet", outcomes=len(batch), part=fault.part, detail=str(fault))
                assert relay is not None
                self._uncertain(relay)
                self._outcomes.extendleft(reversed(batch))
                await asyncio.sleep(_PAUSE)
            except asyncio.CancelledError:
                self._outcomes.extendleft(reversed(batch))
                raise
            self._under_way = None
            recorded = len(batch)
            _waiting.set(len(self._outcomes))
            if len(self._outcomes) < MOST_WAITING // 2:
                self._room.set()
            if not self._outcomes:
                self._some.clear()
                self._idle.set()

    async def _record_bare(self, relay: UUID, outcome: Outcome) -> None:
        """What is said beside the outcome may be what cannot be written; the outcome itself must be."""
        log.error("an outcome cannot be recorded as it is", job=outcome.job, state=outcome.state.value)
        bare = replace(outcome, suppress="", reply="", host="", tls="")
        try:
            await self._queue.record(relay, [bare])
        except Unavailable:
            raise
        except Exception:
            log.exception("an outcome cannot be recorded", job=outcome.job, state=outcome.state.value)

    async def _record(self, relay: UUID, batch: list[tuple[UUID, Outcome, float]]) -> None:
        try:
            ours = await self._queue.record(relay, [outcome for _, outcome, _ in batch])
        except Unavailable:
            raise
        except Exception:  # the one that cannot be written must not hold up the others
            if len(batch) == 1:
                await self._record_bare(relay, batch[0][1])
                return
            for one in batch:
                await self._record(relay, [one])
            return
        now = time.monotonic()
        for _, outcome, at in batch:
            _window.observe(now - at)
            if outcome.job not in ours:
                _lost.inc()
                log.warning("an outcome came too late", job=outcome.job, state=outcome.state.value)
        if any(outcome.notice for _, outcome, _ in batch):
            self._told()
