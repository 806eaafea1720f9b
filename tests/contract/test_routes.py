"""The port Routes on PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from uuid import UUID

import asyncpg
import pytest

from posthorn.adapters.postgres.database import Database
from posthorn.adapters.postgres.queue.routes import PostgresRoutes
from posthorn.ports.errors import Conflict, NotFound
from posthorn.ports.listing import ListQuery
from posthorn.ports.queue import Attempts, Route
from tests.support.databases import pool
from tests.support.lists import whole

FULL = Route("far.test", "smart.test", 2525, "verified", "user", b"encrypted", 7, 60)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with pool(database_url) as database:
        yield database


@pytest.fixture
def routes(database: Database) -> PostgresRoutes:
    return PostgresRoutes(database)


async def test_a_route_is_kept_as_it_was_put(routes: PostgresRoutes) -> None:
    assert await routes.put(FULL) == (FULL, True)
    assert await routes.get("far.test") == FULL


async def test_a_route_is_made_once_however_many_ask_at_the_same_time(
    routes: PostgresRoutes,
) -> None:
    asked = [replace(FULL, port=2000 + number) for number in range(6)]
    made = await asyncio.gather(*(routes.create(route) for route in asked), return_exceptions=True)
    (only,) = [each for each in made if isinstance(each, Route)]
    assert sum(isinstance(each, Conflict) for each in made) == 5
    assert only in asked
    assert await routes.get("far.test") == only, "those who came too late changed nothing"


async def test_a_route_is_replaced_as_a_whole(routes: PostgresRoutes) -> None:
    await routes.put(FULL)
    bare = Route("far.test", connections=1)
    assert await routes.put(bare) == (bare, False)
    assert await routes.get("far.test") == bare


async def test_routes_are_listed_by_domain_page_by_page(routes: PostgresRoutes) -> None:
    names = ["*", "a.test", "b.test", "c.test"]
    for name in reversed(names):
        await routes.put(replace(FULL, domain=name))
    listed = [route.domain for route in await whole(routes.all, 2)]
    assert sorted(listed) == names
    assert len(listed) == 4


async def test_a_route_that_is_removed_is_missing(routes: PostgresRoutes) -> None:
    await routes.put(FULL)
    await routes.delete("far.test")
    for call in (routes.get, routes.delete):
        with pytest.raises(NotFound):
            await call("far.test")
    assert (await routes.all(ListQuery(10))).items == []
    with pytest.raises(NotFound):
        await routes.get("nul\0.test")


async def test_a_route_has_its_attempts_of_the_last_hour(
    routes: PostgresRoutes, database: Database
) -> None:
    await routes.put(FULL)
    await routes.put(Route("*", host="smart.test"))
    async with database.session() as connection:
        await connection.execute(
            "INSERT INTO statistics (tenant_id, domain, hour, outcome, messages)"
            " SELECT t, d, now() - make_interval(mins => m), o, n FROM (VALUES"
            " ($1::uuid, 'far.test', 1, 'tried/delivered', 3), ($1, 'far.test', 59, 'tried/delivered', 4),"
            " ($1, 'far.test', 61, 'tried/delivered', 100), ($1, 'far.test', 6, 'tried/deferred', 2),"
            " ($1, '*', 1, 'tried/refused', 1), ($2, 'far.test', 1, 'relayed', 100)) AS v (t, d, m, o, n)",
            *(UUID(int=0), UUID(int=1)),
        )
    tried = Attempts(delivered=7, deferred=2)
    assert (await routes.get("far.test")).last_hour == tried
    assert (await routes.put(FULL))[0].last_hour == tried
    assert {each.domain: each.last_hour for each in await whole(routes.all, 1)} == {
        "*": Attempts(refused=1),
        "far.test": tried,
    }


async def test_a_route_that_is_made_again_has_no_attempts(
    routes: PostgresRoutes, database: Database
) -> None:
    await routes.put(FULL)
    async with database.session() as connection:
        await connection.execute(
            "INSERT INTO statistics (tenant_id, domain, hour, outcome, messages)"
            " VALUES ($1, 'far.test', now(), 'tried/deferred', 3), ($1, 'far.test', now(), 'relayed', 4)",
            UUID(int=0),
        )
    await routes.delete("far.test")
    await routes.put(FULL)
    assert (await routes.get("far.test")).last_hour == Attempts()
    async with database.session() as connection:
        assert await connection.fetchval("SELECT messages FROM statistics") == 4


async def test_a_way_of_tls_that_nobody_knows_is_refused(routes: PostgresRoutes) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await routes.put(replace(FULL, tls="perhaps"))
