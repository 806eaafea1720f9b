"""A database that goes from test to test holds what the migrations put there, whatever the test
before did to it."""

from __future__ import annotations

import asyncpg
import pytest

from posthorn_local.embedded import Postgres
from tests.support.databases import Databases

_FILL = {
    "directory_outbox": "(subject) SELECT n::text FROM generate_series(1, $1) n",
    "suppressions": "(tenant_id, address, reason, source)"
    " SELECT id, n || '@far.test', '', 'bounce' FROM tenants, generate_series(1, $1) n",
}
_STATE = """
SELECT relname, pg_relation_size(oid)::int, relpages, reltuples::int FROM pg_class
 WHERE relname IN ('directory_outbox', 'suppressions') AND relkind = 'r' ORDER BY relname
"""
_TENANTS = "SELECT id, name, ctid::text FROM tenants"


@pytest.fixture
def own(postgres: Postgres, migrated: str) -> Databases:
    """Databases that no other test has had."""
    return Databases(postgres, migrated)


async def test_rows_are_gone_and_those_of_the_template_are_back_in_their_place(
    own: Databases,
) -> None:
    async with own.one() as first:
        connection = await asyncpg.connect(first)
        made = await connection.fetch(_TENANTS)
        await connection.execute("UPDATE tenants SET name = 'other'")
        await connection.execute(
            "INSERT INTO tenants (id, name) VALUES (gen_random_uuid(), 'more')"
        )
        await connection.execute(
            "INSERT INTO directory_outbox (subject) VALUES ('alice@example.test')"
        )
        await connection.close()
    async with own.one() as second:
        assert second == first
        connection = await asyncpg.connect(second)
        assert await connection.fetch(_TENANTS) == made
        assert [row["name"] for row in made] == ["default"]
        assert await connection.fetchval("SELECT count(*) FROM directory_outbox") == 0
        assert await connection.fetchval("SELECT count(*) FROM alembic_version") == 1
        await connection.execute(
            "INSERT INTO directory_outbox (subject) VALUES ('alice@example.test')"
        )
        assert await connection.fetchval("SELECT id FROM directory_outbox") == 1
        await connection.close()


async def test_tables_that_held_little_or_much_are_as_if_they_had_held_nothing(
    own: Databases,
) -> None:
    async with own.one() as first:
        connection = await asyncpg.connect(first)
        for table, rows in (("directory_outbox", 3), ("suppressions", 20_000)):
            await connection.execute(f"INSERT INTO {table} {_FILL[table]}", rows)
            await connection.execute(f"VACUUM {table}")
        await connection.close()
    async with own.one() as second:
        assert second == first
        connection = await asyncpg.connect(second)
        assert [tuple(row) for row in await connection.fetch(_STATE)] == [
            ("directory_outbox", 0, 0, -1),
            ("suppressions", 0, 0, -1),
        ]
        await connection.close()


async def test_a_connection_left_open_is_ended_with_what_it_had_begun(own: Databases) -> None:
    async with own.one() as first:
        left = await asyncpg.connect(first)
        await left.execute("BEGIN; LOCK TABLE tenants; DELETE FROM tenants")
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await left.fetch("SELECT 1")
    async with own.one() as second:
        connection = await asyncpg.connect(second)
        assert await connection.fetchval("SELECT name FROM tenants") == "default"
        await connection.close()


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE tenants RENAME TO away",
        "CREATE TABLE more (id int)",
        "CREATE FUNCTION one() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "DROP TABLE directory_outbox",
        "ALTER TABLE tenants ALTER COLUMN name DROP NOT NULL",
        "ANALYZE tenants",
    ],
)
async def test_who_changes_more_than_rows_has_used_the_database_up(
    own: Databases, change: str
) -> None:
    async with own.one() as first:
        connection = await asyncpg.connect(first)
        await connection.execute(change)
        await connection.close()
    async with own.one() as second:
        assert second != first
