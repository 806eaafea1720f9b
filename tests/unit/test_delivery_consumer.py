"""How batches follow one another (ADR 11)."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Sequence
from typing import Any, cast

from posthorn_delivery.consumer import DENSE, Consumer
from posthorn_delivery.deliverer import Deliverer
from tests.support.polling import BUSY_SECONDS, LONG_SECONDS

LIMITS = (10, 1 << 20, 1)
SPACING = 0.2


class Source:
    """Gives batches of the sizes it is handed, then nothing more."""

    def __init__(self) -> None:
        self.batches: asyncio.Queue[int] = asyncio.Queue()

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
    sizes: list[int], spacing: float = SPACING, limits: tuple[int, int, int] = LIMITS
) -> list[float]:
    source, recorder = Source(), Recorder()
    intake = Consumer(cast(Any, source), cast(Deliverer, recorder), limits, spacing)
    running = asyncio.create_task(intake.run())
    for size in sizes:
        source.batches.put_nowait(size)
    await recorder.until(len(sizes))
    await intake.drain(5)
    await running
    return recorder.at


async def test_small_batches_begin_no_closer_than_the_spacing() -> None:
    at = await run([1, 1, 1])
    assert all(later - earlier >= SPACING * 0.99 for earlier, later in itertools.pairwise(at))


async def test_in_a_dense_stream_batches_begin_twice_as_far_apart() -> None:
    at = await run([DENSE, DENSE, DENSE], limits=(DENSE * 3, 1 << 20, 1))
    assert all(later - earlier >= 2 * SPACING * 0.99 for earlier, later in itertools.pairwise(at))


async def test_a_backlog_is_worked_off_without_spacing() -> None:
    assert len(await run([10] * 50, spacing=LONG_SECONDS)) == 50


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
