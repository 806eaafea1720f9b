"""The port Routes on PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import asyncpg
import pytest

from posthorn.adapters.postgres.queue.routes import PostgresRoutes
from posthorn.ports.errors import Conflict, NotFound
from posthorn.ports.listing import ListQuery
from posthorn.ports.queue import Route
from tests.support.databases import pool
from tests.support.lists import whole

FULL = Route("far.test", "smart.test", 2525, "verified", "user", b"encrypted", 7, 60)


@pytest.fixture
async def routes(database_url: str) -> AsyncIterator[PostgresRoutes]:
    async with pool(database_url) as database:
        yield PostgresRoutes(database)


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


async def test_a_way_of_tls_that_nobody_knows_is_refused(routes: PostgresRoutes) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await routes.put(replace(FULL, tls="perhaps"))
