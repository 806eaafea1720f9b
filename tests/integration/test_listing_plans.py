"""Pages of accounts read as many rows among many accounts as among few, whoever asks and for
whatever.

The server counts what is read (see ``test_queue_plans``).
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from posthorn.adapters.postgres.directory.administration import PostgresAdministration
from posthorn.adapters.postgres.tables import DEFAULT_TENANT
from tests.support.databases import pool
from tests.support.seed import DatabaseSeed

ACCOUNTS = 20_000
PAGE = 50
TIMES = 8
MOST = 20 * PAGE
"""Rows and index entries of one page; a walk over the large domain's accounts would be 10,000."""


@pytest.fixture
async def seed(database_url: str) -> AsyncIterator[DatabaseSeed]:
    async with pool(database_url, database_pool=1) as database:
        seed = DatabaseSeed(database)
        await seed.rows(
            "INSERT INTO domains (tenant_id, name)"
            " SELECT $1::uuid, 'd' || lpad(n::text, 3, '0') || '.test' FROM generate_series(0, 99) n",
            DEFAULT_TENANT,
        )
        await seed.rows(
            "INSERT INTO accounts (domain_id, address, password_hash)"
            " SELECT d.id, 'u' || lpad(n::text, 6, '0') || '@' || d.name, '' FROM generate_series(1, $1::int) n"
            " JOIN domains d ON d.name = 'd' || lpad((CASE WHEN n % 2 = 0 THEN 0 ELSE n / 2 % 100 END)::text, 3, '0') || '.test'",
            ACCOUNTS,
        )
        await seed.rows("ANALYZE accounts")
        yield seed


async def read(seed: DatabaseSeed) -> int:
    await seed.rows("SELECT pg_stat_force_next_flush()")
    await seed.rows("SELECT pg_stat_clear_snapshot()")
    return int(
        await seed.value(
            "SELECT t.seq_tup_read + (SELECT sum(i.idx_tup_read) FROM pg_stat_user_indexes i WHERE i.relname = 'accounts')"
            " FROM pg_stat_user_tables t WHERE t.relname = 'accounts'"
        )
    )


@pytest.mark.parametrize(
    "domain", [None, "d000.test", "d077.test"], ids=["all", "of a large domain", "of a small one"]
)
async def test_a_page_of_accounts_reads_little(seed: DatabaseSeed, domain: str | None) -> None:
    administration = PostgresAdministration(seed.database)
    before, after = await read(seed), ""
    for _ in range(TIMES):
        page = await administration.accounts(None, domain, after, PAGE)
        assert after or len(page) == PAGE
        assert [one.address for one in page] == sorted(one.address for one in page)
        after = page[-1].address if page else ""
    assert await read(seed) - before < TIMES * MOST


async def test_a_tenants_page_reads_its_domains_alone(seed: DatabaseSeed) -> None:
    administration = PostgresAdministration(seed.database)
    other = await seed.value(
        "INSERT INTO tenants (id, name) VALUES (gen_random_uuid(), 'small') RETURNING id"
    )
    await seed.rows(
        "UPDATE domains SET tenant_id = $1 WHERE name IN ('d000.test', 'd077.test')", other
    )
    before = await read(seed)
    for _ in range(TIMES):
        page = await administration.accounts(other, None, "", PAGE)
        assert len(page) == PAGE and {one.address[-9:] for one in page} <= {
            "d000.test",
            "d077.test",
        }
    assert await read(seed) - before < TIMES * MOST
