"""Roles of the parts in Postgres: made and granted by the migration, and enough for their part,
and no more."""

from __future__ import annotations

import asyncio
import itertools
from urllib.parse import urlsplit

import asyncpg
import pytest

from posthorn.adapters.postgres.grants import scram_verifier
from posthorn.adapters.postgres.mailboxes.retention import PostgresRetention
from posthorn.adapters.postgres.migrate import MigrateSettings, migrate_blocking
from posthorn.adapters.postgres.privileges import FOR_API_ALONE, PRIVILEGES
from posthorn.adapters.postgres.tables import metadata
from posthorn_local.embedded import Postgres
from tests.support.databases import ROLE_PASSWORDS, as_part, logged_in, pool
from tests.support.seed import DatabaseSeed

_names = itertools.count(1)
FORBIDDEN = {
    "submission": [
        "api_keys",
        "dkim_keys",
        "messages",
        "outbound_recipients",
        "routes",
        "long_senders",
    ],
    "delivery": ["api_keys", "routes", "app_passwords", "webhooks"],
    "relay": [
        "api_keys",
        "dkim_keys",
        "aliases",
        "app_passwords",
        "mailbox_entries",
        "long_senders",
    ],
    "pop3": ["api_keys", "dkim_keys", "routes", "outbound_recipients", "webhooks", "long_senders"],
    "imap": ["api_keys", "dkim_keys", "routes", "outbound_recipients", "webhooks", "pop3_logins"],
}


@pytest.fixture
async def empty(postgres: Postgres) -> str:
    """The URL of a database of the test's own, without a schema."""
    name = f"roles_{next(_names)}"
    admin = await asyncpg.connect(postgres.url_of("postgres"))
    await admin.execute(f"CREATE DATABASE {name}")
    await admin.close()
    return postgres.url_of(name)


def test_every_table_is_somebodys() -> None:
    """So that whoever adds one decides who may use it."""
    listed = set().union(*(privileges.tables for privileges in PRIVILEGES.values()))
    tables = set(metadata.tables)
    assert listed <= tables
    assert tables >= FOR_API_ALONE
    assert not listed & FOR_API_ALONE
    assert tables - listed - FOR_API_ALONE == set(), (
        "who may use these? see adapters/postgres/privileges.py"
    )


@pytest.mark.parametrize("part", PRIVILEGES)
async def test_each_part_logs_in_and_finds_its_schema(database_url: str, part: str) -> None:
    async with pool(logged_in(database_url, part)) as database:
        await database.probe()


@pytest.mark.parametrize("part", PRIVILEGES)
async def test_no_part_may_change_the_schema(database_url: str, part: str) -> None:
    connection = await asyncpg.connect(logged_in(database_url, part))
    try:
        for statement in (
            "CREATE TABLE spy (x int)",
            "DROP TABLE messages",
            "ALTER TABLE accounts ADD COLUMN spy int",
            "TRUNCATE accounts CASCADE",
            "CREATE ROLE spy",
            "UPDATE alembic_version SET version_num = '9999'",
            "CREATE FUNCTION public.spy() RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "SET ROLE posthorn",
        ):
            with pytest.raises(
                (asyncpg.InsufficientPrivilegeError, asyncpg.InvalidParameterValueError)
            ):
                await connection.execute(statement)
    finally:
        await connection.close()


