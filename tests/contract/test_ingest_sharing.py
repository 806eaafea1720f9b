"""Processes that share INGEST take turns (ADR 52): each leaves what arrives to the others, then
collects all that waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress

import pytest

from posthorn.adapters.nats import ingest_consumer, ingest_lane
from posthorn.adapters.nats.connection import Connection, connect
from posthorn.adapters.nats.ingest import NatsIngest
from posthorn.adapters.nats.ingest_backlog import measure_backlog
from posthorn.adapters.nats.ingest_consumer import NatsIngestSource
from posthorn.adapters.nats.ingest_turns import Turns
from posthorn.ports.errors import Unavailable
from posthorn.ports.ingest import Delivery
from posthorn_local.embedded import Nats
from tests.support.builders import make_envelope
from tests.support.jetstream import nats_settings, restart, take_awaited
from tests.support.polling import BUSY_SECONDS, LONG_SECONDS, until

BODY = b"Subject: hello\r\n\r\nworld\r\n"


class Pair:
    """Two processes that take from the stream, and one that publishes."""

    def __init__(self, publisher: Connection, first: NatsIngestSource, second: NatsIngestSource):
        self.publisher = publisher
        self.first, self.second = first, second
        self._ingest = NatsIngest(publisher)

    async def send(self, number: int) -> None:
        """Publish so many messages, one by one."""
        for _ in range(number):
            await self._ingest.accept(make_envelope(BODY), BODY)

    async def send_frame(self, number: int) -> None:
        """Publish so many messages at once: all but the first in a frame."""
        await asyncio.gather(
            *(self._ingest.accept(make_envelope(BODY), BODY) for _ in range(number))
        )

    async def share(self) -> None:
        """Have both take messages until the first one knows of the other, and leaves it what
        arrives."""
        async with asyncio.timeout(BUSY_SECONDS):
            while True:
                await self.send(8)
                waiting = 8
                while waiting:
                    for delivery in (*await take(self.first), *await take(self.second)):
                        await delivery.ack()
                        waiting -= 1
                self.first.leave_to_others(0.001)
                if self.first._turn_at is not None:
                    break
        await until(lambda: all(lane._asked == 0 for lane in self.first._lanes))


async def take(source: NatsIngestSource, seconds: float = 0.1) -> list[Delivery]:
    """Take what comes within so many seconds, if anything does."""
    try:
        async with asyncio.timeout(seconds):
            return list(await source.take(512, 1 << 24))
    except TimeoutError:
        return []


@pytest.fixture
async def pair(nats: Nats, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Pair]:
    monkeypatch.setattr(ingest_consumer, "_COLLECT_SECONDS", BUSY_SECONDS)
    monkeypatch.setattr(ingest_lane, "_EXPIRES", 1.0)  # of requests made before anything was shared
    async with AsyncExitStack() as stack:
        made = [
            await stack.enter_async_context(connect(nats_settings(nats), name))
            for name in ("publisher", "first", "second")
        ]
        sources = [await stack.enter_async_context(NatsIngestSource(each)) for each in made[1:]]
        yield Pair(made[0], *sources)


async def test_a_process_alone_leaves_nothing(connection: Connection) -> None:
    ingest = NatsIngest(connection)
    async with NatsIngestSource(connection) as found:
        waits = []
        for _ in range(11):
            timers, delivery = await take_awaited(
                found, lambda: ingest.accept(make_envelope(BODY), BODY)
            )
            waits.append(timers)
            found.leave_to_others(LONG_SECONDS)
            await delivery.ack()
        assert sorted(waits[1:])[5] == 0, "its request is open as ever"


async def test_what_arrives_goes_to_the_other_process(pair: Pair) -> None:
    await pair.share()
    await pair.send(20)
    taken: list[Delivery] = []
    while len(taken) < 20:
        taken += await asyncio.wait_for(pair.second.take(512, 1 << 24), BUSY_SECONDS)
    assert len(taken) == 20


async def test_what_none_takes_is_collected_as_one_batch(pair: Pair) -> None:
    await pair.share()
    await pair.second.stop()
    await pair.send(30)
    await pair.send_frame(30)
    assert len(await asyncio.wait_for(pair.first.take(512, 1 << 24), BUSY_SECONDS)) == 60
    assert (await measure_backlog(pair.publisher)).messages == 60, "acknowledged by nobody yet"


async def test_where_nothing_waited_the_next_message_is_taken_at_once(pair: Pair) -> None:
    await pair.share()
    await pair.second.stop()
    taking = asyncio.create_task(pair.first.take(512, 1 << 24))
    await until(lambda: all(lane._asked == 1 for lane in pair.first._lanes))
    await pair.send(1)
    assert len(await asyncio.wait_for(taking, BUSY_SECONDS)) == 1


async def test_a_take_that_is_not_preceded_by_leaving_requests_what_comes(pair: Pair) -> None:
    await pair.share()
    await pair.second.stop()
    await pair.send(2)
    assert len(await asyncio.wait_for(pair.first.take(512, 1 << 24), BUSY_SECONDS)) == 2
    taking = asyncio.create_task(pair.first.take(512, 1 << 24))
    await pair.send(1)
    assert len(await asyncio.wait_for(taking, BUSY_SECONDS)) == 1


async def test_a_process_that_is_left_alone_requests_as_much_as_before(pair: Pair) -> None:
    await pair.share()
    await pair.second.stop()
    taking = asyncio.create_task(pair.first.take(512, 1 << 24))
    await until(lambda: all(lane._asked == 1 for lane in pair.first._lanes))
    await pair.send(1)
    await asyncio.wait_for(taking, BUSY_SECONDS)
    pair.first._turns = Turns()  # which has seen no other process
    for lane in pair.first._lanes:
        lane.forget_counts()
    pair.first.leave_to_others(0.001)
    assert pair.first._turn_at is None
    taking = asyncio.create_task(pair.first.take(512, 1 << 24))
    await until(lambda: all(lane._asked > 1 for lane in pair.first._lanes))
    taking.cancel()


async def test_a_cancelled_take_loses_nothing(pair: Pair) -> None:
    await pair.share()
    await pair.second.stop()
    await pair.send(10)
    taking = asyncio.create_task(pair.first.take(512, 1 << 24))
    await asyncio.sleep(0)
    taking.cancel()
    await asyncio.gather(taking, return_exceptions=True)
    taken: list[Delivery] = []
    while len(taken) < 10:
        taken += await asyncio.wait_for(pair.first.take(512, 1 << 24), BUSY_SECONDS)
    assert [delivery.attempt for delivery in taken] == [1] * 10


async def test_a_server_that_comes_back_serves_a_process_that_left_messages(
    pair: Pair, nats: Nats
) -> None:
    await pair.share()
    nats.stop(kill=True)
    restart(nats)
    await pair.publisher.wait_up(BUSY_SECONDS)
    await pair.second.stop()
    await pair.send(5)
    taken: list[Delivery] = []
    async with asyncio.timeout(BUSY_SECONDS):
        while len(taken) < 5:
            with suppress(Unavailable):  # until it is connected
                taken += await pair.first.take(512, 1 << 24)
            await asyncio.sleep(0.02)
    assert len(taken) == 5
