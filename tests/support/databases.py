"""Databases with the newest schema for tests, made from a template and used again once they are as
they were made.

Rules:

- A test has a database to itself, and finds in it what the migrations put there, nothing else.
- A copy of the template is a thousand files, the tables a test wrote to are a few dozen. So a
  database goes round: its connections are ended, those tables are emptied, what the template holds
  is put back, sequences begin again.
- TRUNCATE makes new files for a table, its indexes and all that refers to it: with the foreign keys
  there are, for nearly all, which costs ten times what DELETE and VACUUM do. Those leave as little:
  a file of no bytes, into which rows go from the first place on, and no estimates of the planner.
  Only a table that was large is truncated, since its indexes would keep their size.
- Whoever changed more than rows (a table, a trigger, a setting of the database, statistics of the
  planner) has used the database up: it is dropped, and the next test gets a copy of the template.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import asyncpg

from posthorn.adapters.postgres.database import Connection, Database, connect
from posthorn.adapters.postgres.privileges import PRIVILEGES, role_name
from posthorn.runtime.settings import PostgresSettings
from posthorn_local.embedded import Postgres
from tests.support.polling import BUSY_SECONDS

_numbers = itertools.count(1)
_END_OTHERS = """
SELECT bool_and(pg_terminate_backend(pid, 30000)) FROM pg_stat_activity
 WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""
_CATALOGS = (
    *(
        "pg_attrdef",
        "pg_attribute",
        "pg_class",
        "pg_constraint",
        "pg_db_role_setting",
        "pg_extension",
        "pg_index",
    ),
    *("pg_namespace", "pg_proc", "pg_rewrite", "pg_statistic", "pg_trigger", "pg_type"),
)
_FINGERPRINT = " UNION ALL ".join(
    f"SELECT '{catalog}', count(*), max(xmin::text::bigint) FROM {catalog}" for catalog in _CATALOGS
)
_TABLES = """
SELECT c.oid::regclass::text AS name FROM pg_class c
 WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace ORDER BY c.oid
"""
_LARGE_BYTES = 1024 * 1024
_WRITTEN = f"""
SELECT c.oid::regclass::text AS name,
       greatest(pg_relation_size(c.oid), pg_relation_size(nullif(c.reltoastrelid, 0))) > {_LARGE_BYTES} AS is_large
  FROM pg_class c
 WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace AND pg_relation_size(c.oid) > 0
"""
"""A table has bytes also when all that was written to it was taken back."""
_CLEAR_ESTIMATES = """
SELECT pg_clear_relation_stats('public', relname::text) FROM pg_class
 WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND reltuples >= 0
"""
_RESTART_SEQUENCES = """
SELECT setval(format('%I.%I', schemaname, sequencename)::regclass, start_value, false)
  FROM pg_sequences WHERE last_value IS NOT NULL
"""


def as_part(url: str, part: str) -> str:
    """The same database with the privileges of a part's role, whoever logs in."""
    return f"{url}?role={role_name('posthorn_', part)}"


@asynccontextmanager
async def pool(url: str, *, by_key: bool = False, **settings: Any) -> AsyncIterator[Database]:
    """Open a pool of connections; ``settings`` are fields of PostgresSettings."""
    async with connect(
        PostgresSettings.model_validate({"database_url": url, **settings}), by_key=by_key
    ) as database:
        yield database


ROLE_PASSWORDS = {part: f"secret-of-{part}" for part in PRIVILEGES}
"""Passwords of the parts' roles on the session's Postgres."""


def logged_in(url: str, part: str) -> str:
    """The same database with the part's own login."""
    place = urlsplit(url)
    return f"postgresql://{role_name('posthorn_', part)}:{ROLE_PASSWORDS[part]}@127.0.0.1:{place.port}{place.path}"


class Databases:
    """The databases of one test session. ``template`` is the name of a database that nothing is
    connected to."""

    def __init__(self, server: Postgres, template: str) -> None:
        self._server = server
        self._template = template
        self._clean: list[str] = []
        self._as_made: dict[str, list[asyncpg.Record]] = {}
        self._rows: dict[str, tuple[list[str], list[tuple[object, ...]]]] | None = None

    @asynccontextmanager
    async def one(self) -> AsyncIterator[str]:
        """Lend the URL of a database that holds what the template holds."""
        name = self._clean.pop() if self._clean else await self._make()
        yield self._server.url_of(name)
        if await self._restored(name):
            self._clean.append(name)
        else:
            await self._administer(f"DROP DATABASE {name} WITH (FORCE)")

    async def _make(self) -> str:
        name = f"test_{next(_numbers)}"
        await self._administer(f"CREATE DATABASE {name} TEMPLATE {self._template}")
        connection = await asyncpg.connect(self._server.url_of(name))
        try:
            self._as_made[name] = await connection.fetch(_FINGERPRINT)
            if self._rows is None:
                tables = [table for (table,) in await connection.fetch(_TABLES)]
                held = {table: await connection.fetch(f"SELECT * FROM {table}") for table in tables}
                self._rows = {
                    table: (list(rows[0].keys()), [tuple(row) for row in rows])
                    for table, rows in held.items()
                    if rows
                }
        finally:
            await connection.close()
        return name

    async def _restored(self, name: str) -> bool:
        connection = await asyncpg.connect(self._server.url_of(name))
        try:
            if await connection.fetchval(_END_OTHERS) is False:
                return False
            if await connection.fetch(_FINGERPRINT) != self._as_made[name]:
                return False
            # neither triggers nor the order of foreign keys matter to what was valid before
            await connection.execute("SET session_replication_role = replica")
            await self._empty(connection)
            async with connection.transaction():
                for table, (columns, rows) in (self._rows or {}).items():
                    await connection.copy_records_to_table(table, records=rows, columns=columns)
            self._as_made[name] = await connection.fetch(_FINGERPRINT)
        finally:
            await connection.close()
        return True

    async def _empty(self, connection: asyncpg.Connection) -> None:
        written = await connection.fetch(_WRITTEN)
        if large := ", ".join(table for table, is_large in written if is_large):
            await connection.execute(f"TRUNCATE {large} CASCADE")
        if small := [table for table, is_large in written if not is_large]:
            await connection.execute("; ".join(f"DELETE FROM {table}" for table in small))
            await connection.execute(
                f"VACUUM (INDEX_CLEANUP ON, PARALLEL 0, SKIP_DATABASE_STATS) {', '.join(small)}"
            )
        await connection.execute(_CLEAR_ESTIMATES)
        await connection.execute(_RESTART_SEQUENCES)

    async def _administer(self, statement: str) -> None:
        admin = await asyncpg.connect(self._server.url_of("postgres"))
        try:
            await admin.execute(statement)
        finally:
            await admin.close()


async def until_waiting(watcher: Connection, sessions: int = 1) -> int:
    """Wait until so many statements wait for a lock. Return the process id of one."""
    async with asyncio.timeout(BUSY_SECONDS):
        while True:
            # within a transaction the view stands still
            await watcher.execute("SELECT pg_stat_clear_snapshot()")
            waiting = await watcher.fetch(
                "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            if len(waiting) >= sessions:
                return int(waiting[0]["pid"])
            await asyncio.sleep(0.01)


async def execute(url: str, statement: str) -> None:
    """Execute a statement on a connection of its own."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
