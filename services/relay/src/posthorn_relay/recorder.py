"""Records outcomes in the queue in batches: those that gather during one transaction go in the
next.

From the remote host's 250 until the outcome is recorded, a message may be sent again if this relay
dies: SMTP cannot prevent it (RFC 1047). ``posthorn_relay_record_seconds`` measures that window.
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

from posthorn.model.outbound import QueueState
from posthorn.ports.errors import Unavailable
from posthorn.ports.queue import Outcome, Queue

log = structlog.get_logger()

MAX_WAITING = 5000
"""Outcomes that may wait before nothing new is claimed."""
BATCH = 500
"""Limit of outcomes in one transaction."""
_RETRY_SECONDS = 0.5
_MIN_INTERVAL = 0.05  # seconds, while there is much to record; a lone outcome is recorded at once

_window = Histogram(
    "posthorn_relay_record_seconds",
    "From the remote host's reply until it is recorded: the window in which a crash sends a message twice",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
_waiting = Gauge("posthorn_relay_unrecorded_outcomes", "Outcomes waiting to be recorded")
_lost = Counter(
    "posthorn_relay_lost_outcomes_total",
    "Outcomes that came too late: the recipient was no longer claimed by this relay",
)


class OutcomeRecorder:
    """Records outcomes in batches. ``on_dsn_due`` is called once outcomes with a DSN are recorded.

    ``on_uncertain`` is called with the relay's id when it is not known whether a batch was
    recorded; the relay must then claim nothing more under that id, and leave it. The batch is
    recorded again without what it releases: another worker of this relay may have claimed that
    since, and would lose it while it sends. Where it is not released yet, the id's end releases it.
    """

    def __init__(
        self, queue: Queue, on_dsn_due: Callable[[], None], on_uncertain: Callable[[UUID], None]
    ) -> None:
        self._queue = queue
        self._on_dsn_due = on_dsn_due
        self._on_uncertain = on_uncertain
        self._outcomes: deque[tuple[UUID, Outcome, float]] = deque()
        self._in_progress: UUID | None = None
        self._some = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._idle = asyncio.Event()
        self._idle.set()

    def put(self, relay: UUID, outcome: Outcome) -> None:
        """Take a new outcome."""
        self._outcomes.append((relay, outcome, time.monotonic()))
        self._some.set()
        self._idle.clear()
        if len(self._outcomes) >= MAX_WAITING:
            self._room.clear()

    async def room(self) -> None:
        """Wait until there is room for more outcomes."""
        await self._room.wait()

    async def settled(self, seconds: float) -> bool:
        """Wait until everything is recorded; return False if that takes longer than ``seconds``."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        return self._idle.is_set()

    def holds(self, relay: UUID) -> bool:
        """Return whether an outcome of this relay id is not recorded yet."""
        return self._in_progress == relay or any(one[0] == relay for one in self._outcomes)

    def forget(self, relay: UUID) -> None:
        """Drop the outcomes of a relay id that was reaped."""
        kept = [one for one in self._outcomes if one[0] != relay]
        _lost.inc(len(self._outcomes) - len(kept))
        self._outcomes = deque(kept)

    async def run(self) -> None:
        """Record until cancelled. A batch that the store does not take now is tried again."""
        recorded, began = 0, -_MIN_INTERVAL
        while True:
            await self._some.wait()
            if recorded > 1:
                await asyncio.sleep(began + _MIN_INTERVAL - time.monotonic())
            began = time.monotonic()
            relay = self._outcomes[0][0] if self._outcomes else None
            batch: list[tuple[UUID, Outcome, float]] = []
            while self._outcomes and len(batch) < BATCH and self._outcomes[0][0] == relay:
                batch.append(self._outcomes.popleft())
            self._in_progress = relay
            recorded = len(batch)
            try:
                if relay and batch:
                    await self._record(relay, batch)
            except Unavailable as fault:
                log.warning(
                    "outcomes are not recorded yet",
                    outcomes=len(batch),
                    fault=fault,
                )
                assert relay is not None
                self._on_uncertain(relay)
                self._outcomes.extendleft(
                    one for one in reversed(batch) if one[1].state is not QueueState.QUEUED
                )
                await asyncio.sleep(_RETRY_SECONDS)
            except asyncio.CancelledError:
                self._outcomes.extendleft(reversed(batch))
                raise
            self._in_progress = None
            _waiting.set(len(self._outcomes))
            if len(self._outcomes) < MAX_WAITING // 2:
                self._room.set()
            if not self._outcomes:
                self._some.clear()
                self._idle.set()

    async def _record_bare(self, relay: UUID, outcome: Outcome) -> None:
        """Record the outcome without its texts, which may be what the store does not take."""
        log.error(
            "an outcome cannot be recorded as it is", job=outcome.job, state=outcome.state.value
        )
        bare = replace(outcome, suppress="", reply="", host="", tls="")
        try:
            await self._queue.record(relay, [bare])
        except Unavailable:
            raise
        except Exception:
            log.exception(
                "an outcome cannot be recorded", job=outcome.job, state=outcome.state.value
            )

    async def _record(self, relay: UUID, batch: list[tuple[UUID, Outcome, float]]) -> None:
        try:
            ours = await self._queue.record(relay, [outcome for _, outcome, _ in batch])
        except Unavailable:
            raise
        except Exception:  # the one that cannot be written must not hold up the others
            if len(batch) == 1:
                await self._record_bare(relay, batch[0][1])
                return
            while batch:  # what is recorded is not recorded again
                await self._record(relay, batch[:1])
                del batch[0]
            return
        now = time.monotonic()
        for _, outcome, at in batch:
            _window.observe(now - at)
            if outcome.job not in ours:
                _lost.inc()
                log.warning("an outcome came too late", job=outcome.job, state=outcome.state.value)
        if any(outcome.notice for _, outcome, _ in batch):
            self._on_dsn_due()
