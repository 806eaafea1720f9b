"""What the contract suites share: a pool, accounts, mailboxes and a connection to NATS."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from posthorn.adapters.blobs.config import open_blobs
from posthorn.adapters.nats.connection import Connection, connect
from posthorn.adapters.postgres.database import Database
from posthorn.adapters.postgres.mailboxes.delivery import PostgresMailboxes
from posthorn.ports.blobs import Blobs
from posthorn.runtime.settings import BlobSettings
from posthorn_local.embedded import Nats
from tests.support.databases import as_part, pool
from tests.support.imap_store import ImapStore
from tests.support.jetstream import nats_settings
from tests.support.mailbox_checks import assert_mailboxes_are_sound
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
async def sound(database: Database, seed: DatabaseSeed) -> AsyncIterator[None]:
    """Afterwards, all mailboxes are as their writers must leave them."""
    yield
    await assert_mailboxes_are_sound(database, by_hand=seed.by_hand)


@pytest.fixture
async def connection(nats: Nats) -> AsyncIterator[Connection]:
    """A connection to the test's NATS, its streams in place."""
    async with connect(nats_settings(nats), "test") as made:
        yield made


@pytest.fixture
async def file_blobs(tmp_path: Path) -> AsyncIterator[Blobs]:
    """Blobs in a directory of the test's own."""
    settings = BlobSettings(blobs=SecretStr(f"file://{tmp_path}/blobs"))
    async with open_blobs(settings) as opened:
        yield opened


@pytest.fixture
async def imap(
    database_url: str, seed: DatabaseSeed, file_blobs: Blobs
) -> AsyncIterator[ImapStore]:
    """The stores of IMAP, on a pool as the service opens it. At the end every sum must hold."""
    async with pool(as_part(database_url, "imap"), by_key=True, database_pool=8) as own:
        store = ImapStore(own, file_blobs, seed)
        yield store
        await store.is_sound()
