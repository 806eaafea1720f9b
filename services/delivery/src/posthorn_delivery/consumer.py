"""The consumer of the stream: fetches batches, passes them to the deliverer, drains, and
measures the backlog."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime

import structlog
from prometheus_client import Gauge

from posthorn.ports.errors import Unavailable
from posthorn.ports.ingest import Backlog, Delivery, IngestSource
from posthorn.runtime.process import Process
from posthorn_delivery.deliverer import Deliverer

log = structlog.get_logger()

_waiting = Gauge(
    "posthorn_delivery_backlog_messages", "Messages on INGEST, including those in flight"
)
_waiting_octets = Gauge("posthorn_delivery_backlog_bytes", "Bytes on INGEST")
_oldest = Gauge(
    "posthorn_delivery_backlog_oldest_seconds",
    "Age of the oldest message on INGEST, the retry lane left out; 0 when there is none",
)
_retrying = Gauge("posthorn_delivery_retry_lane_messages", "Messages in the retry lane of INGEST")
_dead = Gauge("posthorn_delivery_dead_messages", "Messages parked on DEAD")
_oldest_dead = Gauge(
    "posthorn_delivery_dead_oldest_seconds", "Time since the oldest message on DEAD was parked"
)

_partition_waiting = Gauge(
    "posthorn_delivery_partition_backlog_messages",
    "Messages on each partition of INGEST, including those in flight",
    ["partition"],
)
_partition_oldest = Gauge(
    "posthorn_delivery_partition_oldest_seconds",
    "Age of the oldest message on each partition of INGEST, the retry lane left out; 0 when there is none",
    ["partition"],
)

_MEASURE_EVERY = 5.0
_FIRST_PAUSE = 0.1
_LAST_PAUSE = 1.0
DRAIN_SECONDS = 10.0
"""Seconds for which a batch in flight may finish while the process drains: a crash would delay
it as long."""
_CANCEL_SECONDS = 2.0
_RETRY_SHARE = 3.0
"""After an attempt the retry lane pauses so many times as long as the attempt took, one second
at most."""


DENSE = 12
"""Size of a batch from which throughput matters more than a few hundredths of a second of
latency."""


class Consumer:
    """The loops that fetch and deliver."""

    def __init__(
        self,
        source: IngestSource,
        deliverer: Deliverer,
        limits: tuple[int, int, int],
        spacing: float = 0.0,
        retries: IngestSource | None = None,
    ) -> None:
        """``limits``: maximum of messages in a batch, approximate maximum of bytes, and batches in
        flight at a time.

        ``spacing``: seconds from the start of a batch to the start of the next, while batches are
        less than half full (ADR 11); twice as long after a batch of DENSE messages. Of all
        processes together where several share the stream (ADR 52). ``retries`` is
        the source of the retry lane, whose messages are tried one by one, beside the batches.
        """
        self._source = source
        self._retries = retries
        self._deliverer = deliverer
        self._messages, self._octets, self._parallel = limits
        self._spacing = spacing
        self._draining = asyncio.Event()
        self._taking: set[asyncio.Task[None]] = set()
        self._loops: list[asyncio.Task[None]] = []

    async def run(self) -> None:
        """Fetch and deliver until drained. An unexpected exception ends it."""
        async with asyncio.TaskGroup() as group:
            self._loops = [
                group.create_task(self._loop(), name=f"consumer {n}") for n in range(self._parallel)
            ]
            if self._retries is not None:
                self._loops.append(
                    group.create_task(self._retry_loop(self._retries), name="retries")
                )

    async def drain(self, grace: float) -> None:
        """Fetch nothing more; return fetched messages to the stream at once; finish batches in
        flight within ``grace`` seconds, or DRAIN_SECONDS where that is less; return the rest."""
        self._draining.set()
        self._deliverer.stop()
        for task in self._taking:
            task.cancel()
        # first, since other processes wait for the messages held here, and the server would go on
        # sending
        await asyncio.gather(
            *(source.stop() for source in (self._source, self._retries) if source is not None)
        )
        if self._loops:
            _, late = await asyncio.wait(self._loops, timeout=min(grace, DRAIN_SECONDS))
            if late:
                log.warning("a batch is returned to the stream at the end of the grace period")
                await (
                    self._deliverer.give_back()
                )  # before its transaction ends, which may take as long as a store hangs
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=_CANCEL_SECONDS)

    async def measure(self) -> None:
        """Update the backlog gauges until cancelled."""
        while True:
            with suppress(Unavailable):
                backlog = await self._source.backlog()
                _show(backlog)
            await asyncio.sleep(_MEASURE_EVERY)

    async def _loop(self) -> None:
        while (batch := await self._take(self._source, self._messages, self._octets)) is not None:
            began = time.monotonic()
            await self._deliverer.deliver(batch)
            if len(batch) < self._messages // 2 and self._spacing:
                spacing = self._spacing * (2 if len(batch) >= DENSE else 1)
                self._source.leave_to_others(spacing)
                await self._let_gather(began + spacing - time.monotonic())

    async def _retry_loop(self, source: IngestSource) -> None:
        while (batch := await self._take(source, 1, self._octets)) is not None:
            began = time.monotonic()
            await self._deliverer.deliver(batch)
            await self._let_gather(min(_LAST_PAUSE, _RETRY_SHARE * (time.monotonic() - began)))

    async def _take(
        self, source: IngestSource, messages: int, octets: int
    ) -> Sequence[Delivery] | None:
        """Wait for a batch without limit; None when the process drains."""
        task = asyncio.current_task()
        assert task is not None
        pause = _FIRST_PAUSE
        while not self._draining.is_set():
            self._taking.add(task)
            try:
                return await source.take(messages, octets)
            except Unavailable as fault:
                log.warning("messages cannot be fetched from the stream", fault=fault)
                await asyncio.sleep(pause)
                pause = min(_LAST_PAUSE, pause * 2)
            except asyncio.CancelledError:
                if self._draining.is_set():
                    return None
                raise
            finally:
                self._taking.discard(task)
        return None

    async def _let_gather(self, seconds: float) -> None:
        """Let messages accumulate after a batch. A message that arrives after a pause is not
        delayed: the spacing is over by then."""
        if seconds > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._draining.wait()


def _show(backlog: Backlog) -> None:
    _waiting.set(backlog.messages)
    _waiting_octets.set(backlog.octets)
    _dead.set(backlog.dead)
    _oldest_dead.set(_age(backlog.oldest_dead))
    _retrying.set(backlog.retrying)
    _oldest.set(_age(backlog.oldest_first))
    for gauge in (_partition_waiting, _partition_oldest):
        gauge.clear()  # one that was removed is not shown for ever
    for partition, found in backlog.partitions.items():
        _partition_waiting.labels(str(partition)).set(found.messages)
        _partition_oldest.labels(str(partition)).set(_age(found.oldest_first))


def _age(moment: datetime | None) -> float:
    return (datetime.now(UTC) - moment).total_seconds() if moment else 0.0


@asynccontextmanager
async def consuming(process: Process, consumer: Consumer) -> AsyncIterator[None]:
    """Run the consumer as part of the process; drain it on leaving."""
    await process.task(consumer.measure(), "measure")
    running = await process.task(consumer.run(), "consumer")
    try:
        yield
    finally:
        await consumer.drain(process.settings.grace_seconds)
        with suppress(asyncio.CancelledError):
            await asyncio.wait([running])
