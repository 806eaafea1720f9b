"""The schema: up from nothing, once however often it is asked for, and the same as ``tables``
says."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from importlib import resources
from pathlib import Path

import asyncpg
import pytest
import structlog
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from posthorn.adapters.postgres.connecting import connector
from posthorn.adapters.postgres.database import connect
from posthorn.adapters.postgres.engine import make_engine
from posthorn.adapters.postgres.mailboxes.delivery import PostgresMailboxes
from posthorn.adapters.postgres.mailboxes.messages import PostgresAccountMail
from posthorn.adapters.postgres.migrate import main, migrate_blocking
from posthorn.adapters.postgres.schema import DEFAULT_TENANT, SCHEMA_VERSION
from posthorn.adapters.postgres.tables import metadata
from posthorn.ports.errors import Unavailable
from posthorn.runtime.settings import PostgresSettings
from posthorn_local.embedded import Postgres, free_port
from tests.support import release_before
from tests.support.builders import make_message, make_segment
from tests.support.polling import BUSY_SECONDS


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


@pytest.fixture(autouse=True)
def log_of_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """A logger keeps the stream that it first wrote to; the script sets up logging."""
    monkeypatch.setattr("posthorn.adapters.postgres.migrate.log", structlog.get_logger())


async def test_a_second_run_changes_nothing(
    empty_url: str, capfd: pytest.CaptureFixture[str]
) -> None:
    await asyncio.to_thread(migrate_blocking, empty_url)
    assert "schema migrated" in capfd.readouterr().out
    before = await _value(empty_url, "SELECT xmin FROM alembic_version")
    await asyncio.to_thread(migrate_blocking, empty_url)
    assert "schema is up to date" in capfd.readouterr().out
    assert await _value(empty_url, "SELECT xmin FROM alembic_version") == before


async def test_a_later_schema_stays_when_the_release_before_comes_back(
    database_url: str, capfd: pytest.CaptureFixture[str]
) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute("UPDATE alembic_version SET version_num = '9999'")
    await connection.close()
    await asyncio.to_thread(migrate_blocking, database_url)
    said = capfd.readouterr().out
    assert "schema is of a later release and stays" in said
    assert "roles have their grants" in said
    assert await _value(database_url, "SELECT version_num FROM alembic_version") == "9999"


_WITHOUT_ALEMBIC = """
import sys
sys.modules.update(alembic=None, sqlalchemy=None)
from posthorn.adapters.postgres.migrate import migrate_blocking
migrate_blocking(sys.argv[1])
"""


async def test_what_is_up_to_date_is_found_so_without_alembic(database_url: str) -> None:
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", _WITHOUT_ALEMBIC, database_url],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "schema is up to date" in done.stdout


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

    engine = make_engine(connector(postgres.url_of(migrated), seconds=30))
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
    engine = make_engine(connector(empty_url, seconds=30))
    try:
        async with engine.begin() as connection:
            await connection.run_sync(metadata.create_all)
    finally:
        await engine.dispose()
    assert await _catalogue(empty_url) == await _catalogue(postgres.url_of(migrated))


def _index_name(line: str) -> str | None:
    found = re.match(r"CREATE (?:UNIQUE )?INDEX (\S+)", line)
    return found and found[1]


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
    await _migrate_to(empty_url, before)
    assert await _value(empty_url, "SELECT version_num FROM alembic_version") == before
    missing = await _catalogue(empty_url) - await _catalogue(postgres.url_of(migrated))
    # a table without storage parameters loses nothing by getting some, and an index may make way
    # for another one of the same name
    present = {_index_name(line) for line in await _catalogue(postgres.url_of(migrated))}
    lost = {line for line in missing if _index_name(line) not in present - {None}}
    assert {line for line in lost if not line.endswith(" -")} == set()
    await asyncio.to_thread(migrate_blocking, empty_url)
    assert await _catalogue(empty_url) == await _catalogue(postgres.url_of(migrated))


async def test_targets_in_domains_that_nobody_verified_must_confirm(empty_url: str) -> None:
    """They were entered without a row, which stands for confirmed."""
    await _migrate_to(empty_url, "0024")
    old = await asyncpg.connect(empty_url)
    try:
        await old.execute(
            "INSERT INTO domains (tenant_id, name, verified_at) SELECT t.id, d.name, d.at FROM tenants t,"
            " (VALUES ('ours.test', now()), ('named.test', NULL)) AS d (name, at);"
            " INSERT INTO aliases (domain_id, address, targets, keeps_copy) SELECT d.id, a.address, a.targets, a.copy"
            " FROM domains d, (VALUES"
            " ('a@ours.test', '{x@named.test,x@named.test,y@named.test,x@far.test,x@ours.test}'::text[], NULL),"
            " ('own@ours.test', '{z@named.test}', true), ('b@ours.test', '{x@far.test}', NULL::boolean)"
            " ) AS a (address, targets, copy) WHERE d.name = 'ours.test';"
            " INSERT INTO alias_targets (id, alias_id, target, confirmed_at)"
            " SELECT gen_random_uuid(), id, 'y@named.test', now() FROM aliases WHERE address = 'a@ours.test';"
            " DELETE FROM directory_outbox"
        )
        await asyncio.to_thread(migrate_blocking, empty_url)
        found = await old.fetch(
            "SELECT a.address, t.target, t.confirmed_at IS NULL AS waits, t.id FROM alias_targets t"
            " JOIN aliases a ON a.id = t.alias_id ORDER BY 1, 2"
        )
        asking = [row["id"] for row in found if row["waits"]]
        assert {each.version for each in asking} == {7}, "they become ids of messages"
        assert all(abs((each.int >> 80) / 1000 - time.time()) < BUSY_SECONDS for each in asking)
        assert [tuple(row)[:3] for row in found] == [
            ("a@ours.test", "x@named.test", True),
            ("a@ours.test", "y@named.test", False),
            ("own@ours.test", "z@named.test", True),
        ]
        published = await old.fetch("SELECT subject FROM directory_outbox")
        assert [row["subject"] for row in published] == ["a@ours.test"]
    finally:
        await old.close()


async def test_mail_from_before_imap_is_counted_and_goes_on(empty_url: str) -> None:
    """Mailboxes of schema 0015 keep what they hold; the migration does not touch entries."""
    await _migrate_to(empty_url, "0015")
    old = await asyncpg.connect(empty_url)
    await old.execute(
        "INSERT INTO domains (tenant_id, name) SELECT id, 'example.test' FROM tenants;"
        " INSERT INTO accounts (domain_id, address, password_hash) SELECT id, 'a@example.test', '' FROM domains"
    )
    account = await old.fetchval("SELECT id FROM accounts")
    await old.execute(release_before.FOLDERS, [account])
    await old.execute(
        "INSERT INTO messages (id, offset_octets, stored_octets, encoding, size_crlf, has_dot_lines, sha256,"
        " return_path_octets, refs, received_at, reverse_path, subject, from_, date, message_id)"
        " SELECT gen_random_uuid(), 0, 0, 'identity', 10, false, '', 0, 1, now(), '', '', '', '', ''"
        " FROM generate_series(1, 5)"
    )
    numbers = [row["id"] for row in await old.fetch("SELECT id FROM messages")]
    await old.execute(
        release_before.ENTER,
        *(
            [account],
            [1],
            [5],
            [account] * 5,
            [1] * 5,
            list(range(5)),
            numbers,
            [10] * 5,
            [0.0] * 5,
        ),
    )
    await old.execute("UPDATE mailbox_entries SET flags = 9, keywords = '{work}' WHERE uid = 1")
    await old.execute("UPDATE accounts SET used_bytes = 50, used_messages = 5")
    before = await old.fetch("SELECT * FROM mailbox_entries ORDER BY uid")
    await old.close()

    await asyncio.to_thread(migrate_blocking, empty_url)
    async with connect(PostgresSettings(database_url=empty_url)) as database:  # type: ignore[arg-type]
        async with database.session() as session:
            after = await session.fetch("SELECT * FROM mailbox_entries ORDER BY uid")
            assert [tuple(row) for row in after] == [(*row, None) for row in before]
            assert await session.fetchval("SELECT bool_and(counted_modseq < modseq) FROM mailboxes")
        await PostgresMailboxes(database).deliver([make_segment([make_message([account], size=7)])])
        shown = await PostgresAccountMail(database).mailboxes(None, "a@example.test")
        assert [(each.name, each.messages, each.unseen, each.octets) for each in shown][:2] == [
            ("INBOX", 6, 5, 57),
            ("Junk", 0, 0, 0),
        ]
        async with database.session() as session:
            stored = await session.fetchrow(
                "SELECT deleted, keywords, counted_modseq = modseq FROM mailboxes WHERE mailbox_id = 1"
            )
            assert tuple(stored or ()) == (1, ["work"], True)
            saved = await session.fetch("SELECT saved_at IS NULL FROM mailbox_entries ORDER BY uid")
            assert [row[0] for row in saved] == [True] * 5 + [False]


async def _migrate_to(url: str, revision: str) -> None:
    engine = make_engine(connector(url, seconds=30))
    try:
        async with engine.begin() as connection:
            await connection.run_sync(_up_to, revision)
    finally:
        await engine.dispose()


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


def test_the_script_says_once_what_it_waits_for_gives_up_and_names_no_secret(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(
        "POSTHORN_DATABASE_URL", f"postgresql://posthorn:sesame@127.0.0.1:{free_port()}/posthorn"
    )
    monkeypatch.setenv("POSTHORN_DATABASE_WAIT_SECONDS", "1")
    with pytest.raises(SystemExit) as ended:
        main()
    assert "not changed" in str(ended.value)
    log = "".join(capfd.readouterr())
    assert log.count("waiting for postgres") == 1
    assert "sesame" not in f"{ended.value}{log}"
