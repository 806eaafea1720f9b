"""Delivery while a part is down: everything waits, nothing is parked or doubled, and it is quick
once the part is back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from posthorn.adapters.nats.ingest_consumer import NatsIngestSource
from posthorn.model.streams import INGEST, INGEST_CONSUMER
from posthorn_delivery import consumer
from posthorn_delivery.consumer import Consumer
from posthorn_local.embedded import Nats, Postgres
from tests.support.delivery_env import DeliveryEnv, delivery_env
from tests.support.jetstream import restart
from tests.support.polling import BUSY_SECONDS, LONG_SECONDS, until

BODY = b"Subject: hello\r\n\r\nworld\r\n"


@asynccontextmanager
async def running(env: DeliveryEnv) -> AsyncIterator[Consumer]:
    intake = Consumer(env.source, env.deliverer, (512, 1 << 23, 1))
    task = asyncio.create_task(intake.run())
    try:
        yield intake
    finally:
        await intake.drain(LONG_SECONDS)
        await asyncio.wait_for(task, BUSY_SECONDS)


async def test_postgres_stops_while_500_messages_arrive_and_all_are_delivered_once_it_is_back(
    nats: Nats, own_postgres: Postgres, tmp_path: Path
) -> None:
    async with delivery_env(nats, own_postgres.url, tmp_path / "blobs") as env:
        (account,) = await env.seed.accounts(1)
        bodies = [b"%d\r\n" % number for number in range(500)]
        async with running(env):
            for body in bodies[:20]:
                await env.send(body, "user0@example.test")
            stopping = asyncio.create_task(asyncio.to_thread(own_postgres.stop, kill=True))
            for body in bodies[20:]:
                await env.send(body, "user0@example.test")
            await stopping
            puts = -1

            async def stands_still() -> bool:
                nonlocal puts
                before, puts = puts, env.blobs.puts
                return puts == before

            # an outage does not fill the store with orphans
            await until(stands_still, what="the last put", every=1.0)
            assert await env.left() >= 400

            # in this thread: a child dies with the thread that started it
            own_postgres.start(port=own_postgres.port)
            await env.settled()
        assert sorted(await env.bodies(account)) == sorted(bodies)
        assert env.blobs.puts <= puts + 3
        assert await env.dead.parked(0, 10) == []
        await env.seed.sums_hold()


async def test_draining_while_postgres_is_down_gives_back_at_once(
    nats: Nats, own_postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer, "DRAIN_SECONDS", LONG_SECONDS)
    async with delivery_env(nats, own_postgres.url, tmp_path / "blobs") as env:
        await env.seed.accounts(1)
        await asyncio.to_thread(own_postgres.stop, kill=True)

        async def taken_by_it() -> bool:
            info = await env.nats.api(f"CONSUMER.INFO.{INGEST}.{INGEST_CONSUMER}")
            return bool(info["num_ack_pending"])

        async with running(env):
            for _ in range(5):
                await env.send(BODY, "user0@example.test")
            await until(taken_by_it, what="a delivery")
            began = time.monotonic()
        assert time.monotonic() - began < BUSY_SECONDS
        async with NatsIngestSource(env.nats) as other:
            taken = [await asyncio.wait_for(other.take(1, 1), BUSY_SECONDS) for _ in range(5)]
        assert [delivery.attempt > 1 for (delivery,) in taken].count(True) >= 1
        assert await env.left() == 5


async def test_the_store_fails_and_comes_back(
    nats: Nats, database_url: str, tmp_path: Path
) -> None:
    async with delivery_env(nats, database_url, tmp_path / "blobs") as env:
        (account,) = await env.seed.accounts(1)
        (tmp_path / "blobs").rename(tmp_path / "away")
        (tmp_path / "blobs").write_text("no directory")
        async with running(env):
            for _ in range(20):
                await env.send(BODY, "user0@example.test")
            await asyncio.sleep(0.7)
            assert await env.left() == 20
            assert await env.seed.inbox(account) == []
            (tmp_path / "blobs").unlink()
            (tmp_path / "away").rename(tmp_path / "blobs")
            await env.settled()
        assert await env.bodies(account) == [BODY] * 20
        assert await env.dead.parked(0, 10) == []


async def test_nats_is_killed_under_load_and_every_message_is_delivered_once(
    nats: Nats, database_url: str, tmp_path: Path
) -> None:
    async with delivery_env(nats, database_url, tmp_path / "blobs") as env:
        (account,) = await env.seed.accounts(1)
        bodies = [b"%d\r\n" % number for number in range(300)]
        queue = iter(bodies)

        async def send() -> None:
            for body in queue:
                await env.send(body, "user0@example.test")

        async with running(env):
            senders = asyncio.gather(*(send() for _ in range(10)))

            async def some_delivered() -> bool:
                return len(await env.seed.inbox(account)) > 20

            await until(some_delivered)
            nats.stop(kill=True)
            await asyncio.sleep(0.3)
            restart(nats)
            await asyncio.wait_for(senders, BUSY_SECONDS)

            async def all_delivered() -> bool:
                return len(await env.seed.inbox(account)) >= len(bodies)

            await until(all_delivered, 40)
        assert sorted(await env.bodies(account)) == sorted(bodies)
        await env.seed.sums_hold()
