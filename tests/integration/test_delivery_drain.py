"""A delivery process that is told to go: what lies in its buffer, and what it would still be
sent, goes to the others at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack

import pytest

from posthorn.adapters.nats.connection import connect
from posthorn.adapters.nats.ingest_consumer import NatsIngestSource
from posthorn.adapters.postgres.mailboxes.delivery import PostgresMailboxes
from posthorn.model.envelope import decode_record
from posthorn.model.streams import INGEST, INGEST_CONSUMER
from posthorn.ports.hand_over import HandOver
from posthorn.ports.segments import Segment
from posthorn.runtime.ids import new_id
from posthorn_delivery import consumer as server
from posthorn_delivery.consumer import Consumer
from posthorn_delivery.deliverer import Deliverer
from posthorn_local.embedded import Nats
from tests.support.delivery_env import DeliveryEnv
from tests.support.jetstream import nats_settings
from tests.support.polling import BUSY_SECONDS, LONG_SECONDS, until

BODY = b"Subject: hello\r\n\r\nworld\r\n"


@pytest.fixture
async def env(env: DeliveryEnv) -> DeliveryEnv:
    await env.source.stop()
    return env


class Hanging(PostgresMailboxes):
    """A store that hangs in a transaction, also while it is cancelled, as a server does that
    answers nothing."""

    def __init__(self, env: DeliveryEnv) -> None:
        super().__init__(env.seed.database)
        self.reached = asyncio.Event()
        self.goes_on = asyncio.Event()

    async def deliver(self, segments: Sequence[Segment], over: HandOver | None = None) -> int:
        self.reached.set()
        try:
            await self.goes_on.wait()
        except asyncio.CancelledError:
            await self.goes_on.wait()
            raise
        return await super().deliver(segments, over)


class Going:
    """A process whose first batch of one message hangs, with more in its buffer."""

    def __init__(self, env: DeliveryEnv, source: NatsIngestSource) -> None:
        self.mailboxes = Hanging(env)
        deliverer = Deliverer(self.mailboxes, env.blobs, env.dead, new_id=new_id)
        self.intake = Consumer(source, deliverer, (1, 1 << 23, 1))
        self.running = asyncio.create_task(self.intake.run())


async def buffered(env: DeliveryEnv, number: int) -> None:
    async def sent() -> bool:
        info = await env.nats.api(f"CONSUMER.INFO.{INGEST}.{INGEST_CONSUMER}")
        return bool(info["num_ack_pending"] == number)

    await until(sent, what="the buffer's filling")


async def test_what_waits_behind_a_batch_that_hangs_goes_to_another_process_at_once(
    env: DeliveryEnv, nats: Nats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "DRAIN_SECONDS", LONG_SECONDS)
    (account,) = await env.seed.accounts(1)
    async with AsyncExitStack() as stack:
        connection = await stack.enter_async_context(connect(nats_settings(nats), "going"))
        going = Going(env, await stack.enter_async_context(NatsIngestSource(connection)))
        sent = [await env.send(b"%d\r\n" % number, "user0@example.test") for number in range(10)]
        await going.mailboxes.reached.wait()
        await buffered(env, 10)
        draining = asyncio.create_task(going.intake.drain(LONG_SECONDS))
        other = await stack.enter_async_context(NatsIngestSource(env.nats))
        taken = []
        for _ in range(9):
            (delivery,) = await asyncio.wait_for(other.take(1, 1), BUSY_SECONDS)
            taken.append(delivery)
        late = await env.send(b"late\r\n", "user0@example.test")
        (delivery,) = await asyncio.wait_for(other.take(1, 1), BUSY_SECONDS)
        assert not draining.done()  # all of that came while the first batch still hung
        ids = {decode_record(each.octets).envelope.id for each in (*taken, delivery)}
        assert ids == {each.id for each in (*sent[1:], late)}
        going.mailboxes.goes_on.set()
        await asyncio.wait_for(draining, BUSY_SECONDS)
        await asyncio.wait_for(going.running, BUSY_SECONDS)
        assert await env.bodies(account) == [b"0\r\n"]


async def test_at_the_end_of_the_grace_period_the_batch_goes_back_although_its_transaction_hangs(
    env: DeliveryEnv, nats: Nats
) -> None:
    (account,) = await env.seed.accounts(1)
    async with AsyncExitStack() as stack:
        connection = await stack.enter_async_context(connect(nats_settings(nats), "going"))
        going = Going(env, await stack.enter_async_context(NatsIngestSource(connection)))
        await env.send(BODY, "user0@example.test")
        await going.mailboxes.reached.wait()
        await going.intake.drain(0.2)
        other = await stack.enter_async_context(NatsIngestSource(env.nats))
        (delivery,) = await asyncio.wait_for(other.take(1, 1), BUSY_SECONDS)
        assert delivery.attempt == 2
        await env.deliverer.deliver([delivery])
        going.mailboxes.goes_on.set()
        await asyncio.wait([going.running])
        await env.settled()
        assert await env.bodies(account) == [BODY]
        await env.seed.sums_hold()


async def test_a_source_that_stops_leaves_no_request_open(env: DeliveryEnv) -> None:
    source = NatsIngestSource(env.nats)
    async with source:
        await source.stop()

        async def none_waits() -> bool:
            await env.nats.client.flush()
            return bool(
                (await env.nats.api(f"CONSUMER.INFO.{INGEST}.{INGEST_CONSUMER}"))["num_waiting"]
                == 0
            )

        await until(none_waits)
        await env.nats.request("ingest.0", b"record")
        assert (await env.nats.api(f"CONSUMER.INFO.{INGEST}.{INGEST_CONSUMER}"))[
            "num_ack_pending"
        ] == 0
    async with NatsIngestSource(env.nats) as other:
        (delivery,) = await asyncio.wait_for(other.take(1, 1), BUSY_SECONDS)
        assert delivery.attempt == 1
