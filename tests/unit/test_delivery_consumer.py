"""How batches follow one another (ADR 11)."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from prometheus_client import REGISTRY

from posthorn.ports.ingest import Backlog, PartitionBacklog
from posthorn_delivery.consumer import DENSE, Consumer
from posthorn_delivery.deliverer import Deliverer
from tests.support.polling import BUSY_SECONDS, LONG_SECONDS
from tests.support.virtual_time import run_in_virtual_time

LIMITS = (10, 1 << 20, 1)
SPACING = 0.2


class Source:
    """Gives batches of the sizes it is handed, then nothing more."""

    def __init__(self) -> None:
        self.batches: asyncio.Queue[int] = asyncio.Queue()
        self.left: list[float] = []

    def leave_to_others(self, spacing: float) -> None:
        self.left.append(spacing)

    async def take(self, most: int, octets: int) -> Sequence[Any]:
        return [object()] * await self.batches.get()

    async def stop(self) -> None:
        """Nothing waits to be taken."""


class Recorder:
    """Notes when each batch was delivered."""

    def __init__(self) -> None:
        self.at: list[float] = []
        self.arrived = asyncio.Condition()

    async def deliver(self, batch: Sequence[Any]) -> None:
        async with self.arrived:
            self.at.append(time.monotonic())
            self.arrived.notify_all()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(BUSY_SECONDS), self.arrived:
            await self.arrived.wait_for(lambda: len(self.at) >= count)

    def stop(self) -> None:
        """There is nothing to give back."""


async def run(
    sizes: list[int],
    spacing: float = SPACING,
    limits: tuple[int, int, int] = LIMITS,
    source: Source | None = None,
) -> list[float]:
    source, recorder = source or Source(), Recorder()
    intake = Consumer(cast(Any, source), cast(Deliverer, recorder), limits, spacing)
    running = asyncio.create_task(intake.run())
    for size in sizes:
        source.batches.put_nowait(size)
    await recorder.until(len(sizes))
    await intake.drain(5)
    await running
    return recorder.at


def test_small_batches_begin_no_closer_than_the_spacing(monkeypatch: pytest.MonkeyPatch) -> None:
    at = run_in_virtual_time(run([1, 1, 1]), monkeypatch)
    assert all(later - earlier >= SPACING * 0.99 for earlier, later in itertools.pairwise(at))


def test_in_a_dense_stream_batches_begin_twice_as_far_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dense = run([DENSE, DENSE, DENSE], limits=(DENSE * 3, 1 << 20, 1))
    at = run_in_virtual_time(dense, monkeypatch)
    assert all(later - earlier >= 2 * SPACING * 0.99 for earlier, later in itertools.pairwise(at))


async def test_a_backlog_is_worked_off_without_spacing() -> None:
    source = Source()
    assert len(await run([10] * 50, spacing=LONG_SECONDS, source=source)) == 50
    assert not source.left, "what arrives is not left to others either"


async def test_what_arrives_during_the_spacing_is_left_to_others() -> None:
    source = Source()
    await run([1, DENSE], 0.01, (DENSE * 3, 1 << 20, 1), source)
    assert source.left == [0.01, 0.02]
    await run([1, DENSE], 0.0, (DENSE * 3, 1 << 20, 1), source)  # no spacing
    assert len(source.left) == 2


async def test_a_lone_message_after_a_quiet_moment_is_taken_at_once() -> None:
    """Between its arrival and its delivery nothing is waited for."""
    source, recorder = Source(), Recorder()
    waits: list[int] = []
    quiet = asyncio.Event()

    class Noted(Consumer):
        async def _let_gather(self, seconds: float) -> None:
            waits.append(len(recorder.at))
            await super()._let_gather(seconds)
            quiet.set()

    intake = Noted(cast(Any, source), cast(Deliverer, recorder), LIMITS, SPACING)
    running = asyncio.create_task(intake.run())
    source.batches.put_nowait(1)
    await recorder.until(1)
    async with asyncio.timeout(BUSY_SECONDS):
        await quiet.wait()
    source.batches.put_nowait(1)
    await recorder.until(2)
    assert waits[0] == 1 and 1 not in waits[1:], "the one wait began after the first delivery"
    await intake.drain(5)
    await running


async def test_the_drain_does_not_wait_for_the_spacing() -> None:
    source, recorder = Source(), Recorder()
    intake = Consumer(cast(Any, source), cast(Deliverer, recorder), LIMITS, spacing=LONG_SECONDS)
    running = asyncio.create_task(intake.run())
    source.batches.put_nowait(1)
    await recorder.until(1)
    async with asyncio.timeout(BUSY_SECONDS):
        await intake.drain(LONG_SECONDS)
        await running


async def test_the_gauges_show_sums_and_every_partition_that_exists() -> None:
    now = datetime.now(UTC)
    busy = PartitionBacklog(5, 500, now - timedelta(seconds=90), 2, now - timedelta(seconds=60))
    idle = PartitionBacklog(0, 0, None, 0, None)

    class Measured(Source):
        found = Backlog(
            *(5, 500, busy.oldest, 1, now - timedelta(seconds=50)),
            *(2, busy.oldest_first, {0: idle, 7: busy}),
        )

        async def backlog(self) -> Backlog:
            return self.found

    def shown(name: str, **labels: str) -> float | None:
        return REGISTRY.get_sample_value(f"posthorn_delivery_{name}", labels)

    async def measured(source: Measured) -> None:
        intake = Consumer(cast(Any, source), cast(Deliverer, Recorder()), LIMITS)
        task = asyncio.create_task(intake.measure())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()

    source = Measured()
    await measured(source)
    assert (shown("backlog_messages"), shown("backlog_bytes")) == (5, 500)
    assert (shown("retry_lane_messages"), shown("dead_messages")) == (2, 1)
    assert 50 <= (shown("dead_oldest_seconds") or 0) < 50 + LONG_SECONDS
    assert 60 <= (shown("backlog_oldest_seconds") or 0) < 60 + LONG_SECONDS
    by_partition = {each: shown("partition_backlog_messages", partition=each) for each in "07"}
    assert by_partition == {"0": 0, "7": 5}
    assert shown("partition_oldest_seconds", partition="0") == 0
    assert (shown("partition_oldest_seconds", partition="7") or 0) >= 60
    source.found = replace(source.found, partitions={0: idle})
    await measured(source)
    assert shown("partition_backlog_messages", partition="7") is None
