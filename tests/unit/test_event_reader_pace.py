"""The reader of events makes few statements under load, and none of its pauses while it is
behind."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from posthorn.model.events import SHARES, Event, encode_event, share_of
from posthorn.ports.statistics import Reading
from posthorn_api.events import reader as module
from posthorn_api.events.reader import EventReader
from tests.support.polling import BUSY_SECONDS

STREAM = datetime(2027, 1, 15, tzinfo=UTC)


class Checkpoint:
    """Positions in memory; nobody else reads."""

    def __init__(self) -> None:
        self.written: list[int] = []

    async def unled(self) -> frozenset[int]:
        return frozenset(range(SHARES))

    async def lead(self, shares: Collection[int], seconds: float) -> frozenset[int]:
        return frozenset(shares)

    async def resign(self) -> None:
        return None

    async def positions(self, stream: datetime) -> Sequence[int]:
        return [0] * SHARES

    async def listeners(self) -> Sequence[Any]:
        return []

    async def write(
        self, stream: datetime, before: Mapping[int, int], after: Mapping[int, int], *_: Any
    ) -> bool:
        self.written.append(after[0])
        return True


class Log:
    """Readings that were prepared; after them nothing."""

    def __init__(self, *readings: Reading) -> None:
        self.left = list(readings)

    async def extent(self) -> tuple[datetime, int]:
        return STREAM, 100

    async def after(self, position: int, seconds: float) -> Reading:
        if not self.left:
            await asyncio.Event().wait()
        return self.left.pop(0)


class Rest:
    async def upkeep(self) -> Sequence[Any]:
        return []

    async def forget(self, days: int) -> int:
        return 0


async def test_batches_follow_at_once_while_behind_and_are_further_apart_under_load(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def paused(seconds: float) -> None:
        pauses.append(seconds)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", paused)
    much = b"\n" * 2 * module._BUSY_BYTES
    log = Log(
        Reading([(1, much)], 1, more=True),
        Reading([(2, much)], 2, more=True),
        Reading([(3, much)], 3),
        Reading([(4, b"")], 4),
    )
    checkpoint, rest = Checkpoint(), Rest()
    reader: Any = EventReader
    task = asyncio.create_task(reader(log, checkpoint, None, rest, rest, None).run())
    async with asyncio.timeout(BUSY_SECONDS):
        while len(pauses) < 2:
            await sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert checkpoint.written == [1, 2, 3, 4]
    assert pauses == [module._GATHER_BUSY_SECONDS, module._GATHER_SECONDS]
    assert pauses[0] > pauses[1]


def test_only_the_positions_that_matter_are_written() -> None:
    positions = {0: 50, 3: 40, 7: 9, 9: 990, 15: 2000}
    assert module._moved(positions, {3}, 1000) == {0: 1000, 3: 1000}
    assert module._moved(positions, {15}, 1009) == {0: 1009, 7: 1009, 15: 2000}
    assert module._moved({4: 1, 8: 1}, (), 2) == {4: 2}


async def test_a_share_moves_past_a_repeated_line_as_well() -> None:
    """Another reader would not know, after a restart, that the line was counted before."""
    checkpoint: Any = Checkpoint()
    nothing: Any = Rest()
    reader = EventReader(nothing, checkpoint, nothing, nothing, nothing, nothing)
    line = encode_event(Event(UUID(int=7), 1.0, "read"))
    positions: Mapping[int, int] | None = dict.fromkeys(range(SHARES), 0)
    for sequence in (1, 2):
        assert positions is not None
        positions = await reader.take(STREAM, positions, Reading([(sequence, line)], sequence))
    assert positions == {**dict.fromkeys(range(SHARES), 0), 0: 2, share_of(line): 2}
