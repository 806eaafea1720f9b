"""What the contract suites share: a pool, accounts, mailboxes and a connection to NATS."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from posthorn.adapters.nats.connection import Connection, connect
from posthorn.adapters.postgres.database import Database
from posthorn.adapters.postgres.mailboxes.delivery import PostgresMailboxes
from posthorn_local.embedded import Nats
from tests.support.databases import pool
from tests.support.jetstream import nats_settings
from tests.support.seed import DatabaseSeed


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A pool on the test's database, large enough for what the suites do at once."""
    async with pool(database_url, database_pool=8) as opened:
        yield opened


@pytest.fixture
def seed(database: Database) -> DatabaseSeed:
    """Accounts of the test's database."""
    return DatabaseSeed(database)


@pytest.fixture
def mailboxes(database: Database) -> PostgresMailboxes:
    """The mailboxes of the test's database."""
    return PostgresMailboxes(database)


@pytest.fixture
async def connection(nats: Nats) -> AsyncIterator[Connection]:
    """A connection to the test's NATS, its streams in place."""
    async with connect(nats_settings(nats), "test") as made:
        yield made