@pytest.mark.parametrize(
    ("part", "table"), [(part, table) for part, tables in FORBIDDEN.items() for table in tables]
)
async def test_a_part_does_not_read_what_is_not_its_business(
    database_url: str, part: str, table: str
) -> None:
    connection = await asyncpg.connect(logged_in(database_url, part))
    try:
        for statement in (f"SELECT * FROM {table}", f"DELETE FROM {table}"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
    finally:
        await connection.close()


@pytest.mark.parametrize("part", ["delivery", "relay"])
async def test_delivery_and_relay_do_not_read_password_hashes(database_url: str, part: str) -> None:
    connection = await asyncpg.connect(logged_in(database_url, part))
    try:
        await connection.execute("SELECT id, address, state FROM accounts")
        for statement in (
            "SELECT password_hash FROM accounts",
            "SELECT scram FROM accounts",
            "UPDATE accounts SET password_hash = ''",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
    finally:
        await connection.close()


async def test_submission_and_readers_do_not_change_passwords(database_url: str) -> None:
    for part in ("submission", "pop3", "imap"):
        connection = await asyncpg.connect(logged_in(database_url, part))
        try:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute("UPDATE accounts SET password_hash = ''")
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute("UPDATE app_passwords SET key_hash = ''")
            if part == "imap":
                await connection.execute("UPDATE accounts SET scram = ''")
                continue
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute("UPDATE accounts SET scram = ''")
        finally:
            await connection.close()


async def test_delivery_keeps_retention_with_its_role(database_url: str) -> None:
    async with pool(database_url) as database, pool(as_part(database_url, "delivery")) as own:
        await DatabaseSeed(database).domain("example.test")
        retention = PostgresRetention(own)
        assert await retention.lead(60)
        await retention.expire(10)
        await retention.purge(10)


async def test_a_migration_takes_away_what_was_granted_beside_the_table(
    postgres: Postgres, empty: str
) -> None:
    await _migrated(empty)
    admin = await asyncpg.connect(empty)
    await admin.execute(
        "GRANT SELECT ON api_keys TO posthorn_pop3; GRANT CREATE ON SCHEMA public TO posthorn_pop3"
    )
    await _migrated(empty)
    assert not await admin.fetchval(
        "SELECT has_table_privilege('posthorn_pop3', 'api_keys', 'SELECT')"
    )
    assert not await admin.fetchval(
        "SELECT has_schema_privilege('posthorn_pop3', 'public', 'CREATE')"
    )
    await admin.close()


async def test_without_roles_the_migration_does_what_it_did(empty: str) -> None:
    """On a Postgres where nobody made any: one login serves all parts."""
    await _migrated(empty, prefix="nobody_")
    async with pool(empty) as database:
        await database.probe()


async def test_roles_made_by_an_operator_are_granted_under_their_prefix(
    postgres: Postgres, empty: str
) -> None:
    admin = await asyncpg.connect(empty)
    await admin.execute("CREATE ROLE mail_pop3 LOGIN PASSWORD 'chosen'")
    await _migrated(empty, prefix="mail_")
    place = urlsplit(empty)
    own = await asyncpg.connect(f"postgresql://mail_pop3:chosen@127.0.0.1:{place.port}{place.path}")
    await own.execute("SELECT FROM accounts")
    await own.close()
    await admin.execute("DROP OWNED BY mail_pop3; DROP ROLE mail_pop3")
    await admin.close()


async def test_a_new_password_counts_and_no_statement_holds_it(
    postgres: Postgres, empty: str
) -> None:
    await _migrated(empty, passwords={"relay": "another"})
    try:
        async with pool(
            logged_in(empty, "relay").replace(ROLE_PASSWORDS["relay"], "another")
        ) as database:
            await database.probe()
        assert "another" not in scram_verifier("another")
    finally:
        await _migrated(empty, passwords=ROLE_PASSWORDS)


def test_passwords_come_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTHORN_DATABASE_URL", "postgresql://127.0.0.1/x")
    assert MigrateSettings.load().role_passwords() == {}
    monkeypatch.setenv("POSTHORN_DATABASE_ROLE_PASSWORDS", '{"pop3": "secret"}')
    settings = MigrateSettings.load()
    assert settings.role_passwords() == {"pop3": "secret"}
    assert "secret" not in repr(settings)


async def _migrated(
    url: str, prefix: str = "posthorn_", passwords: dict[str, str] | None = None
) -> None:
    await asyncio.to_thread(migrate_blocking, url, role_prefix=prefix, role_passwords=passwords)
