"""The pool of connections to Postgres shows what it lends and who waits for it."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client import REGISTRY

from posthorn.adapters.postgres.database import connect
from posthorn.runtime.settings import PostgresSettings
from tests.support.polling import until


def measured() -> tuple[float, ...]:
    found = [
        REGISTRY.get_sample_value(f"posthorn_postgres_pool_{name}")
        for name in ("in_use", "waiting", "size")
    ]
    return tuple(value or 0.0 for value in found)


@pytest.mark.usefixtures("collected")  # pools of earlier tests count until they are collected
async def test_lent_and_awaited_connections_are_shown(database_url: str) -> None:
    settings = PostgresSettings.model_validate({"database_url": database_url, "database_pool": 2})
    in_use, waiting, size = measured()
    ended = asyncio.Event()
    async with connect(settings) as database:

        async def borrow() -> None:
            async with database.session():
                await ended.wait()

        async with asyncio.TaskGroup() as group:
            borrowers = [group.create_task(borrow()) for _ in range(5)]
            await until(lambda: measured() == (in_use + 2, waiting + 3, size + 2))
            borrowers[4].cancel()
            await until(lambda: measured() == (in_use + 2, waiting + 2, size + 2))
            ended.set()
        assert measured() == (in_use, waiting, size + 2)
        with pytest.raises(RuntimeError):
            async with database.transaction():
                raise RuntimeError
        assert measured() == (in_use, waiting, size + 2)


async def test_a_connection_that_a_task_returns_after_the_end_is_closed(database_url: str) -> None:
    settings = PostgresSettings.model_validate({"database_url": database_url})
    async with connect(settings) as database:
        await database.pool.discard(await database.pool.take())
    late = await database.pool.take()
    database.pool.give(late)
    assert late.is_closed()
