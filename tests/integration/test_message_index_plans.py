"""A page of the search for messages reads few of many entries, whatever is looked for: the newest,
what is frequent, what is rare, and what is not there.

The server counts what is read (see ``test_queue_plans``).
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from posthorn.adapters.postgres.events.message_index import PostgresMessageIndex
from posthorn.adapters.postgres.schema import DEFAULT_TENANT
from posthorn.model.search_terms import asked_for
from posthorn.ports.message_index import MessageFilter
from tests.support.databases import pool
from tests.support.seed import DatabaseSeed

ENTRIES = 20_000
PAGE = 50
MOST = 20 * PAGE
"""Rows and index entries of one page; a walk over all would be 20,000."""

_FILL = """
INSERT INTO message_index
SELECT $1::uuid, (lpad(to_hex(1796000000000 + n), 12, '0') || '70008000' || lpad(to_hex(n), 12, '0'))::uuid,
       'u' || n % 700 || '@here.test', 'inbound', sender, sender, '', '', 0,
       CASE WHEN n % 400 = 0 THEN 'bounced' ELSE 'delivered' END, 'delivered', now(), '{}', '{}',
       ARRAY['=inbound', '=delivered', '<' || sender, '<@far.test', '>u' || n % 700 || '@here.test', '>@here.test',
             n || '@far.test', 'daily', 'report', n::text]
  FROM (SELECT n, 's' || n % 5000 || '@far.test' AS sender FROM generate_series(1, $2::int) n) AS made
"""


@pytest.fixture(scope="module")
def searched() -> dict[str, MessageFilter]:
    return {
        "the newest": MessageFilter(),
        "frequent": MessageFilter(asked=asked_for("@here.test report")),
        "rare address": MessageFilter(asked=asked_for("s4711@far.test")),
        "rare sender": MessageFilter(sender="s4711@far.test"),
        "recipient": MessageFilter(recipient="u77@here.test"),
        "rare word": MessageFilter(asked=asked_for("17")),
        "no such word": MessageFilter(asked=asked_for("nothing")),
        "no such reason": MessageFilter(reason="virus"),
        "no such direction": MessageFilter(direction="outbound"),
        "bounced": MessageFilter(outcome="bounced"),
        "no such outcome": MessageFilter(outcome="expired"),
        "relayed, of which there are none": MessageFilter(outcome="relayed"),
    }


@pytest.fixture
async def seed(database_url: str) -> AsyncIterator[DatabaseSeed]:
    async with pool(database_url, database_pool=1) as database:
        seed = DatabaseSeed(database)
        await seed.rows(_FILL, DEFAULT_TENANT, ENTRIES)
        await seed.rows("ANALYZE message_index")
        yield seed


async def read(seed: DatabaseSeed) -> int:
    await seed.rows("SELECT pg_stat_force_next_flush()")
    await seed.rows("SELECT pg_stat_clear_snapshot()")
    return int(
        await seed.value(
            "SELECT t.seq_tup_read + t.idx_tup_fetch + (SELECT sum(i.idx_tup_read) FROM pg_stat_user_indexes i"
            " WHERE i.relname = 'message_index') FROM pg_stat_user_tables t WHERE t.relname = 'message_index'"
        )
    )


async def test_a_page_reads_little(seed: DatabaseSeed, searched: dict[str, MessageFilter]) -> None:
    index = PostgresMessageIndex(seed.database)
    costs: dict[str, int] = {}
    for tenant in (None, DEFAULT_TENANT):
        for name, which in searched.items():
            before = await read(seed)
            found = await index.search(tenant, which, None, PAGE)
            assert bool(found) != name.startswith(("no such", "relayed")), name
            costs[f"{name}, {'all' if tenant is None else 'a tenant'}"] = await read(seed) - before
    assert {name: cost for name, cost in costs.items() if cost > MOST} == {}
