"""The port Throttle on Postgres: limits that hold across processes, all or none, and little
traffic for it."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator

import pytest

from posthorn.adapters.postgres.database import Database
from posthorn.adapters.postgres.queue.rate_limits import PostgresThrottle
from posthorn.ports.errors import Unavailable
from posthorn.ports.sending import Charge
from tests.support.databases import as_part, pool, until_waiting
from tests.support.polling import BUSY_SECONDS
from tests.support.seed import DatabaseSeed


@pytest.fixture(params=["submission", "pop3"])
async def throttle(
    database_url: str, request: pytest.FixtureRequest
) -> AsyncIterator[PostgresThrottle]:
    async with pool(as_part(database_url, request.param)) as own:
        yield PostgresThrottle(own)


def hourly(key: str, limit: int, cost: int = 1) -> Charge:
    return Charge(key, limit, 3600, cost)


async def test_a_limit_is_reached_and_the_wait_is_told(throttle: PostgresThrottle) -> None:
    assert [await throttle.take([hourly("a", 3)]) for _ in range(3)] == [0.0, 0.0, 0.0]
    assert await throttle.take([hourly("a", 3)]) == pytest.approx(1200, abs=BUSY_SECONDS)
    assert await throttle.take([hourly("a", 3, cost=2)]) == pytest.approx(2400, abs=BUSY_SECONDS)
    assert await throttle.take([hourly("b", 3)]) == 0.0


async def test_it_refills_evenly(throttle: PostgresThrottle, seed: DatabaseSeed) -> None:
    for _ in range(3):
        await throttle.take([hourly("a", 3)])
    await seed.rows("UPDATE throttles SET full_at = full_at - interval '20 minutes'")
    assert await throttle.take([hourly("a", 3)]) == 0.0
    assert await throttle.take([hourly("a", 3)]) > 1100
    await seed.rows("UPDATE throttles SET full_at = full_at - interval '10 hours'")
    # a long silence fills the bucket, and no more than that
    assert [await throttle.take([hourly("a", 3)]) for _ in range(4)] == [
        0,
        0,
        0,
        pytest.approx(1200, abs=BUSY_SECONDS),
    ]


async def test_all_are_taken_or_none(throttle: PostgresThrottle) -> None:
    assert await throttle.take([hourly("narrow", 1)]) == 0.0
    assert await throttle.take([hourly("wide", 5), hourly("narrow", 1)]) == pytest.approx(
        3600, abs=20
    )
    assert [await throttle.take([hourly("wide", 5)]) for _ in range(5)] == [0.0] * 5
    assert await throttle.take([hourly("wide", 5)]) > 0


async def test_a_refusal_that_meets_others_takes_nothing(throttle: PostgresThrottle) -> None:
    await throttle.take([hourly("full", 1)])
    waits = await asyncio.gather(
        throttle.take([hourly("shared", 4, 2)]),
        throttle.take([hourly("shared", 4), hourly("full", 1)]),
        throttle.take([hourly("shared", 4, 2)]),
        throttle.take([hourly("shared", 4)]),
    )
    assert [wait == 0.0 for wait in waits] == [True, False, True, False]


async def test_cost_zero_only_asks(throttle: PostgresThrottle, seed: DatabaseSeed) -> None:
    ask = hourly("a", 2, cost=0)
    for _ in range(5):
        assert await throttle.take([ask]) == 0.0
    assert await seed.value("SELECT count(*) FROM throttles") == 0
    await throttle.take([hourly("a", 2), ask])
    before = await seed.value("SELECT full_at FROM throttles")
    assert await throttle.take([ask]) == 0.0
    await throttle.take([hourly("a", 2)])
    assert await throttle.take([ask]) == pytest.approx(1800, abs=BUSY_SECONDS)
    assert await throttle.take([hourly("b", 2), ask]) > 0
    assert (
        await seed.value("SELECT count(*) FROM throttles WHERE key = 'b' AND full_at > now()") == 0
    )
    assert before < await seed.value("SELECT full_at FROM throttles WHERE key = 'a'")


async def test_nothing_goes_through_a_limit_of_nothing(throttle: PostgresThrottle) -> None:
    assert await throttle.take([hourly("a", 0)]) == 3600
    assert await throttle.take([hourly("a", 3, cost=4)]) > 0
    assert await throttle.take([hourly("a", 3, cost=3)]) == 0.0
    assert await throttle.take([]) == 0.0


@pytest.mark.parametrize("prepared", [True, False])
async def test_processes_share_a_limit_to_the_last_one(
    database_url: str, *, prepared: bool
) -> None:
    async with (
        pool(database_url, database_prepared=prepared) as one,
        pool(database_url, database_prepared=prepared) as other,
        pool(database_url, database_prepared=prepared) as third,
    ):
        throttles = [PostgresThrottle(database) for database in (one, other, third)]
        charges = [Charge(f"k{number % 2}", 20, 36_000) for number in range(120)]
        waits = await asyncio.gather(
            *(throttles[number % 3].take([charge]) for number, charge in enumerate(charges)),
        )
        assert sum(wait == 0.0 for wait in waits) == 40


async def test_keys_in_any_order_never_lock_each_other_out(database_url: str) -> None:
    async with pool(database_url) as one, pool(database_url) as other:
        forth = [hourly(f"k{number}", 1000) for number in range(8)]
        throttles = [PostgresThrottle(one), PostgresThrottle(other)]
        for _ in range(20):
            one_way, other_way = await asyncio.gather(
                throttles[0].take(forth), throttles[1].take(forth[::-1])
            )
            assert one_way == other_way == 0.0


async def test_what_meets_goes_in_one_round_trip(
    database: Database, throttle: PostgresThrottle, seed: DatabaseSeed
) -> None:
    began = time.monotonic()
    await throttle.take([hourly("a", 1000)])
    async with database.transaction() as holding:
        await holding.execute("SELECT FROM throttles FOR UPDATE")
        first = asyncio.create_task(throttle.take([hourly("a", 1000)]))
        await until_waiting(holding)
        rest = [asyncio.create_task(throttle.take([hourly("a", 1000)])) for _ in range(50)]
        given_up = rest.pop()
        await asyncio.sleep(0)
        given_up.cancel()
    assert await asyncio.gather(first, *rest) == [0.0] * 50
    # 1 + 1 + 49 charges of 3.6 s in three statements; the one that was given up took nothing
    ahead = await seed.value("SELECT extract(epoch FROM full_at - now())::float8 FROM throttles")
    assert 51 * 3.6 - (time.monotonic() - began) - 0.1 < ahead <= 51 * 3.6
    versions = await seed.value("SELECT ctid::text FROM throttles")
    assert int(versions.strip("()").split(",")[1]) <= 4


async def test_old_counters_are_removed_and_live_ones_stay(
    throttle: PostgresThrottle, seed: DatabaseSeed
) -> None:
    await throttle.take([hourly("old", 3), hourly("live", 3)])
    await seed.rows("UPDATE throttles SET full_at = now() - interval '1 hour' WHERE key = 'old'")
    assert await throttle.purge() == 1
    assert await seed.rows("SELECT key FROM throttles") == [("live",)]


async def test_any_text_may_be_a_key(throttle: PostgresThrottle) -> None:
    for key in ("nul\0", "\udc80", "ü@例え.test", ""):
        assert await throttle.take([hourly(key, 1)]) == 0.0
        assert await throttle.take([hourly(key, 1)]) > 0


async def test_an_outage_is_told_to_everyone_and_is_over_when_it_is_over(
    database_url: str, seed: DatabaseSeed
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        async with pool(f"postgresql://u:p@127.0.0.1:{closed.getsockname()[1]}/x") as gone:
            throttle = PostgresThrottle(gone)
            for _ in range(2):
                results = await asyncio.gather(
                    *(throttle.take([hourly("a", 9)]) for _ in range(5)), return_exceptions=True
                )
                assert all(isinstance(result, Unavailable) for result in results)
