"""What the tests of services share: a pool, a blob store, a connection to NATS, and delivery's
parts on all of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from posthorn.adapters.blobs.files import FileBlobs
from posthorn.adapters.nats.connection import Connection, connect
from posthorn.adapters.postgres.database import Database
from posthorn.adapters.postgres.migrate import migrate_blocking
from posthorn_local.embedded import Nats, Postgres
from tests.support.databases import ROLE_PASSWORDS, pool
from tests.support.delivery_env import DeliveryEnv, delivery_env
from tests.support.jetstream import nats_settings
from tests.support.seed import DatabaseSeed


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A pool on the test's database."""
    async with pool(database_url) as opened:
        yield opened


@pytest.fixture
def seed(database: Database) -> DatabaseSeed:
    """Accounts of the test's database."""
    return DatabaseSeed(database)


@pytest.fixture
async def blobs(tmp_path: Path) -> AsyncIterator[FileBlobs]:
    """An empty blob store on disk."""
    files = FileBlobs(tmp_path / "blobs")
    await files.open()
    yield files
    files.close()


@pytest.fixture
async def connection(nats: Nats) -> AsyncIterator[Connection]:
    """A connection to the test's NATS, its streams in place."""
    async with connect(nats_settings(nats), "test") as made:
        yield made


@pytest.fixture
async def env(nats: Nats, database_url: str, tmp_path: Path) -> AsyncIterator[DeliveryEnv]:
    """Delivery on real servers."""
    async with delivery_env(nats, database_url, tmp_path / "blobs") as made:
        yield made


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[Postgres]:
    """A Postgres of the test's own, to stop and start; what it committed is there after a crash."""
    server = Postgres(tmp_path / "postgres")
    server.start()
    migrate_blocking(server.url, role_passwords=ROLE_PASSWORDS)
    yield server
    server.stop(kill=True)
