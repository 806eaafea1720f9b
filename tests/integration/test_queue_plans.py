"""A long queue costs no more than a short one: how many rows each question to the queue really
reads.

The server counts what is read: rows by sequential scans, index entries and rows fetched by them.
That says more than a plan, which may be an index scan that walks over everything; and it holds for
the plans that are made anew as for those kept for prepared statements, since every question is
asked more often than the server needs to keep its plan.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from posthorn.adapters.postgres.database import Connection
from posthorn.adapters.postgres.queue.administration import PostgresQueueAdministration
from posthorn.adapters.postgres.queue.queue import COUNTED
from posthorn.adapters.postgres.queue.routes import PostgresRoutes
from posthorn.adapters.postgres.schema import DEFAULT_TENANT
from posthorn.model.outbound import QueueState
from posthorn.ports.queue import Due, Route
from posthorn.ports.queue_administration import QueueFilter
from posthorn.runtime.ids import new_id
from posthorn_local.embedded import Postgres
from tests.contract.queue_env import QueueEnv
from tests.integration.long_queue import fill
from tests.support.databases import pool

ROWS = 60_000
DESTINATIONS = 2_000
TIMES = 8
"""Often enough for a plan to be kept: that happens at the sixth time."""
FEW = 2_500
"""Index entries and rows that one question may read, for pages of 50 and claims of 20; ``ROWS``
would be a walk over all."""


@pytest.fixture(scope="module")
def loaded(postgres: Postgres, migrated: str) -> Iterator[str]:
    """URL of a database with a long queue: half of it at one destination, half at many; nearly
    all put off."""

    async def on(name: str, work: Callable[[Connection], Awaitable[object]]) -> None:
        connection = await asyncpg.connect(postgres.url_of(name))
        try:
            await work(connection)
        finally:
            await connection.close()

    asyncio.run(
        on(
            "postgres",
            lambda admin: admin.execute(f"CREATE DATABASE long_queue TEMPLATE {migrated}"),
        )
    )
    asyncio.run(on("long_queue", lambda connection: fill(connection, ROWS, DESTINATIONS)))
    yield postgres.url_of("long_queue")
    asyncio.run(
        on("postgres", lambda admin: admin.execute("DROP DATABASE long_queue WITH (FORCE)"))
    )


@pytest.fixture(params=[True, False], ids=["as in the services", "as in the API"])
async def env(loaded: str, request: pytest.FixtureRequest) -> AsyncIterator[QueueEnv]:
    # one connection, whose counts are flushed before they are read, and whose prepared statements
    # are all of them
    async with pool(loaded, by_key=request.param, database_pool=1) as database:
        yield QueueEnv(database)


async def read(env: QueueEnv) -> tuple[int, int]:
    """Rows read by sequential scans of the queue's tables, and by indexes, so far."""
    await env.rows("SELECT pg_stat_force_next_flush()")
    await env.rows("SELECT pg_stat_clear_snapshot()")
    tables = ["outbound_recipients", "outbound_messages", "outbound_destinations", "messages"]
    ((scanned, fetched),) = await env.rows(
        "SELECT sum(t.seq_tup_read)::bigint, (SELECT sum(i.idx_tup_read)::bigint FROM pg_stat_user_indexes i"
        " WHERE i.relname = ANY ($1::text[])) FROM pg_stat_user_tables t WHERE t.relname = ANY ($1::text[])",
        tables,
    )
    return scanned, fetched


async def costs_little(env: QueueEnv, ask: Callable[[], Awaitable[Any]], most: int = FEW) -> None:
    before = await read(env)
    for _ in range(TIMES):
        await ask()
    after = await read(env)
    assert after[0] == before[0], "a table was read from end to end"
    assert after[1] - before[1] <= most * TIMES


async def test_looking_for_what_is_due(env: QueueEnv) -> None:
    assert len(await env.queue.due(200)) == 200
    await costs_little(env, lambda: env.queue.due(200))


async def test_looking_past_a_smarthost_that_is_down(env: QueueEnv) -> None:
    routes = PostgresRoutes(env.database)
    await routes.put(Route("*", "smart.test"))
    await routes.put(Route("d1.test"))
    await env.queue.close_next_hop("[smart.test]:25", 600, "smart.test", "gone")
    try:
        assert await env.due_names() == ["d1.test"]
        await costs_little(env, lambda: env.queue.due(200), most=50)
    finally:
        await env.queue.open_next_hop("[smart.test]:25")
        for domain in ("*", "d1.test"):
            await routes.delete(domain)


@pytest.mark.parametrize("destination", ["big.test", "d7.test"])
async def test_claiming_and_recording(env: QueueEnv, destination: str) -> None:
    relay = await env.relay()
    found = 0

    async def claim() -> None:
        nonlocal found
        jobs = await env.jobs(relay, destination, limit=20)
        found += len(jobs)
        await env.end(relay, jobs, QueueState.DEFERRED, retry_in=0, reply="450 busy")

    await costs_little(env, claim)
    assert found >= TIMES


async def test_keeping_the_recipients_of_a_message_together(database_url: str) -> None:
    """A claim looks for further recipients of its messages, and not through everything that is due
    at the destination.

    On a new database, of which the planner knows nothing yet.
    """
    async with pool(database_url, database_pool=1) as database:
        env = QueueEnv(database)
        relay = await env.relay()
        for _ in range(300):
            await env.send("a@crowded.test", "b@crowded.test")
        slot: UUID | None = None

        async def claim() -> None:
            nonlocal slot
            found = await env.queue.claim(relay, Due("crowded.test", None), slot, 5, None, 19, 100)
            assert len(found.jobs) == 20, "both recipients of the last message"
            slot = found.slot

        before = await read(env)
        for _ in range(TIMES):
            await claim()
        assert (await read(env))[1] - before[1] <= FEW * TIMES


