"""What the pages of long lists read: among 50,000 accounts and 100,000 queued recipients a page by
key as much as among few, any other at most each row once.

The server counts what is read (see ``test_queue_plans``).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from typing import Any

import asyncpg
import pytest

from posthorn.adapters.postgres.access.listing import MOST_READ
from posthorn.adapters.postgres.conditions import Conditions
from posthorn.adapters.postgres.directory.administration import PostgresAdministration
from posthorn.adapters.postgres.directory.managers import PostgresManagers
from posthorn.adapters.postgres.mailboxes.quarantine import PostgresQuarantine
from posthorn.adapters.postgres.queue.administration import PostgresQueueAdministration
from posthorn.adapters.postgres.queue.summary import OPEN, SUMMARY
from posthorn.adapters.postgres.schema import DEFAULT_TENANT
from posthorn.ports.listing import Listed, ListQuery
from posthorn.ports.quarantine import QuarantineFilter
from posthorn.ports.queue_administration import QueueFilter
from posthorn_local.embedded import Postgres
from tests.integration.long_queue import fill
from tests.support.databases import pool
from tests.support.seed import DatabaseSeed

ACCOUNTS = 50_000
QUEUED = 100_500
"""A few more than a total reads."""
PAGE = 50
PAGES = 4
MOST = 20 * PAGE
"""Rows and index entries of one page by key."""

_FILL = (
    "INSERT INTO tenants (id, name) VALUES (gen_random_uuid(), 'small')",
    f"INSERT INTO domains (tenant_id, name) SELECT CASE WHEN n IN (7, 77) THEN t.id ELSE '{DEFAULT_TENANT}' END,"
    " 'd' || lpad(n::text, 3, '0') || '.test' FROM generate_series(0, 99) n JOIN tenants t ON t.name = 'small'",
    # half of them in one domain
    "INSERT INTO accounts (domain_id, address, password_hash, used_bytes, state)"
    " SELECT d.id, 'u' || lpad(n::text, 6, '0') || '@' || d.name, '', n % 1000,"
    " CASE WHEN n % 10000 = 0 THEN 'suspended' ELSE 'active' END"
    f" FROM generate_series(1, {ACCOUNTS}) n JOIN domains d"
    " ON d.name = 'd' || lpad((CASE WHEN n % 2 = 0 THEN 0 ELSE n / 2 % 100 END)::text, 3, '0') || '.test'",
    f"INSERT INTO managed_objects (tenant_id, manager, account_id, fields) SELECT '{DEFAULT_TENANT}', 'flux', id, '{{}}'"
    " FROM accounts",
    "INSERT INTO aliases (domain_id, address, targets)"
    " SELECT domain_id, 'to-' || address, ARRAY[address, 'all@d000.test'] FROM accounts LIMIT 20000",
    "VACUUM ANALYZE accounts, aliases, managed_objects",
)


_WITHHOLD = (
    "INSERT INTO quarantine (id, message_id, tenant_id, recipient, reason, detail, score, envelope, size_crlf, expires_at)"
    " SELECT m.id, m.id, t.id, 'r' || row_number() OVER () || '@d.test', 'score', '', 9, '', 1, now() + interval '1 day'"
    f" FROM messages m, tenants t WHERE t.name = 'default' LIMIT {ACCOUNTS}",
    "VACUUM ANALYZE quarantine",
)


@pytest.fixture(scope="module")
def large(postgres: Postgres, migrated: str) -> Iterator[str]:
    """URL of a database with long lists."""

    async def on(name: str, *statements: str, queued: int = 0) -> None:
        connection = await asyncpg.connect(postgres.url_of(name))
        try:
            for statement in statements:
                await connection.execute(statement)
            if queued:
                await fill(connection, queued, 2_000)
                for statement in _WITHHOLD:
                    await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(on("postgres", f"CREATE DATABASE long_lists TEMPLATE {migrated}"))
    asyncio.run(on("long_lists", *_FILL, queued=QUEUED))
    yield postgres.url_of("long_lists")
    asyncio.run(on("postgres", "DROP DATABASE long_lists WITH (FORCE)"))


@pytest.fixture
async def seed(large: str) -> AsyncIterator[DatabaseSeed]:
    async with pool(large, database_pool=1) as database:
        yield DatabaseSeed(database)


async def read(seed: DatabaseSeed, table: str) -> int:
    await seed.rows("SELECT pg_stat_force_next_flush()")
    await seed.rows("SELECT pg_stat_clear_snapshot()")
    return int(
        await seed.value(
            "SELECT t.seq_tup_read + (SELECT sum(i.idx_tup_read) FROM pg_stat_user_indexes i WHERE i.relname = $1)"
            " FROM pg_stat_user_tables t WHERE t.relname = $1",
            table,
        )
    )


async def pages_cost(
    seed: DatabaseSeed,
    table: str,
    most: int,
    ask: Callable[[ListQuery], Awaitable[Listed[Any]]],
    **asked: Any,
) -> list[Any]:
    """Read some pages. Assert that each reads at most so much of the table. Return the items."""
    before = await read(seed, table)
    items: list[Any] = []
    found = await ask(ListQuery(PAGE, **asked))
    for number in range(PAGES):
        items += found.items
        assert found.total is None
        if found.last is None or number == PAGES - 1:
            break
        found = await ask(ListQuery(PAGE, found.last, **asked))
    assert await read(seed, table) - before <= PAGES * most
    return items


@pytest.mark.parametrize("owner", [None, "default", "small"])
@pytest.mark.parametrize("domain", [None, "d000.test", "d077.test"])
async def test_a_page_of_accounts_by_key_reads_little(
    seed: DatabaseSeed, owner: str | None, domain: str | None
) -> None:
    administration = PostgresAdministration(seed.database)
    for order in ("", "-address", "created", "-created"):
        # each of a tenant's domains may have the whole page
        most = MOST if owner != "default" or domain else 100 * (PAGE + 1) + MOST
        found = await pages_cost(
            seed,
            "accounts",
            most,
            lambda asked: administration.accounts(None, asked, domain),
            order=order,
            owner=owner,
        )
        addresses = [one.address for one in found]
        if order in ("", "-address"):
            assert addresses == sorted(addresses, reverse=order.startswith("-"))
        of = {address.rpartition("@")[2] for address in addresses}
        assert not domain or of <= {domain}
        assert owner != "small" or of <= {"d007.test", "d077.test"}
        is_foreign = (owner, domain) in (("small", "d000.test"), ("default", "d077.test"))
        assert len(found) == (0 if is_foreign else PAGE * PAGES)


async def test_a_page_of_domains_counts_each_account_once(seed: DatabaseSeed) -> None:
    administration = PostgresAdministration(seed.database)
    found = await pages_cost(
        seed,
        "accounts",
        ACCOUNTS // PAGES + MOST,
        lambda asked: administration.domains(None, asked),
    )
    numbers = {each.name: each.accounts for each in found}
    assert sum(numbers.values()) == ACCOUNTS
    assert (numbers["d000.test"], numbers["d077.test"]) == (ACCOUNTS // 2 + 250, 250)


@pytest.mark.parametrize("owner", [None, "default"])
async def test_aliases_of_a_target_are_found_by_their_index(
    seed: DatabaseSeed, owner: str | None
) -> None:
    administration = PostgresAdministration(seed.database)
    address = str(await seed.value("SELECT min(targets[1]) FROM aliases"))
    (found,) = await pages_cost(
        seed,
        "aliases",
        MOST,
        lambda asked: administration.aliases(None, asked, target=address),
        owner=owner,
    )
    assert (found.address, found.targets[0]) == (f"to-{address}", address)


async def test_a_page_reads_the_marks_of_its_rows_alone(seed: DatabaseSeed) -> None:
    administration = PostgresAdministration(seed.database)
    found = await pages_cost(
        seed, "managed_objects", 3 * PAGE, lambda asked: administration.accounts(None, asked)
    )
    assert {each.managed_by and each.managed_by.manager for each in found} == {"flux"}
    # a manager that the server has no statistics of takes over many, and claims them again
    asked = ListQuery(1000, owner="default")
    names = [each.address for each in (await administration.accounts(None, asked)).items]
    claims = {"account": dict.fromkeys(names, ("state",))}
    managers = PostgresManagers(seed.database)
    before = await read(seed, "accounts")
    for take_over in (True, False):
        await managers.claim(DEFAULT_TENANT, "argo", claims, routes=False, take_over=take_over)
    assert await read(seed, "accounts") - before <= 6 * ACCOUNTS + MOST  # not once for each name
    (argo, _) = await managers.all(DEFAULT_TENANT, routes=False)
    assert (argo.name, argo.objects["account"]) == ("argo", len(names))


async def test_other_pages_of_accounts_read_each_row_once(seed: DatabaseSeed) -> None:
    administration = PostgresAdministration(seed.database)
    walk = ACCOUNTS + MOST
    for asked, number in (
        ({"order": "-used"}, PAGE * PAGES),
        ({"part": "U049999@"}, 1),
        ({"part": "nobody"}, 0),
        ({"state": "suspended"}, 5),
        ({"owner": "small", "part": "155@D077"}, 50),
    ):
        found = await pages_cost(
            seed, "accounts", walk, lambda asked: administration.accounts(None, asked), **asked
        )
        assert len(found) == number, asked


async def test_a_total_reads_a_bounded_number_of_rows(seed: DatabaseSeed) -> None:
    administration = PostgresAdministration(seed.database)
    queue = PostgresQueueAdministration(seed.database)
    for owner, number in ((None, ACCOUNTS), ("small", 500)):
        before = await read(seed, "accounts")
        found = await administration.accounts(None, ListQuery(1, owner=owner, with_total=True))
        assert found.total == number
        assert await read(seed, "accounts") - before <= number + MOST
    # more than are read: estimated
    for part, number in ((None, QUEUED), ("big.test", QUEUED // 2)):
        before = await read(seed, "outbound_recipients")
        listed = await queue.listed(None, QueueFilter(), ListQuery(1, part=part, with_total=True))
        assert listed.total == pytest.approx(number, rel=0.02)
        assert await read(seed, "outbound_recipients") - before <= MOST_READ + MOST


async def test_the_summary_of_the_queue_reads_what_waits_once(seed: DatabaseSeed) -> None:
    queue = PostgresQueueAdministration(seed.database)
    before = await read(seed, "outbound_recipients")
    groups = await queue.summary(None, QueueFilter(), 0, PAGE)
    assert await read(seed, "outbound_recipients") - before <= QUEUED + MOST
    assert (groups[0].destination, groups[0].recipients) == ("big.test", QUEUED // 2)
    assert len(groups) == PAGE
    before = await read(seed, "outbound_recipients")
    (group,) = await queue.summary(None, QueueFilter(), 0, PAGE, "big.test")
    assert await read(seed, "outbound_recipients") - before <= QUEUED + MOST
    assert (group.destination, group.recipients) == ("big.test", QUEUED // 2)
    # and takes each status apart once for a group
    search = Conditions()
    search.add(OPEN)
    query = search.into(SUMMARY.replace("{offset}", "0"), PAGE)
    ((document,),) = await seed.rows(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}", *search.values)
    parts = [
        (node, below)
        for node in nodes(document[0]["Plan"])
        for below in node.get("Plans", ())
        if "substring" in str(node.get("Group Key"))
    ]
    assert parts
    for node, below in parts:
        assert "substring" in str(below.get("Group Key")) or below["Actual Rows"] < QUEUED / 10, (
            node
        )


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the nodes of a plan."""
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes(below)


