"""Postgres that is silent without closing anything: dead connections are told from slow
statements, within seconds."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

import pytest

from posthorn.adapters.postgres.database import Connection, Database
from posthorn.adapters.postgres.liveness import Liveness
from posthorn.adapters.postgres.mailboxes.maildrops import PostgresMaildrops
from posthorn.ports.errors import Unavailable
from posthorn.runtime.ids import new_id
from posthorn_local.embedded import Postgres
from tests.support.databases import pool
from tests.support.polling import BUSY_SECONDS
from tests.support.seed import DatabaseSeed
from tests.support.tcp_proxy import TcpProxy

PROMISED_SECONDS = 10.0
"""Within which work goes on, counted from the moment at which Postgres can be reached."""


@pytest.fixture
def proxy(postgres: Postgres) -> Iterator[TcpProxy]:
    with TcpProxy(postgres.port) as running:
        yield running


@pytest.fixture
async def database(
    postgres: Postgres, proxy: TcpProxy, database_url: str
) -> AsyncIterator[Database]:
    async with pool(database_url.replace(f":{postgres.port}/", f":{proxy.port}/")) as opened:
        yield opened


async def fill(database: Database) -> None:
    """Have all connections of the pool open."""
    await asyncio.gather(*(_sleep(database, 0.2) for _ in range(4)))


async def _sleep(database: Database, seconds: float) -> None:
    async with database.session() as connection:
        await connection.fetchval("SELECT 1 FROM pg_sleep($1)", seconds)


async def _until_it_works(database: Database) -> None:
    while True:
        with suppress(Unavailable):
            return await database.probe()
        await asyncio.sleep(0.05)


async def test_half_open_connections_cost_seconds_not_the_time_limit_of_statements(
    database: Database, proxy: TcpProxy
) -> None:
    await fill(database)
    proxy.swallow()
    proxy.heal()
    began = time.monotonic()
    with pytest.raises(Unavailable):  # the first to use one waits until it is found to be dead
        await database.probe()
    # and the others of the pool are gone with it
    await asyncio.gather(*(database.probe() for _ in range(8)))
    assert time.monotonic() - began < PROMISED_SECONDS + BUSY_SECONDS


@pytest.mark.parametrize("seconds", [4.0, 9.0])
async def test_work_goes_on_soon_after_packets_were_swallowed(
    database: Database, proxy: TcpProxy, seconds: float
) -> None:
    await fill(database)
    proxy.swallow()
    working = [asyncio.create_task(_until_it_works(database)) for _ in range(8)]
    await asyncio.sleep(seconds)
    assert not any(task.done() for task in working)
    proxy.heal()
    async with asyncio.timeout(PROMISED_SECONDS + BUSY_SECONDS):
        await asyncio.gather(*working)


async def test_what_a_dead_connection_had_locked_is_free_within_seconds(
    database: Database, proxy: TcpProxy, database_url: str
) -> None:
    seed = DatabaseSeed(database)
    (ada,) = await seed.accounts(1)

    async def rename() -> None:
        async with database.transaction() as connection:
            await connection.execute(
                "UPDATE accounts SET max_messages_per_hour = 1 WHERE id = $1", ada
            )
            proxy.swallow()
            proxy.heal()
            await connection.execute(
                "UPDATE accounts SET max_messages_per_hour = 2 WHERE id = $1", ada
            )

    began = time.monotonic()
    with pytest.raises(Unavailable):
        await rename()
    async with pool(database_url) as direct, direct.session() as connection:
        await connection.execute("UPDATE accounts SET max_messages_per_hour = 3 WHERE id = $1", ada)
        assert time.monotonic() - began < PROMISED_SECONDS + BUSY_SECONDS
    await _until_it_works(database)
    assert (await PostgresMaildrops(database).open(ada, new_id())).uids == []


async def test_a_slow_statement_is_left_alone_and_so_is_one_that_waits_for_a_lock(
    database: Database,
) -> None:
    (ada,) = await DatabaseSeed(database).accounts(1)

    async def hold() -> None:
        async with database.transaction() as connection:
            await connection.execute(
                "UPDATE accounts SET max_messages_per_hour = 1 WHERE id = $1", ada
            )
            await connection.fetchval("SELECT pg_sleep(6)")

    async def wait() -> None:
        async with database.session() as connection:
            await connection.execute(
                "UPDATE accounts SET max_messages_per_hour = 2 WHERE id = $1", ada
            )

    await asyncio.gather(hold(), wait(), _sleep(database, 6.0))


async def test_many_short_statements_in_one_loan_are_left_alone(database: Database) -> None:
    async with database.session() as connection:
        pid = connection.get_server_pid()
        for _ in range(12):
            await connection.fetchval("SELECT 1")
            await asyncio.sleep(0.5)
    async with database.session() as connection:
        assert connection.get_server_pid() == pid


async def test_a_server_that_stands_still_costs_no_more_than_that(
    database: Database, proxy: TcpProxy
) -> None:
    await fill(database)
    proxy.stall()
    working = [asyncio.create_task(_until_it_works(database)) for _ in range(8)]
    await asyncio.sleep(8)
    proxy.heal()
    async with asyncio.timeout(PROMISED_SECONDS + BUSY_SECONDS):
        await asyncio.gather(*working)


async def test_the_kernel_gives_up_a_peer_that_acknowledges_nothing(database: Database) -> None:
    async with database.session() as connection:
        found = connection._transport.get_extra_info("socket")  # type: ignore[attr-defined]
        assert found.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 8000
        assert found.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1


async def test_a_connection_that_dies_before_anybody_has_it_costs_seconds_too(
    database: Database, proxy: TcpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Liveness.opened

    def lost_at_once(self: Liveness, connection: Connection) -> None:
        opened(self, connection)
        monkeypatch.setattr(Liveness, "opened", opened)
        proxy.swallow()
        proxy.heal()

    monkeypatch.setattr(Liveness, "opened", lost_at_once)
    began = time.monotonic()
    await asyncio.gather(*(_until_it_works(database) for _ in range(8)))
    assert time.monotonic() - began < PROMISED_SECONDS + BUSY_SECONDS
