"""What cannot be placed at first is tried again in a lane of its own, and first deliveries never
wait for it (ADR 19)."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from posthorn.adapters.nats.ingest_consumer import NatsIngestSource
from posthorn.adapters.postgres.mailboxes.delivery import PostgresMailboxes
from posthorn.model.envelope import Envelope
from posthorn.model.streams import INGEST, INGEST_CONSUMER, RETRY_CONSUMER
from posthorn.ports.errors import Full, Unavailable
from posthorn.ports.filing import Authors
from posthorn.ports.hand_over import HandOver
from posthorn.ports.mailboxes import Resolution
from posthorn.ports.segments import Segment
from posthorn.runtime.ids import new_id
from posthorn_delivery.consumer import Consumer
from posthorn_delivery.deliverer import Deliverer
from posthorn_delivery.isolate import MOST_FAILURES
from posthorn_local.embedded import Nats
from tests.support.builders import make_envelope
from tests.support.delivery_env import DeliveryEnv, delivery_env
from tests.support.polling import BUSY_SECONDS, until

BODY = b"Subject: hello\r\n\r\nworld\r\n"


def poison(*to: str) -> Envelope:
    """A message that no transaction takes: a length beyond what its column holds."""
    bad = make_envelope(BODY, to=to)
    return replace(bad, body=replace(bad.body, return_path_octets=2**40))


async def lane(env: DeliveryEnv, consumer: str) -> tuple[int, int]:
    """What the consumer has not given yet, and what it waits to hear of."""
    info = await env.nats.api(f"CONSUMER.INFO.{INGEST}.{consumer}")
    return info["num_pending"], info["num_ack_pending"]


async def free(env: DeliveryEnv) -> None:
    """Wait until nothing is left in the first lane."""

    async def nothing() -> bool:
        return await lane(env, INGEST_CONSUMER) == (0, 0)

    await until(nothing, what="the first lane's becoming empty")


class Counting(PostgresMailboxes):
    """Counts what is asked of it."""

    resolved = 0
    placed = 0

    async def resolve(
        self,
        recipients: Collection[str],
        messages: Collection[UUID],
        authors: Authors = MappingProxyType({}),
    ) -> Resolution:
        self.resolved += 1
        return await super().resolve(recipients, messages, authors)

    async def deliver(self, segments: Sequence[Segment], over: HandOver | None = None) -> int:
        self.placed += 1
        return await super().deliver(segments, over)


async def test_two_hundred_poisonous_messages_delay_no_other_also_while_dead_is_full(
    nats: Nats, database_url: str, tmp_path: Path
) -> None:
    async with delivery_env(nats, database_url, tmp_path / "blobs", dead_max_bytes=500) as env:
        (account,) = await env.seed.accounts(1)
        for number in range(200):
            await env.ingest.accept(poison("user0@example.test"), BODY)
            if number in (0, 100, 199):
                await env.send(b"%d\r\n" % number, "user0@example.test")
        mailboxes = Counting(env.seed.database)
        deliverer = Deliverer(mailboxes, env.blobs, env.dead, new_id=new_id)
        await deliverer.deliver(await env.take(203))
        await free(env)
        assert mailboxes.resolved == 1  # nothing is walked again to find what cannot be placed
        assert mailboxes.placed <= 2 * MOST_FAILURES
        # an honest one that was taken for poison along with them is found out by its other try
        retrying = (await env.source.backlog()).retrying
        assert 200 <= retrying <= 203
        await env.send(BODY, "user0@example.test")
        await env.deliver(1)
        await free(env)
        assert BODY in await env.bodies(account)
        await env.try_again(retrying)
        assert sorted(await env.bodies(account)) == sorted([b"0\r\n", b"100\r\n", b"199\r\n", BODY])

        async def the_rest_waits() -> bool:
            return await lane(env, RETRY_CONSUMER) == (0, 200)

        await until(the_rest_waits)
        assert await lane(env, INGEST_CONSUMER) == (0, 0)
        assert await env.dead.parked(0, 10) == []


async def test_what_fails_alone_twice_is_parked(env: DeliveryEnv) -> None:
    await env.seed.accounts(1)
    bad = poison("user0@example.test")
    await env.ingest.accept(bad, BODY)
    await env.deliver(1)
    await free(env)
    assert (await lane(env, RETRY_CONSUMER), await env.dead.parked(0, 10)) == ((1, 0), [])
    await env.try_again(1)
    await env.settled()
    assert [(each.message_id, each.reason) for each in await env.dead.parked(0, 10)] == [
        (str(bad.id), "DataError")
    ]


async def test_poison_is_parked_once_dead_has_room(
    nats: Nats, database_url: str, tmp_path: Path
) -> None:
    async with delivery_env(nats, database_url, tmp_path / "blobs", dead_max_bytes=500) as env:
        await env.nats.request("ingest.0", b"no record " + b"x" * 1000)
        await env.deliver(1)
        await free(env)
        async with NatsIngestSource(env.nats, RETRY_CONSUMER) as source:
            (delivery,) = await asyncio.wait_for(source.take(1, 1), BUSY_SECONDS)
            await env.deliverer.deliver([delivery])
            config = (await env.nats.api("STREAM.INFO.DEAD"))["config"]
            await env.nats.api("STREAM.UPDATE.DEAD", {**config, "max_bytes": 100_000})
            (delivery,) = await asyncio.wait_for(source.take(1, 1), BUSY_SECONDS)
            assert delivery.attempt == 2
            await env.deliverer.deliver([delivery])
        await env.settled()
        assert len(await env.dead.parked(0, 10)) == 1


class FullMailboxes(PostgresMailboxes):
    """Mailboxes whose disk has no room for some attempts, while their probe is content."""

    attempts = 0

    async def deliver(self, segments: Sequence[Segment], over: HandOver | None = None) -> int:
        self.attempts += 1
        if self.attempts < 6:
            raise Full("postgres", "no space left")
        return await super().deliver(segments, over)


async def test_a_store_that_is_full_is_waited_for_though_it_answers(env: DeliveryEnv) -> None:
    (account,) = await env.seed.accounts(1)
    mailboxes = FullMailboxes(env.seed.database)
    deliverer = Deliverer(mailboxes, env.blobs, env.dead, new_id=new_id)
    await env.send(BODY, "user0@example.test")
    await env.send(BODY, "user0@example.test")
    with capture_logs() as lines:
        await deliverer.deliver(await env.take(2))
    assert mailboxes.attempts == 6, "together, not halved"
    assert await env.bodies(account) == [BODY, BODY]
    assert await lane(env, RETRY_CONSUMER) == (0, 0)
    assert [line["event"] for line in lines if line["log_level"] == "info"].count(
        "delivery goes on"
    ) == 1


class NoKeys:
    """A signer whose keys do not open, until they do."""

    opens = False

    async def sign(self, _: str, __: object) -> str:
        if not self.opens:
            raise Unavailable("keys", "they do not open")
        return "DKIM-Signature: v=1\r\n"


async def test_messages_whose_keys_do_not_open_wait_in_the_retry_lane(env: DeliveryEnv) -> None:
    (account,) = await env.seed.accounts(1)
    signer = NoKeys()
    deliverer = Deliverer(env.mailboxes, env.blobs, env.dead, new_id=new_id, signer=signer)
    for _ in range(30):
        await env.send(BODY, "out@far.test", role="submission", signer="example.test")
    await env.send(BODY, "user0@example.test")
    await deliverer.deliver(await env.take(31))
    await free(env)
    assert await env.bodies(account) == [BODY]
    assert await lane(env, RETRY_CONSUMER) == (30, 0)
    signer.opens = True
    async with NatsIngestSource(env.nats, RETRY_CONSUMER) as source:
        for _ in range(30):
            await deliverer.deliver(await asyncio.wait_for(source.take(1, 1), BUSY_SECONDS))
    await env.settled()
    assert await env.seed.rows("SELECT signature, count(*) FROM outbound_messages GROUP BY 1") == [
        ("DKIM-Signature: v=1\r\n", 30)
    ]


async def test_to_set_aside_twice_is_to_set_aside_once_and_the_publishers_word_stays(
    env: DeliveryEnv,
) -> None:
    await env.nats.request("ingest.submission", b"record")
    (delivery,) = await env.take(1)
    await delivery.set_aside()
    await delivery.set_aside()
    await delivery.ack()
    async with NatsIngestSource(env.nats, RETRY_CONSUMER) as source:
        (again,) = await asyncio.wait_for(source.take(10, 1 << 20), BUSY_SECONDS)
        assert (again.subject, again.octets, again.attempt) == ("retry.submission", b"record", 1)
        await again.ack()
    await env.settled()


async def test_when_ingest_has_no_room_for_the_retry_lane_the_message_comes_again(
    nats: Nats, database_url: str, tmp_path: Path
) -> None:
    async with delivery_env(nats, database_url, tmp_path / "blobs", ingest_max_bytes=20_000) as env:
        (account,) = await env.seed.accounts(1)
        bad = poison("user0@example.test")
        await env.ingest.accept(bad, BODY)
        filler = b"x" * 2_000
        with pytest.raises(Full):
            for _ in range(20):
                await env.send(filler, "user0@example.test")
        with pytest.raises(Full):
            while True:
                await env.send(BODY, "user0@example.test")
        (first, *_) = taken = await env.take(await env.left())
        await env.deliverer.deliver([first])
        await env.deliverer.deliver(taken[1:])
        assert len(await env.seed.inbox(account)) == len(taken) - 1

        async def it_is_left() -> bool:
            return await env.left() == 1

        await until(it_is_left)
        assert await env.dead.parked(0, 10) == []


async def test_the_intake_tries_again_beside_first_deliveries(env: DeliveryEnv) -> None:
    (account,) = await env.seed.accounts(1)
    async with NatsIngestSource(env.nats, RETRY_CONSUMER, messages=16) as retries:
        intake = Consumer(env.source, env.deliverer, (512, 1 << 23, 1), 0.0, retries)
        running = asyncio.create_task(intake.run())
        bad = [poison("user0@example.test") for _ in range(5)]
        for each in bad:
            await env.ingest.accept(each, BODY)
            await env.send(BODY, "user0@example.test")
        await env.settled()
        assert await env.bodies(account) == [BODY] * 5
        assert {each.message_id for each in await env.dead.parked(0, 10)} == {
            str(each.id) for each in bad
        }
        await intake.drain(5)
        await asyncio.wait_for(running, BUSY_SECONDS)
    await env.seed.sums_hold()