async def test_claiming_by_statistics_of_an_empty_queue(database_url: str) -> None:
    """The planner believes that nothing waits, so any index of what waits looks as good as the
    one of the destination."""
    async with pool(database_url, by_key=True, database_pool=1) as database:
        env = QueueEnv(database)
        await env.send(*(f"r{number}@ended.test" for number in range(1000)))
        await env.rows("UPDATE outbound_recipients SET state = 'delivered', closed_at = now()")
        await env.rows("VACUUM ANALYZE outbound_recipients")
        relay = await env.relay()
        for first in range(0, 1000, 100):
            await env.send(*(f"r{number}@many.test" for number in range(first, first + 100)))
        await env.send(*(f"r{number}@few.test" for number in range(5 * TIMES)))
        before = await read(env)
        for _ in range(TIMES):
            claim = await env.queue.claim(relay, Due("few.test", None), None, TIMES, None, 5, 5)
            assert len(claim.jobs) == 5
        assert (await read(env))[1] - before[1] <= 200 * TIMES


async def test_claiming_beside_a_suspended_tenant(env: QueueEnv) -> None:
    """Its mail is put aside once, a thousand at a time, and then costs nothing."""
    tenant = new_id()
    await env.rows(
        "INSERT INTO tenants (id, name, state) VALUES ($1, 'hushed', 'suspended')", tenant
    )
    await env.rows(
        "UPDATE outbound_recipients SET tenant_id = $1, due_at = now() - interval '9 days' WHERE id = ANY (ARRAY ("
        " SELECT id FROM outbound_recipients WHERE destination = 'big.test' AND state = 'deferred' ORDER BY id LIMIT 1500))",
        tenant,
    )
    relay = await env.relay()
    assert await env.jobs(relay, "big.test", limit=20)
    assert await env.queue.resume(20) == 0
    held = (
        "SELECT count(*) FROM outbound_recipients WHERE state = 'held' AND suspended_for = $1::text"
    )
    assert await env.rows(held, str(tenant)) == [(1500,)]

    async def claim() -> None:
        assert await env.jobs(relay, "big.test", limit=20)
        assert await env.queue.resume(20) == 0

    await costs_little(env, claim)
    await env.queue.leave(relay)
    await env.rows(
        "UPDATE outbound_recipients SET state = 'deferred', suspended_for = NULL WHERE tenant_id = $1",
        tenant,
    )
    await env.rows("DELETE FROM tenants WHERE id = $1", tenant)


async def test_finding_nothing_among_many_that_are_put_off(env: QueueEnv) -> None:
    relay = await env.relay()

    async def claim() -> None:
        assert (
            await env.queue.claim(relay, Due("later.test", None), None, 9, None, 20)
        ).slot is None

    await costs_little(env, claim, most=50)


async def test_claiming_at_a_limited_rate(env: QueueEnv) -> None:
    relay = await env.relay()

    async def claim() -> None:
        claim = await env.queue.claim(relay, Due("big.test", None), None, 9, 60_000, 20)
        assert len(claim.jobs) == 20
        await env.end(relay, claim.jobs, QueueState.QUEUED)

    await costs_little(env, claim)
    await env.queue.leave(relay)


async def test_the_upkeep(env: QueueEnv) -> None:
    await costs_little(env, lambda: env.queue.sweep_overdue(True, 20))
    await costs_little(env, env.queue.reap)
    await costs_little(env, lambda: env.queue.resume(20))
    await costs_little(env, lambda: env.queue.pending_dsns(20))
    await costs_little(env, lambda: env.queue.purge(60, 20))


async def test_measuring_is_bounded(env: QueueEnv) -> None:
    measured = await env.queue.measure()
    assert measured["deferred"] == pytest.approx(ROWS, rel=0.2)
    await costs_little(env, env.queue.measure, most=5 * COUNTED)


@pytest.mark.parametrize(
    "which",
    [
        QueueFilter(),
        QueueFilter(domain="big.test"),
        QueueFilter(domain="d7.test"),
        QueueFilter(domain="nowhere.test"),
        QueueFilter(state=QueueState.DEFERRED),
        QueueFilter(state=QueueState.HELD),
        QueueFilter(state=QueueState.BOUNCED),
        QueueFilter(waits=True),
        QueueFilter(sender="S7@Example.test"),
        QueueFilter(recipient="r77@d77.test"),
        QueueFilter(message=DEFAULT_TENANT),
        QueueFilter(older_than=3600.0),
        QueueFilter(older_than=86_400.0 * 30),
        QueueFilter(younger_than=3600.0),
        QueueFilter(domain="big.test", older_than=40_000.0),
        QueueFilter(domain="big.test", state=QueueState.HELD),
    ],
    ids=lambda which: (
        " ".join(name for name in which.__slots__ if getattr(which, name) not in (None, False))
        or "all"
    ),
)
async def test_listing(env: QueueEnv, which: QueueFilter) -> None:
    administration = PostgresQueueAdministration(env.database)
    await costs_little(env, lambda: administration.items(None, which, None, 50))
    await costs_little(env, lambda: administration.items(DEFAULT_TENANT, which, 1000, 50))


async def test_listing_for_a_tenant_with_little_mail(env: QueueEnv) -> None:
    administration = PostgresQueueAdministration(env.database)
    await costs_little(
        env, lambda: administration.items(new_id(), QueueFilter(), None, 50), most=50
    )


async def test_acting_on_what_is_found(env: QueueEnv) -> None:
    administration = PostgresQueueAdministration(env.database)
    for action in ("hold", "release", "retry"):
        await costs_little(
            env, partial(administration.act_on_all, None, action, QueueFilter(domain="d9.test"), 20)
        )
