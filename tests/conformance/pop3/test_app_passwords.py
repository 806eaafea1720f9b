"""POP3 logins with app passwords, and what happens to those who guess: over real sockets, a real
database and its counters."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from posthorn.adapters.postgres.database import Database
from posthorn.adapters.postgres.directory.senders import PostgresSenders
from posthorn.adapters.postgres.queue.rate_limits import PostgresThrottle
from posthorn.ports import sending
from posthorn.ports.errors import Unavailable
from posthorn.ports.sending import Charge
from posthorn.runtime.ids import new_id
from posthorn.runtime.settings import LoginLimitSettings
from tests.conformance.mail_stores import PostgresMailStore, postgres_mail_store
from tests.conformance.pop3.dialogue import ADDRESS, Server, pop3_server
from tests.conformance.twins import PASSWORD, MemoryMailStore
from tests.support.databases import pool

APP_PASSWORD = "phap_" + "x" * 43
WRONG = b"-ERR [AUTH]"
THROTTLED = b"-ERR [SYS/TEMP] too many failed logins"

FAILURES_PER_ADDRESS = LoginLimitSettings().login_failures_per_address
FAILURES_PER_ACCOUNT = LoginLimitSettings().login_failures_per_account


@pytest.fixture
async def house(
    database_url: str, tmp_path: Path, password_hash: str
) -> AsyncIterator[PostgresMailStore]:
    async with postgres_mail_store(database_url, tmp_path, password_hash) as made:
        await made.account(ADDRESS)
        yield made


@pytest.fixture
async def database(database_url: str, house: PostgresMailStore) -> AsyncIterator[Database]:
    async with pool(database_url) as made:
        async with made.session() as connection:
            await connection.execute(
                "INSERT INTO app_passwords (id, account_id, name, key_hash, scopes)"
                " SELECT $1, id, 'phone', $2, '{pop3}' FROM accounts WHERE address = $3",
                *(new_id(), hashlib.sha256(APP_PASSWORD.encode()).digest(), ADDRESS),
            )
        yield made


@pytest.fixture
async def server(house: PostgresMailStore, database: Database) -> AsyncIterator[Server]:
    senders, throttle = PostgresSenders(database), PostgresThrottle(database)
    async with pop3_server(house, senders=senders, throttle=throttle) as made:
        yield made


async def tried(server: Server, password: str, name: str = ADDRESS) -> bytes:
    """The answer to one login on a connection of its own, which is left again."""
    client = await server.client()
    await client.ask(f"USER {name}".encode())
    answer = await client.ask(f"PASS {password}".encode())
    await client.ask(b"QUIT")
    return answer


async def test_an_app_password_opens_the_maildrop(server: Server, database: Database) -> None:
    assert (await tried(server, APP_PASSWORD)).startswith(b"+OK maildrop")
    assert (await tried(server, PASSWORD)).startswith(b"+OK maildrop")
    async with database.session() as connection:
        assert await connection.fetchval(
            "SELECT last_used_at > now() - interval '1 minute' FROM app_passwords"
        )


async def test_an_app_password_used_within_a_minute_is_not_asked_for_a_second_time(
    server: Server, house: PostgresMailStore, database: Database
) -> None:
    assert (await tried(server, APP_PASSWORD)).startswith(b"+OK maildrop")
    used = "SELECT last_used_at, xmin FROM app_passwords"
    async with database.session() as connection:
        before = await connection.fetchrow(used)
        assert (await tried(server, APP_PASSWORD)).startswith(b"+OK maildrop")
        assert await connection.fetchrow(used) == before
        await connection.execute(
            "UPDATE app_passwords SET last_used_at = now() - interval '2 minutes'"
        )
        assert (await tried(server, APP_PASSWORD)).startswith(b"+OK maildrop")
        assert await connection.fetchval(
            "SELECT last_used_at > now() - interval '1 minute' FROM app_passwords"
        )


async def test_only_the_right_one_for_this_account_and_scope(
    server: Server, house: PostgresMailStore, database: Database
) -> None:
    await house.account("bob@example.test")
    assert (await tried(server, APP_PASSWORD[:-1] + "y")).startswith(WRONG)
    assert (await tried(server, APP_PASSWORD.removeprefix("phap_"))).startswith(WRONG)
    assert (await tried(server, APP_PASSWORD, "bob@example.test")).startswith(WRONG)
    assert (await tried(server, APP_PASSWORD, "nobody@example.test")).startswith(WRONG)
    async with database.session() as connection:
        await connection.execute("UPDATE app_passwords SET scopes = '{smtp}'")
    assert (await tried(server, APP_PASSWORD)).startswith(WRONG)
    async with database.session() as connection:
        await connection.execute("DELETE FROM app_passwords")
    assert (await tried(server, APP_PASSWORD)).startswith(WRONG)


async def test_an_own_password_may_look_like_an_app_password(
    server: Server, database: Database, password_hash: str
) -> None:
    from tests.conformance.pop3.dialogue import shared_passwords

    own = "phap_is my dog"
    async with database.session() as connection:
        await connection.execute(
            "UPDATE accounts SET password_hash = $1", await shared_passwords().hash(own)
        )
    assert (await tried(server, own)).startswith(b"+OK maildrop")


async def test_an_account_is_guarded_after_too_many_failures_and_the_right_one_must_wait_too(
    server: Server, house: PostgresMailStore, database: Database
) -> None:
    await house.account("bob@example.test")
    before = (
        REGISTRY.get_sample_value("posthorn_pop3_logins_total", {"outcome": "throttled"}) or 0.0
    )
    for _ in range(FAILURES_PER_ACCOUNT):
        assert (await tried(server, "wrong")).startswith(WRONG)
    for password in ("wrong", PASSWORD, APP_PASSWORD[:-1] + "y"):
        assert (await tried(server, password, "Alice@EXAMPLE.test")).startswith(THROTTLED)
    assert (
        REGISTRY.get_sample_value("posthorn_pop3_logins_total", {"outcome": "throttled"})
        == before + 3
    )
    assert (await tried(server, PASSWORD, "bob@example.test")).startswith(b"+OK maildrop")
    async with database.session() as connection:
        await connection.execute(
            "UPDATE throttles SET full_at = full_at - make_interval(secs => $1)",
            sending.FAILURES_SECONDS / 5,
        )
    assert (await tried(server, PASSWORD)).startswith(b"+OK maildrop")


async def test_successes_are_not_counted(server: Server, database: Database) -> None:
    for _ in range(FAILURES_PER_ACCOUNT + 2):
        assert (await tried(server, APP_PASSWORD)).startswith(b"+OK maildrop")
    async with database.session() as connection:
        assert await connection.fetchval("SELECT count(*) FROM throttles") == 0


async def test_a_client_address_is_guarded_whatever_names_it_tries(server: Server) -> None:
    for number in range(FAILURES_PER_ADDRESS):
        assert (await tried(server, "wrong", f"nobody{number}@example.test")).startswith(WRONG)
    assert (await tried(server, PASSWORD)).startswith(THROTTLED)


async def test_the_counters_are_shared_with_submission(server: Server, database: Database) -> None:
    throttle = PostgresThrottle(database)
    await throttle.take([Charge(f"auth-account:{ADDRESS}", 10, sending.FAILURES_SECONDS, cost=10)])
    assert (await tried(server, PASSWORD)).startswith(THROTTLED)


async def test_without_counters_people_still_get_their_mail(password_hash: str) -> None:
    class Broken:
        async def take(self, charges: Sequence[Charge]) -> float:
            raise Unavailable("postgres", "no such table")

    house = MemoryMailStore(password_hash)
    await house.account(ADDRESS)
    async with pop3_server(house, throttle=Broken()) as server:
        assert (await tried(server, "wrong")).startswith(WRONG)
        assert (await tried(server, PASSWORD)).startswith(b"+OK maildrop")


async def test_guesses_at_the_password_close_nothing_for_an_app_password(
    server: Server, database: Database
) -> None:
    throttle = PostgresThrottle(database)
    await throttle.take([Charge(f"auth-account:{ADDRESS}", 10, sending.FAILURES_SECONDS, cost=10)])
    await throttle.take([Charge("auth-address:127.0.0.1", 30, sending.FAILURES_SECONDS, cost=30)])
    assert (await tried(server, PASSWORD)).startswith(THROTTLED)
    assert (await tried(server, APP_PASSWORD)).startswith(b"+OK maildrop")
