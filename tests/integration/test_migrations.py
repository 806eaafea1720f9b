"""The schema: up from nothing, once however often it is asked for, and the same as tables.py
says."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import AsyncIterator
from importlib import resources
from pathlib import Path

import asyncpg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from posthorn.adapters.postgres.database import connect, make_engine
from posthorn.adapters.postgres.migrate import main, migrate_blocking
from posthorn.adapters.postgres.tables import DEFAULT_TENANT, SCHEMA_VERSION, metadata
from posthorn.ports.errors import Unavailable
from posthorn.runtime.settings import PostgresSettings
from posthorn_local.embedded import Postgres, free_port


@pytest.fixture
async def empty_url(postgres: Postgres, request: pytest.FixtureRequest) -> AsyncIterator[str]:
    name = f"empty_{abs(hash(request.node.nodeid))}"
    admin = await asyncpg.connect(postgres.url_of("postgres"))
    try:
        await admin.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        yield postgres.url_of(name)
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await admin.close()


async def _value(url: str, query: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def test_an_empty_database_gets_the_whole_schema(empty_url: str) -> None:
    await asyncio.to_thread(migrate_blocking, empty_url)
    assert await _value(empty_url, "SELECT version_num FROM alembic_version") == SCHEMA_VERSION
    found = await _value(
        empty_url, "SELECT array_agg(tablename) FROM pg_tables WHERE schemaname = 'public'"
    )
    assert set(found) == {*metadata.tables, "alembic_version"}  # type: ignore[call-overload]
    assert (
        await _value(empty_url, "SELECT id FROM tenants WHERE name = 'default'") == DEFAULT_TENANT
    )


async def test_a_second_run_changes_nothing(
    empty_url: str, capfd: pytest.CaptureFixture[str]
) -> None:
    await asyncio.to_thread(migrate_blocking, empty_url)
    assert "schema migrated" in capfd.readouterr().out
    before = await _value(empty_url, "SELECT xmin FROM alembic_version")
    await asyncio.to_thread(migrate_blocking, empty_url)
    assert "schema is up to date" in capfd.readouterr().out
    assert await _value(empty_url, "SELECT xmin FROM alembic_version") == before


async def test_two_runs_at_once_both_end_well(empty_url: str) -> None:
    barrier = threading.Barrier(3)

    def run() -> None:
        barrier.wait()
        migrate_blocking(empty_url)

    await asyncio.gather(*(asyncio.to_thread(run) for _ in range(3)))
    assert await _value(empty_url, "SELECT count(*) FROM tenants") == 1


async def test_a_run_waits_for_the_one_before_it(empty_url: str) -> None:
    from posthorn.adapters.postgres.migrate import LOCK

    holder = await asyncpg.connect(empty_url)
    await holder.execute("SELECT pg_advisory_lock($1)", LOCK)
    running = asyncio.create_task(asyncio.to_thread(migrate_blocking, empty_url))
    while not await holder.fetchval(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    ):
        await asyncio.sleep(0.01)
    assert await holder.fetchval("SELECT to_regclass('alembic_version')") is None
    await holder.close()
    await running
    assert await _value(empty_url, "SELECT version_num FROM alembic_version") == SCHEMA_VERSION


async def test_the_migrated_schema_is_what_tables_says(
    postgres: Postgres, migrated: str, empty_url: str
) -> None:
    def differences(connection: Connection) -> list[object]:
        context = MigrationContext.configure(
            connection,
            opts={
                "compare_type": True,
                "compare_server_default": True,
                "target_metadata": metadata,
            },
        )
        return [
            found
            for found in compare_metadata(context, metadata)
            if "alembic_version" not in repr(found)
        ]

    engine = make_engine(postgres.url_of(migrated), pool=1, seconds=30)
    try:
        async with engine.connect() as connection:
            assert await connection.run_sync(differences) == []
    finally:
        await engine.dispose()


async def test_constraints_indexes_and_storage_are_what_tables_says(
    postgres: Postgres, migrated: str, empty_url: str
) -> None:
    # Alembic compares neither check constraints, nor expressions and predicates of indexes, nor
    # storage parameters
    engine = make_engine(empty_url, pool=1, seconds=30)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(metadata.create_all)
    finally:
        await engine.dispose()
    assert await _catalogue(empty_url) == await _catalogue(postgres.url_of(migrated))


async def _catalogue(url: str) -> set[str]:
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch(
            """
            SELECT conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid) AS line
              FROM pg_constraint WHERE connamespace = 'public'::regnamespace
            UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
            UNION ALL SELECT oid::regclass || ' ' || coalesce(reloptions::text, '-')
              FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
            UNION ALL SELECT concat_ws(' ', table_name, column_name, data_type, is_nullable, column_default, is_identity)
              FROM information_schema.columns WHERE table_schema = 'public'
            """
        )
    finally:
        await connection.close()
    return {row["line"] for row in rows if "alembic_version" not in row["line"]}


@pytest.mark.parametrize("before", ["0010"])
async def test_a_later_step_takes_nothing_away_from_the_release_before(
    postgres: Postgres, migrated: str, empty_url: str, before: str
) -> None:
    engine = make_engine(empty_url, pool=1, seconds=30)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(_up_to, before)
    finally:
        await engine.dispose()
    assert await _value(empty_url, "SELECT version_num FROM alembic_version") == before
    missing = await _catalogue(empty_url) - await _catalogue(postgres.url_of(migrated))
    assert missing == set()
    await asyncio.to_thread(migrate_blocking, empty_url)
    assert await _catalogue(empty_url) == await _catalogue(postgres.url_of(migrated))


def _up_to(connection: Connection, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", "posthorn.adapters.postgres:migrations")
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


async def test_an_earlier_schema_is_not_served(database_url: str) -> None:
    async with connect(PostgresSettings(database_url=database_url)) as database:  # type: ignore[arg-type]
        await database.probe()
        async with database.session() as connection:
            await connection.execute("UPDATE alembic_version SET version_num = '0000'")
        with pytest.raises(Unavailable, match=f"schema 0000, needed {SCHEMA_VERSION}"):
            await database.probe()


async def test_a_later_schema_is_served_so_that_a_new_release_does_not_stop_the_old_one(
    database_url: str,
) -> None:
    async with connect(PostgresSettings(database_url=database_url)) as database:  # type: ignore[arg-type]
        async with database.session() as connection:
            await connection.execute("UPDATE alembic_version SET version_num = '9999'")
        await database.probe()


def test_revisions_are_numbers_of_four_digits_so_that_they_can_be_compared() -> None:
    script = ScriptDirectory(
        str(Path(str(resources.files("posthorn.adapters.postgres"))) / "migrations")
    )
    found = [step.revision for step in script.walk_revisions()]
    assert SCHEMA_VERSION == found[0] == max(found)
    assert all(re.fullmatch(r"\d{4}", revision) for revision in found)


async def test_a_database_without_schema_is_not_served(empty_url: str) -> None:
    async with connect(PostgresSettings(database_url=empty_url)) as database:  # type: ignore[arg-type]
        with pytest.raises(Unavailable, match="schema"):
            await database.probe()


def test_the_script_waits_for_postgres_to_come_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Postgres(tmp_path / "postgres", durable=False)
    server.start()
    try:
        url, port = server.url, server.port
        server.stop()
        monkeypatch.setenv("POSTHORN_DATABASE_URL", url)
        failed: list[BaseException] = []

        def run() -> None:
            try:
                main()
            except BaseException as error:
                failed.append(error)

        running = threading.Thread(target=run)
        running.start()
        server.start(port)
        running.join(30)
        assert not running.is_alive()
        assert failed == []
        assert (
            asyncio.run(_value(server.url, "SELECT version_num FROM alembic_version"))
            == SCHEMA_VERSION
        )
    finally:
        server.stop(kill=True)


def test_the_script_gives_up_in_the_end_and_names_no_secret(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(
        "POSTHORN_DATABASE_URL", f"postgresql://posthorn:sesame@127.0.0.1:{free_port()}/posthorn"
    )
    monkeypatch.setenv("POSTHORN_DATABASE_WAIT_SECONDS", "0.3")
    with pytest.raises(SystemExit) as ended:
        main()
    assert "not changed" in str(ended.value)
    assert "sesame" not in str(ended.value)
