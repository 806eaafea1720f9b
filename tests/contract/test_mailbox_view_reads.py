"""STORE and FETCH of a few messages of a large mailbox look these up by their keys, also before
Postgres has statistics: a plan made then is kept until it gets some.

The server counts the entries that it reads by indexes, as in ``test_queue_plans``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from posthorn.adapters.postgres.database import Database
from posthorn.ports.blobs import Blobs
from posthorn.ports.mailbox_view import SEEN
from tests.support.databases import as_part, pool
from tests.support.imap_store import ImapStore
from tests.support.seed import DatabaseSeed

HELD, SOME = 3000, 200
MOST_READS = 5 * SOME
"""Index entries that one command may read; it would be ``HELD`` or more if it walked the mailbox."""


@pytest.fixture
async def own(database_url: str) -> AsyncIterator[Database]:
    """A pool of one connection, so that its counts are flushed before they are read."""
    async with pool(as_part(database_url, "imap"), by_key=True, database_pool=1) as opened:
        yield opened


async def reads(database: Database) -> int:
    """Return how many entries were read by indexes so far."""
    async with database.session() as connection:
        await connection.execute("SELECT pg_stat_force_next_flush()")
        await connection.execute("SELECT pg_stat_clear_snapshot()")
        return int(
            await connection.fetchval(
                "SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE relname = 'mailbox_entries'"
            )
        )


async def test_messages_are_looked_up_by_their_keys(
    own: Database, seed: DatabaseSeed, file_blobs: Blobs
) -> None:
    store = ImapStore(own, file_blobs, seed)
    ada = await store.account()
    uids = await store.put(ada, count=HELD)
    box = await store.id_of(ada, "INBOX")
    view = store.view
    commands: dict[str, Callable[[list[int]], Awaitable[object]]] = {
        "STORE of a flag": lambda some: view.store(ada, box, some, "+", SEEN, []),
        "STORE of a keyword": lambda some: view.store(ada, box, some, "+", 0, ["$Later"]),
        "STORE of other flags": lambda some: view.store(ada, box, some, "", SEEN, []),
        "FETCH of a content": lambda some: view.contents(ada, box, some, header=True, forms=True),
    }
    cost: dict[str, int] = {}
    for number, (name, command) in enumerate(commands.items()):
        before = await reads(own)
        await command(uids[number * SOME : (number + 1) * SOME])
        cost[name] = await reads(own) - before
    assert {name: read for name, read in cost.items() if not SOME <= read <= MOST_READS} == {}
