"""Guesses at passwords over POP3: simultaneous ones, those from one network, and people whom
they must not shut out."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from posthorn.adapters.postgres.database import Database
from posthorn.adapters.postgres.queue.rate_limits import PostgresThrottle
from posthorn.ports import sending
from posthorn.ports.sending import FAMILIAR_FACTOR, NETWORK_FACTOR, Charge
from posthorn.runtime.settings import LoginLimitSettings
from posthorn.wire.pop3.events import Login
from posthorn_pop3.service import LoginFailed
from tests.conformance.pop3.dialogue import ADDRESS, Server, pop3_server
from tests.conformance.twins import PASSWORD, MemoryMailStore
from tests.support.databases import pool

FAILURES_PER_ADDRESS = LoginLimitSettings().login_failures_per_address
FAILURES_PER_ACCOUNT = LoginLimitSettings().login_failures_per_account


@pytest.fixture
async def house(password_hash: str) -> MemoryMailStore:
    made = MemoryMailStore(password_hash)
    await made.account(ADDRESS)
    await made.account("bob@example.test")
    return made


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with pool(database_url) as made:
        yield made


@pytest.fixture
async def server(house: MemoryMailStore, database: Database) -> AsyncIterator[Server]:
    async with pop3_server(house, throttle=PostgresThrottle(database)) as made:
        yield made


async def tried(server: Server, client: str, password: str = "wrong", name: str = ADDRESS) -> str:
    """The outcome of a login from an address."""
    try:
        maildrop = await server.service.log_in(Login(name, password), client)
    except LoginFailed as failed:
        return failed.outcome
    await maildrop.leave()
    return "accepted"


async def test_guesses_at_an_account_at_the_same_time_see_each_other_counted(
    server: Server,
) -> None:
    clients = [f"192.0.2.{number}" for number in range(FAILURES_PER_ACCOUNT + 15)]
    outcomes = Counter(await asyncio.gather(*(tried(server, client) for client in clients)))
    assert outcomes == {"wrong": FAILURES_PER_ACCOUNT, "throttled": 15}


async def test_the_limits_are_those_of_the_settings(
    house: MemoryMailStore, database: Database
) -> None:
    limits: dict[str, Any] = {"login_failures_per_account": 2, "login_failures_per_address": 4}
    async with pop3_server(house, throttle=PostgresThrottle(database), **limits) as server:
        assert [await tried(server, f"192.0.2.{number}") for number in range(3)] == [
            "wrong",
            "wrong",
            "throttled",
        ]
        names = [f"nobody{number}@example.test" for number in range(5)]
        outcomes = [await tried(server, "198.51.100.7", name=name) for name in names]
        assert outcomes == ["wrong"] * 4 + ["throttled"]


async def test_guesses_from_an_address_at_the_same_time_see_each_other_counted(
    server: Server,
) -> None:
    names = [f"nobody{number}@example.test" for number in range(FAILURES_PER_ADDRESS + 10)]
    outcomes = Counter(
        await asyncio.gather(*(tried(server, "192.0.2.1", name=name) for name in names))
    )
    assert outcomes == {"wrong": FAILURES_PER_ADDRESS, "throttled": 10}
    assert await tried(server, "192.0.2.2", PASSWORD) == "accepted"


async def test_guesses_on_connections_at_the_same_time(server: Server) -> None:
    clients = [await server.client() for _ in range(FAILURES_PER_ACCOUNT + 6)]
    for client in clients:
        client.send(f"USER {ADDRESS}\r\nPASS wrong\r\n".encode())
    answers = Counter([(await client.line(), await client.line())[1][:11] for client in clients])
    assert answers == {b"-ERR [AUTH]": FAILURES_PER_ACCOUNT, b"-ERR [SYS/T": 6}
    for client in clients:
        await client.close()


async def test_guesses_in_several_processes_are_counted_together(
    house: MemoryMailStore, database: Database
) -> None:
    async with (
        pop3_server(house, throttle=PostgresThrottle(database)) as one,
        pop3_server(house, throttle=PostgresThrottle(database)) as other,
    ):
        tries = [
            tried(server, f"192.0.2.{number}") for number in range(20) for server in (one, other)
        ]
        outcomes = Counter(await asyncio.gather(*tries))
        assert FAILURES_PER_ACCOUNT <= outcomes["wrong"] <= FAILURES_PER_ACCOUNT + 1
        assert outcomes["throttled"] == 40 - outcomes["wrong"]
        assert (
            await tried(one, "198.51.100.1", PASSWORD)
            == await tried(other, "198.51.100.1", PASSWORD)
            == "throttled"
        )


async def test_the_addresses_of_one_ipv6_network_are_one_client(
    server: Server, database: Database
) -> None:
    for number in range(FAILURES_PER_ADDRESS):
        name = f"nobody{number}@example.test"
        assert await tried(server, f"2001:db8:0:1::{number % 2 + 1:x}", name=name) == "wrong"
    for client in ("2001:db8:0:1::1", "2001:db8:0:1::2", "2001:db8:0:1:ffff::9"):
        assert await tried(server, client, PASSWORD) == "throttled"
    assert await tried(server, "2001:db8:0:2::1", PASSWORD) == "accepted"
    async with database.session() as connection:
        keys = await connection.fetch("SELECT key FROM throttles WHERE key LIKE 'auth-address:%'")
    assert [row["key"] for row in keys] == ["auth-address:2001:db8:0:1::/64"]


async def test_an_ipv4_address_is_the_same_client_in_its_ipv6_form(server: Server) -> None:
    for number in range(FAILURES_PER_ADDRESS):
        assert (
            await tried(server, "::ffff:192.0.2.7", name=f"nobody{number}@example.test") == "wrong"
        )
    assert await tried(server, "192.0.2.7", PASSWORD) == "throttled"


async def test_who_was_here_lately_is_not_shut_out_by_guesses_from_elsewhere(
    server: Server,
) -> None:
    assert await tried(server, "192.0.2.1", PASSWORD) == "accepted"
    for number in range(FAILURES_PER_ACCOUNT):
        assert await tried(server, f"198.51.100.{number}") == "wrong"
    assert await tried(server, "203.0.113.1", PASSWORD) == "throttled"
    # another address of the same network is the same place
    for client in ("192.0.2.1", "192.0.2.200"):
        assert await tried(server, client, PASSWORD) == "accepted"
    assert await tried(server, "192.0.2.1", PASSWORD, "bob@example.test") == "accepted"


async def test_right_passwords_at_the_same_time_are_all_let_in(
    house: MemoryMailStore, server: Server
) -> None:
    names = [f"user{number}@example.test" for number in range(FAILURES_PER_ADDRESS + 10)]
    for name in names:
        await house.account(name)
    outcomes = await asyncio.gather(*(tried(server, "192.0.2.1", PASSWORD, name) for name in names))
    assert set(outcomes) == {"accepted"}


async def test_a_familiar_place_has_a_limit_of_its_own(server: Server, database: Database) -> None:
    assert await tried(server, "192.0.2.1", PASSWORD) == "accepted"
    for _ in range(FAILURES_PER_ACCOUNT + 1):
        assert await tried(server, "192.0.2.1") == "wrong"
    assert await tried(server, "203.0.113.1", PASSWORD) == "accepted", (
        "what fails there closes nothing elsewhere"
    )
    most = FAILURES_PER_ACCOUNT * FAMILIAR_FACTOR
    spent = Charge(
        f"auth-familiar:{ADDRESS} 192.0.2.0/24",
        most,
        sending.FAILURES_SECONDS,
        cost=most - FAILURES_PER_ACCOUNT - 1,
    )
    await PostgresThrottle(database).take([spent])
    await PostgresThrottle(database).take(
        [Charge(f"auth-familiar:{ADDRESS} 192.0.2.0/24", most, sending.FAILURES_SECONDS)]
    )
    assert await tried(server, "192.0.2.1", PASSWORD) == "throttled"
    assert await tried(server, "192.0.2.1", PASSWORD, "bob@example.test") == "accepted"


async def test_a_whole_ipv6_site_has_a_limit_too_and_spares_familiar_places(
    server: Server, database: Database
) -> None:
    assert await tried(server, "2001:db8::1", PASSWORD) == "accepted"
    assert await tried(server, "2001:db8:0:7::2", name="nobody@example.test") == "wrong"
    async with database.session() as connection:
        keys = await connection.fetch("SELECT key FROM throttles WHERE key LIKE 'auth-network:%'")
    assert [row["key"] for row in keys] == ["auth-network:2001:db8::/48"]
    most = FAILURES_PER_ADDRESS * NETWORK_FACTOR
    await PostgresThrottle(database).take(
        [Charge("auth-network:2001:db8::/48", most, sending.FAILURES_SECONDS, cost=most - 1)]
    )
    assert await tried(server, "2001:db8:0:ffff::1", PASSWORD, "bob@example.test") == "throttled"
    assert await tried(server, "2001:db8:1:ffff::1", PASSWORD, "bob@example.test") == "accepted"
    assert await tried(server, "2001:db8::1", PASSWORD) == "accepted"