async def test_pages_of_the_queue_read_each_row_once_at_most(seed: DatabaseSeed) -> None:
    queue = PostgresQueueAdministration(seed.database)
    table = "outbound_recipients"
    for which, asked, most, number in (
        (QueueFilter(), {"order": "created"}, MOST, PAGE * PAGES),
        (QueueFilter(tenant="default"), {"order": "-created"}, MOST, PAGE * PAGES),
        (QueueFilter(tenant="small"), {}, MOST, 0),
        (QueueFilter(), {"order": "due"}, QUEUED + MOST, PAGE * PAGES),
        (QueueFilter(domain="d8.test"), {"order": "-due"}, MOST, 0),
        (QueueFilter(), {"part": "R77@D77"}, QUEUED + MOST, 1),
    ):
        found = await pages_cost(seed, table, most, partial(queue.listed, None, which), **asked)
        assert len(found) == number, (which, asked)


async def test_pages_of_the_quarantine_by_key_read_little(seed: DatabaseSeed) -> None:
    quarantine = PostgresQuarantine(seed.database)
    for asked, most, number in (
        ({}, MOST, PAGE * PAGES),
        ({"order": "created", "owner": "default"}, MOST, PAGE * PAGES),
        ({"owner": "small"}, MOST, 0),
        ({"order": "-score"}, ACCOUNTS + MOST, PAGE * PAGES),
        ({"part": "R777@d"}, ACCOUNTS + MOST, 1),
    ):
        ask = partial(quarantine.items, None, QuarantineFilter())
        found = await pages_cost(seed, "quarantine", most, ask, **asked)
        assert len(found) == number, asked
