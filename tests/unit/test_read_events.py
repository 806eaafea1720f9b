"""ReadEvents wait in a bounded queue and are handed on at a pace; what does not fit is counted."""

from __future__ import annotations

import asyncio
import itertools
from uuid import UUID

import pytest

from posthorn.model.events import READ, Event
from posthorn.runtime import read_events as module
from posthorn.runtime.ids import new_id
from posthorn.runtime.read_events import ReadEvents
from posthorn.runtime.tasks import cancel_and_wait
from tests.support.polling import BUSY_SECONDS

DETAIL = {"account": "alice@example.test", "tenant": "t"}


class Recorder:
    """Events in a list, with how many came at once."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.sizes: list[int] = []
        self.some = asyncio.Event()

    def record(self, *events: Event) -> None:
        self.events += events
        self.sizes.append(len(events))
        self.some.set()

    @property
    def messages(self) -> list[UUID]:
        return [event.message for event in self.events]


def not_dropped(number: int) -> None:
    raise AssertionError(number)


async def end(task: asyncio.Task[None]) -> None:
    await cancel_and_wait(task)


async def test_a_read_is_told_at_once_with_when_and_by_whom() -> None:
    times = itertools.count(1000)
    reads, recorder = ReadEvents(not_dropped, clock=lambda: float(next(times))), Recorder()
    telling = asyncio.create_task(reads.publish(recorder))
    first, second = new_id(), new_id()
    reads.note([first], DETAIL)
    reads.note([second], DETAIL)
    async with asyncio.timeout(BUSY_SECONDS):
        await recorder.some.wait()
    assert recorder.events == [
        Event(first, 1000.0, READ, DETAIL),
        Event(second, 1001.0, READ, DETAIL),
    ]
    assert reads.waiting == 0
    await end(telling)


async def test_a_burst_is_told_in_portions_and_the_rest_at_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "AT_ONCE", 3)
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.001)
    reads, recorder = ReadEvents(not_dropped), Recorder()
    ids = [new_id() for _ in range(8)]
    for one, other in itertools.batched(ids, 2, strict=True):
        reads.note([one, other], DETAIL)
    telling = asyncio.create_task(reads.publish(recorder))
    async with asyncio.timeout(BUSY_SECONDS):
        while len(recorder.events) < 8:
            await asyncio.sleep(0.001)
    assert (recorder.messages, recorder.sizes) == (ids, [2, 2, 2, 2])
    monkeypatch.setattr(module, "PAUSE_SECONDS", 60)
    reads.note([new_id()], DETAIL)
    async with asyncio.timeout(BUSY_SECONDS):
        while len(recorder.events) < 9:
            await asyncio.sleep(0.001)
    late = [new_id() for _ in range(5)]
    reads.note(late, DETAIL)
    await end(telling)
    assert recorder.messages[9:] == late


async def test_beyond_the_bound_the_oldest_go_and_are_counted() -> None:
    dropped: list[int] = []
    reads, recorder = ReadEvents(dropped.append, kept=4), Recorder()
    ids = [new_id() for _ in range(11)]
    reads.note(ids[:2], DETAIL)
    reads.note(ids[2:4], DETAIL)
    assert (reads.waiting, sum(dropped)) == (4, 0)
    reads.note(ids[4:5], DETAIL)
    assert (reads.waiting, sum(dropped)) == (3, 2)
    reads.note(ids[5:7], DETAIL)
    reads.note(ids[7:], DETAIL)
    assert (reads.waiting, sum(dropped)) == (4, 7)
    telling = asyncio.create_task(reads.publish(recorder))
    async with asyncio.timeout(BUSY_SECONDS):
        await recorder.some.wait()
    assert recorder.messages == ids[7:]
    await end(telling)
