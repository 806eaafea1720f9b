"""Delivery processes that share INGEST (ADR 52), against a model of the stream in virtual time."""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from posthorn.adapters.nats import ingest_lane
from posthorn.adapters.nats.ingest_consumer import NatsIngestSource
from posthorn.adapters.nats.ingest_turns import Turns
from posthorn.model.streams import FRAMES_CONSUMER, INGEST_CONSUMER, ingest_stream
from posthorn.ports.ingest import Delivery
from posthorn_delivery.consumer import Consumer
from posthorn_delivery.deliverer import Deliverer
from tests.support.stream_model import ModelConnection, StreamModel
from tests.support.virtual_time import run_in_virtual_time

SPACING = 0.03
COMMIT_SECONDS = 0.012
"""A transaction, and a PUT."""
STRANGE_SECONDS = 2.5
"""For which processes that have just started may have requests open that none else shares."""
MESSAGE_SECONDS = 0.0002
SINGLE = f"{ingest_stream(0)}.{INGEST_CONSUMER}"
FRAMED = f"{ingest_stream(0)}.{FRAMES_CONSUMER}"


class Process:
    """A delivery process, whose transactions take a while and do nothing."""

    def __init__(self, field_: Field, slowness: float = 1.0) -> None:
        self._field = field_
        self._slowness = slowness
        self.connection = ModelConnection(field_.stream)
        self.source = NatsIngestSource(self.connection.as_connection)
        self.source._turns = Turns(time.monotonic)
        self.consumer = Consumer(self.source, cast(Deliverer, self), (512, 1 << 24, 1), SPACING)
        self.messages = 0
        self._has_left = False
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to take messages."""
        await self.source.__aenter__()
        self._running = asyncio.create_task(self.consumer.run())

    async def deliver(self, batch: Sequence[Delivery]) -> None:
        """As the deliverer."""
        cost = COMMIT_SECONDS + len(batch) * MESSAGE_SECONDS
        await asyncio.sleep(cost * self._slowness)
        if self.connection.is_lost:
            await asyncio.get_running_loop().create_future()
        for delivery in batch:
            await delivery.ack()
        now = time.monotonic()
        self.messages += len(batch)
        self._field.batches.append(len(batch))
        for delivery in batch:
            number, _, stored_at = delivery.octets.decode().partition(" ")
            self._field.waits.append((float(stored_at), now - float(stored_at)))
            self._field.seen[int(number)] = self._field.seen.get(int(number), 0) + 1

    def stop(self) -> None:
        """As the deliverer."""

    async def give_back(self) -> None:
        """As the deliverer."""

    async def kill(self) -> None:
        """End as with SIGKILL."""
        self._field.stream.lose(self.connection)
        await self._end()

    async def _end(self) -> None:
        assert self._running is not None
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)

    async def leave(self) -> None:
        """End as with SIGTERM; once."""
        if self._has_left:
            return
        self._has_left = True
        await self.consumer.drain(5.0)
        await self.source.__aexit__()


@dataclass
class Field:
    """Processes, the stream, and what came of its messages."""

    stream: StreamModel
    processes: list[Process] = field(default_factory=list)
    waits: list[tuple[float, float]] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    seen: dict[int, int] = field(default_factory=dict)
    sent: int = 0

    async def start(self, number: int, slowness: float = 1.0) -> None:
        """Start so many processes, one shortly after the other."""
        for _ in range(number):
            process = Process(self, slowness)
            self.processes.append(process)
            await process.start()
            await asyncio.sleep(0.01)

    def forget(self) -> None:
        """Forget the waits and batches so far."""
        self.waits.clear()
        self.batches.clear()

    def send(self, consumer: str = SINGLE) -> None:
        """Store a message."""
        self.sent += 1
        self.stream.store(consumer, "ingest.mx", f"{self.sent} {time.monotonic()}".encode())

    async def send_for(self, seconds: float, rate: float, dice: random.Random) -> None:
        """Store messages for a while, at random intervals."""
        until = time.monotonic() + seconds
        at = time.monotonic()
        while (at := at + dice.expovariate(rate)) < until:
            await asyncio.sleep(at - time.monotonic())
            self.send()

    async def settled(self, seconds: float = 30.0) -> None:
        """Wait until every message is delivered."""
        async with asyncio.timeout(seconds):
            while self.stream.left:
                await asyncio.sleep(0.05)

    @property
    def connections(self) -> list[ModelConnection]:
        """Those of all processes."""
        return [process.connection for process in self.processes]

    def waits_since(self, since: float) -> list[float]:
        """Return the seconds that messages stored since then have waited for, up to the commit."""
        return [wait for stored_at, wait in self.waits if stored_at >= since]


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Field]:
    """Run a scene in virtual time, with the same dice for all who use chance."""
    dice = random.Random(52)
    monkeypatch.setattr(random, "uniform", dice.uniform)
    monkeypatch.setattr(ingest_lane, "_EXPIRES", 1.0)  # of requests made before anything was shared

    def playing(scene: Callable[[Field], Coroutine[Any, Any, None]]) -> Field:
        async def played() -> Field:
            found = Field(StreamModel())
            await scene(found)
            for process in found.processes:
                if not process.connection.is_lost:
                    await process.leave()
            return found

        return run_in_virtual_time(played(), monkeypatch)

    return playing


@pytest.mark.parametrize("rate", [10, 300, 2000])
@pytest.mark.parametrize("processes", [2, 4, 10, 30])
def test_nothing_waits_long_whatever_the_load_and_the_number_of_processes(
    play: Callable[..., Field], processes: int, rate: int
) -> None:
    seconds = 3000 / rate if rate > 100 else 10.0

    async def scene(found: Field) -> None:
        await found.start(processes)
        await found.send_for(STRANGE_SECONDS, rate, random.Random(1))
        found.forget()
        await found.send_for(seconds, rate, random.Random(2))
        await found.settled()

    found = play(scene)
    waits = found.waits_since(0)
    assert max(waits) < 1.0
    assert statistics.quantiles(waits, n=100)[98] < 0.5
    assert len(found.batches) / seconds < (12 if rate == 10 else 70), "transactions a second"
    assert_each_once(found)


def test_a_burst_after_minutes_without_mail_is_taken_at_once(play: Callable[..., Field]) -> None:
    async def scene(found: Field) -> None:
        await found.start(10)
        await found.send_for(3, 300, random.Random(1))
        await asyncio.sleep(120)
        found.forget()
        for _ in range(2000):
            found.send()
        await found.settled()

    found = play(scene)
    assert max(found.waits_since(0)) < 1.0
    assert_each_once(found)


def test_a_process_that_is_slow_keeps_only_what_it_took(play: Callable[..., Field]) -> None:
    async def scene(found: Field) -> None:
        await found.start(3)
        await found.start(1, slowness=50.0)
        await found.send_for(STRANGE_SECONDS, 200, random.Random(1))
        found.forget()
        await found.send_for(10, 200, random.Random(2))
        await found.settled()

    found = play(scene)
    assert statistics.quantiles(found.waits_since(0), n=100)[89] < 0.5
    assert found.processes[-1].messages < found.sent / 4
    assert_each_once(found)


def test_what_a_killed_process_held_comes_again_and_the_rest_waits_for_nobody(
    play: Callable[..., Field],
) -> None:
    async def scene(found: Field) -> None:
        await found.start(4)
        await found.send_for(STRANGE_SECONDS, 200, random.Random(1))
        for process in found.processes[:3]:
            await process.kill()
        found.forget()
        await found.send_for(5, 200, random.Random(2))
        await found.settled()

    found = play(scene)
    assert statistics.quantiles(found.waits_since(0), n=100)[89] < 1.0
    assert set(found.seen) == set(range(1, found.sent + 1))


@pytest.mark.parametrize("consumer", [SINGLE, FRAMED])
@pytest.mark.parametrize("moment", range(24))
def test_every_process_goes_on_after_an_outage_whatever_it_was_doing(
    play: Callable[..., Field], moment: int, consumer: str
) -> None:
    """In turns, in a second wait since the first turn brought nothing, or requesting one message.
    Only one lane gets messages afterwards."""

    async def scene(found: Field) -> None:
        await found.start(3)
        await found.send_for(STRANGE_SECONDS, 100, random.Random(1))
        await found.settled()
        await asyncio.sleep(moment * 0.011)
        found.stream.go_down(found.connections)
        await asyncio.sleep(0.8 + moment * 0.05)
        await found.stream.come_up(found.connections)
        for _ in range(5):
            await asyncio.sleep(1.0)
            found.send(consumer)
        await found.settled()
        # and each of them, not the luckiest alone
        for process in found.processes[: moment % 3] + found.processes[moment % 3 + 1 :]:
            await process.leave()
        found.send(consumer)
        await found.settled(5)

    play(scene)


def test_processes_that_leave_give_back_what_they_hold(play: Callable[..., Field]) -> None:
    async def scene(found: Field) -> None:
        await found.start(4)
        sending = asyncio.create_task(found.send_for(STRANGE_SECONDS, 300, random.Random(1)))
        for process in list(found.processes):
            await asyncio.sleep(1.0)
            await process.leave()
            found.processes.remove(process)
            await found.start(1)
        await sending
        await found.settled()

    found = play(scene)
    assert max(found.waits_since(0)) < 1.0
    assert_each_once(found)


def assert_each_once(found: Field) -> None:
    assert set(found.seen.values()) == {1}
    assert len(found.seen) == found.sent
