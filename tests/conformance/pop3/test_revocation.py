"""Open POP3 sessions whose right to the maildrop ends: they end with it, delete nothing and keep
nobody out."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from posthorn.adapters.postgres.database import Database
from posthorn.adapters.postgres.directory.senders import PostgresSenders
from posthorn.adapters.postgres.queue.rate_limits import PostgresThrottle
from posthorn.ports.errors import Unavailable
from posthorn.runtime.ids import new_id
from tests.conformance.mail_stores import PostgresMailStore, postgres_mail_store
from tests.conformance.pop3.dialogue import ADDRESS, Client, Server, pop3_server, shared_passwords
from tests.conformance.twins import PASSWORD, MemoryMailStore
from tests.support.databases import pool
from tests.support.polling import BUSY_SECONDS, repeated_when_late, until

APP_PASSWORD = "phap_" + "x" * 43
THREE = [b"Subject: %d\r\n\r\nbody\r\n" % number for number in range(3)]


@pytest.fixture
async def house(
    database_url: str, tmp_path: Path, password_hash: str
) -> AsyncIterator[PostgresMailStore]:
    async with postgres_mail_store(database_url, tmp_path, password_hash) as made:
        await made.deliver(await made.account(ADDRESS), THREE)
        yield made


@pytest.fixture
async def database(database_url: str, house: PostgresMailStore) -> AsyncIterator[Database]:
    async with pool(database_url) as made:
        yield made


@asynccontextmanager
async def watched(
    house: Any, database: Database | None = None, **changes: Any
) -> AsyncIterator[Server]:
    """A server as in its process: it looks after its sessions by itself."""
    parts: dict[str, Any] = {}
    if database is not None:
        parts = {"senders": PostgresSenders(database), "throttle": PostgresThrottle(database)}
    async with pop3_server(house, **parts, **changes) as server:
        watch = asyncio.create_task(server.service.keep_watch())
        try:
            yield server
        finally:
            watch.cancel()


@pytest.fixture
async def server(house: PostgresMailStore, database: Database) -> AsyncIterator[Server]:
    async with watched(house, database) as made:
        yield made


async def execute(database: Database, query: str, *values: Any) -> None:
    async with database.session() as connection:
        await connection.execute(query, *values)


async def app_password(database: Database) -> None:
    await execute(
        database,
        "INSERT INTO app_passwords (id, account_id, name, key_hash, scopes)"
        " SELECT $1, id, 'phone', $2, '{pop3}' FROM accounts WHERE address = $3",
        *(new_id(), hashlib.sha256(APP_PASSWORD.encode()).digest(), ADDRESS),
    )


async def logged_in(server: Server, password: str = PASSWORD) -> Client:
    client = await server.client()
    await client.ask(f"USER {ADDRESS}".encode())
    answer = await client.ask(f"PASS {password}".encode())
    assert answer.startswith(b"+OK"), answer
    return client


async def test_a_stolen_session_ends_with_its_app_password_and_deletes_nothing(
    server: Server, house: PostgresMailStore, database: Database
) -> None:
    await app_password(database)
    thief = await logged_in(server, APP_PASSWORD)
    assert (await thief.ask(b"DELE 1")).startswith(b"+OK")
    new = "a new password"
    await execute(database, "DELETE FROM app_passwords")
    await execute(
        database, "UPDATE accounts SET password_hash = $1", await shared_passwords().hash(new)
    )
    assert (await thief.rest()).startswith(b"-ERR [AUTH] the password was changed or revoked")
    owner = await logged_in(server, new)
    assert (await owner.ask(b"STAT")).startswith(b"+OK 3 ")
    await owner.ask(b"QUIT")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("UPDATE accounts SET password_hash = 'another'", b"-ERR [AUTH]"),
        ("UPDATE accounts SET state = 'suspended'", b"-ERR [SYS/PERM]"),
        ("UPDATE tenants SET state = 'suspended'", b"-ERR [SYS/PERM]"),
        ("DELETE FROM accounts", b"-ERR [SYS/PERM]"),
    ],
)
async def test_a_session_ends_when_its_account_is_changed(
    server: Server, database: Database, change: str, said: bytes
) -> None:
    client = await logged_in(server)
    await client.ask(b"DELE 1")
    async with asyncio.timeout(BUSY_SECONDS):
        await execute(database, change)
        assert (await client.rest()).startswith(said)


async def test_a_quit_that_comes_before_the_watch_deletes_nothing_either(
    house: PostgresMailStore, database: Database, password_hash: str
) -> None:
    async with pop3_server(house) as server:
        client = await logged_in(server)
        await client.ask(b"DELE 1")
        await execute(database, "UPDATE accounts SET password_hash = 'another'")
        assert (await client.ask(b"QUIT")).startswith(b"-ERR [AUTH]")
        assert await client.rest() == b""
        await execute(database, "UPDATE accounts SET password_hash = $1", password_hash)
        assert (await (await logged_in(server)).ask(b"STAT")).startswith(b"+OK 3 ")


async def test_the_owner_takes_the_maildrop_over_from_an_app_password(
    server: Server, house: PostgresMailStore, database: Database
) -> None:
    await app_password(database)
    other = await logged_in(server, APP_PASSWORD)
    await other.ask(b"DELE 2")
    owner = await logged_in(server)
    assert (await other.rest()).startswith(
        b"-ERR [SYS/TEMP] the maildrop was taken by another session"
    )
    assert (await owner.ask(b"STAT")).startswith(b"+OK 3 ")
    second = await server.client()
    await second.ask(f"USER {ADDRESS}".encode())
    assert (await second.ask(f"PASS {APP_PASSWORD}".encode())).startswith(b"-ERR [IN-USE]")
    assert (await owner.ask(b"QUIT")).startswith(b"+OK")


async def test_sessions_of_every_pod_end(house: PostgresMailStore, database: Database) -> None:
    async with watched(house, database) as one, watched(house, database) as other:
        await house.account("bob@example.test")
        client = await logged_in(one)
        bob = await other.client()
        await bob.ask(b"USER bob@example.test")
        assert (await bob.ask(f"PASS {PASSWORD}".encode())).startswith(b"+OK")
        await execute(
            database, "UPDATE accounts SET password_hash = 'another' WHERE address = $1", ADDRESS
        )
        assert (await client.rest()).startswith(b"-ERR [AUTH]")
        assert (await bob.ask(b"STAT")).startswith(b"+OK 0 ")


async def test_a_session_that_takes_no_reply_is_cut(
    house: PostgresMailStore, database: Database
) -> None:
    account = await house.account("large@example.test")
    await house.deliver(account, [b"Subject: x\r\n\r\n" + b"y" * 78 + b"\r\n" * 1_000_000])
    async with watched(house, database) as server:
        client = await server.login("large@example.test")
        client.stop_reading()
        for _ in range(20):
            client.send(b"RETR 1\r\n")
        await until(lambda: any(session.is_blocked for session in server.limiter._sessions))  # type: ignore[attr-defined]
        await execute(database, "UPDATE accounts SET password_hash = 'another'")
        await until(lambda: not len(server.limiter))


@repeated_when_late(0.5)
async def test_a_session_has_an_end_however_busy(password_hash: str) -> None:
    house = MemoryMailStore(password_hash)
    await house.deliver(await house.account(ADDRESS), THREE)
    async with watched(house, pop3_session_seconds=3.0) as server:
        client = await logged_in(server)
        await client.ask(b"DELE 1")
        assert (await client.rest()).startswith(
            b"-ERR [SYS/TEMP] the session was open for too long"
        )
        await until(lambda: not len(server.limiter))
        assert (await (await logged_in(server)).ask(b"STAT")).startswith(b"+OK 3 ")


async def test_without_postgres_no_session_ends(password_hash: str) -> None:
    house = MemoryMailStore(password_hash)
    await house.deliver(await house.account(ADDRESS), THREE)
    async with watched(house) as server:
        client = await logged_in(server)
        house.maildrops.faults = {"ended", "renew"}
        await until(lambda: house.maildrops.calls.count("ended") >= 2)
        assert (await client.ask(b"STAT")).startswith(b"+OK 3 ")


@pytest.mark.parametrize("lost_in", ["open", "release"])
async def test_a_lease_that_postgres_took_down_with_it_is_given_back_when_it_is_there_again(
    password_hash: str, lost_in: str
) -> None:
    house = MemoryMailStore(password_hash)
    account = await house.account(ADDRESS)
    await house.deliver(account, THREE)

    async def tried(server: Server) -> bytes:
        client = await server.client()
        await client.ask(f"USER {ADDRESS}".encode())
        return await client.ask(f"PASS {PASSWORD}".encode())

    async with watched(house) as server:
        if lost_in == "open":
            taking = house.maildrops.open

            async def cut(account: int, holder: Any, **asked: Any) -> Any:
                await taking(account, holder, **asked)
                raise Unavailable("postgres", "the answer was lost")

            house.maildrops.open = cut  # type: ignore[method-assign]
            house.maildrops.faults = {"release"}
            assert (await tried(server)).startswith(b"-ERR [SYS/TEMP]")
            house.maildrops.open = taking  # type: ignore[method-assign]
        else:
            client = await logged_in(server)
            house.maildrops.faults = {"release"}
            client.abort()
            await until(lambda: not len(server.limiter))
        assert house.maildrops.accounts[account].lease is not None
        assert (await tried(server)).startswith(b"-ERR [SYS/TEMP]"), "no [IN-USE]: nobody uses it"
        house.maildrops.faults = set()
        await until(lambda: house.maildrops.accounts[account].lease is None)
        assert (await tried(server)).startswith(b"+OK")


async def test_logins_come_from_the_networks_that_are_allowed(
    server: Server, database: Database
) -> None:
    """Also with an app password; only who shows the right password learns the reason."""
    await app_password(database)
    await execute(database, "UPDATE domains SET allowed_networks = '{192.0.2.0/24}'")
    for password in (PASSWORD, APP_PASSWORD):
        client = await server.client()
        await client.ask(b"USER " + ADDRESS.encode())
        reply = await client.ask(b"PASS " + password.encode())
        assert reply == b"-ERR [SYS/PERM] this account may not log in from your network"
        await client.ask(b"USER " + ADDRESS.encode())
        assert (await client.ask(b"PASS wrong")).startswith(b"-ERR [AUTH]")
        client.abort()
    await execute(database, "UPDATE accounts SET allowed_networks = '{127.0.0.0/8}'")
    await (await server.login()).ask(b"QUIT")
