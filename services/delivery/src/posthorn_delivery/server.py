"""The edge: takes batches from the stream and hands them to the deliverer; drains; measures what waits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime

import structlog
from prometheus_client import Gauge

from posthorn.ports.faults import Unavailable
from posthorn.ports.ingest import IngestSource
from posthorn.runtime.process import Process
from posthorn_delivery.service import Deliverer

log = structlog.get_logger()

_waiting = Gauge("posthorn_delivery_backlog_messages", "Messages on INGEST, those being delivered included")
_waiting_octets = Gauge("posthorn_delivery_backlog_octets", "Octets on INGEST")
_oldest = Gauge("posthorn_delivery_backlog_oldest_seconds", "Age of the oldest message on INGEST; 0 when it is empty")
_dead = Gauge("posthorn_delivery_dead_messages", "Messages parked on DEAD")

_MEASURE_EVERY = 5.0
_FIRST_PAUSE = 0.1
_LAST_PAUSE = 1.0


DENSE = 12
"""Messages of a batch from which on cost matters more than a few hundredths of a second."""


class Intake:
    """The loops that take and deliver."""

    def __init__(
        self,
        source: IngestSource,
        deliverer: Deliverer,
        limits: tuple[int, int, int],
        spacing: float = 0.0,
        permitted: Callable[[], bool] = lambda: True,
    ) -> None:
        """``limits``: most messages of a batch, about its most octets, and batches in flight at a time.

        ``spacing``: seconds from the start of a batch to the start of the next, while batches are less than half full (ADR 11);
        twice as long after a batch of DENSE messages. ``permitted``: while it says no, nothing is taken.
        """
        self._source = source
        self._deliverer = deliverer
        self._messages, self._octets, self._parallel = limits
        self._spacing = spacing
        self._permitted = permitted
        self._draining = asyncio.Event()
        self._taking: set[asyncio.Task[None]] = set()
        self._loops: list[asyncio.Task[None]] = []

    async def run(self) -> None:
        """Take and deliver until drained. A fault that nothing foresaw ends it."""
        async with asyncio.TaskGroup() as group:
            self._loops = [group.create_task(self._loop(), name=f"intake {n}") for n in range(self._parallel)]

    async def drain(self, grace: float) -> None:
        """Take nothing more; finish what is at hand within ``grace`` seconds, give back the rest."""
        self._draining.set()
        self._deliverer.stop()
        for task in self._taking:
            task.cancel()
        if self._loops:
            _, late = await asyncio.wait(self._loops, timeout=grace)
            for task in late:
                log.warning("a batch is given back at the end of the grace period")
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def measure(self) -> None:
        """Keep the gauges of what waits, until cancelled."""
        while True:
            with suppress(Unavailable):
                backlog = await self._source.backlog()
                _waiting.set(backlog.messages)
                _waiting_octets.set(backlog.octets)
                _dead.set(backlog.dead)
                _oldest.set((datetime.now(UTC) - backlog.oldest).total_seconds() if backlog.oldest else 0)
            await asyncio.sleep(_MEASURE_EVERY)

    async def _loop(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        pause, said_at = _FIRST_PAUSE, -60.0
        while not self._draining.is_set():
            if not self._permitted():
                await self._let_gather(_FIRST_PAUSE)
                continue
            self._taking.add(task)
            try:
                batch = await self._source.take(self._messages, self._octets)
                pause = _FIRST_PAUSE
            except Unavailable as fault:
                if time.monotonic() - said_at > 10:
                    said_at = time.monotonic()
                    log.warning("nothing can be taken", part=fault.part, detail=str(fault))
                await asyncio.sleep(pause)
                pause = min(_LAST_PAUSE, pause * 2)
                continue
            except asyncio.CancelledError:
                if self._draining.is_set():
                    return
                raise
            finally:
                self._taking.discard(task)
            began = time.monotonic()
            await self._deliverer.deliver(batch)
            if len(batch) < self._messages // 2:
                spacing = self._spacing * (2 if len(batch) >= DENSE else 1)
                await self._let_gather(began + spacing - time.monotonic())

    async def _let_gather(self, seconds: float) -> None:
        """Let messages gather after a batch. Whoever comes after a quiet moment never meets this: it is over by then."""
        if seconds > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._draining.wait()


@asynccontextmanager
async def taking_in(process: Process, intake: Intake) -> AsyncIterator[None]:
    """Run the intake as part of the process. On leaving, it drains."""
    await process.task(intake.measure(), "measure")
    running = await process.task(intake.run(), "intake")
    try:
        yield
    finally:
        await intake.drain(process.settings.grace_seconds)
        with suppress(asyncio.CancelledError):
            await asyncio.wait([running])
