"""The port Suppressions on PostgreSQL."""

from __future__ import annotations

from uuid import UUID

import pytest

from posthorn.adapters.postgres.database import Database
from posthorn.adapters.postgres.queue.suppressions import PostgresSuppressions
from posthorn.adapters.postgres.schema import DEFAULT_TENANT
from posthorn.ports.errors import Conflict, NotFound
from posthorn.ports.listing import ListQuery
from posthorn.runtime.ids import new_id
from tests.support.lists import whole
from tests.support.seed import DatabaseSeed


@pytest.fixture
def suppressions(database: Database) -> PostgresSuppressions:
    return PostgresSuppressions(database)


@pytest.fixture
async def other(database: Database) -> UUID:
    tenant = new_id()
    await DatabaseSeed(database).rows("INSERT INTO tenants (id, name) VALUES ($1, 'other')", tenant)
    return tenant


async def test_an_address_is_put_on_the_list_once(suppressions: PostgresSuppressions) -> None:
    made, new = await suppressions.add(None, "a@far.test", "asked\0 not to")
    assert (made.address, made.reason, made.source, made.message, new) == (
        "a@far.test",
        "asked not to",
        "api",
        None,
        True,
    )
    assert await suppressions.add(DEFAULT_TENANT, "a@far.test", "again") == (made, False)


async def test_tenants_have_lists_of_their_own(
    suppressions: PostgresSuppressions, other: UUID
) -> None:
    await suppressions.add(other, "a@far.test", "theirs")
    assert (await suppressions.items(None, ListQuery(10))).items == []
    with pytest.raises(NotFound):
        await suppressions.remove(DEFAULT_TENANT, "a@far.test")
    theirs = await suppressions.items(other, ListQuery(10))
    assert [each.reason for each in theirs.items] == ["theirs"]
    with pytest.raises(NotFound):
        await suppressions.add(new_id(), "a@far.test", "nobody's")


async def test_a_list_is_bounded(
    database: Database,
    suppressions: PostgresSuppressions,
    other: UUID,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("posthorn.adapters.postgres.queue.suppressions.MOST_SUPPRESSIONS", 3)
    await DatabaseSeed(database).rows(
        "INSERT INTO suppressions (tenant_id, address, reason, source, created_at)"
        " SELECT $1, n || '@far.test', 'unknown', 'bounce', now() - make_interval(days => n)"
        " FROM generate_series(1, 2) AS n",
        other,
    )
    by_hand, _ = await suppressions.add(other, "hand@far.test", "asked not to")
    with pytest.raises(Conflict, match="already 3 suppressions; delete some first"):
        await suppressions.add(other, "more@far.test", "asked not to")
    assert await suppressions.add(other, "hand@far.test", "again") == (by_hand, False)
    await suppressions.add(None, "more@far.test", "of another tenant")
    assert await suppressions.prune() == 0
    monkeypatch.setattr("posthorn.adapters.postgres.queue.suppressions.MOST_SUPPRESSIONS", 2)
    assert await suppressions.prune() == 1
    left = await suppressions.items(other, ListQuery(10))
    assert [each.address for each in left.items] == ["1@far.test", "hand@far.test"]
    monkeypatch.setattr("posthorn.adapters.postgres.queue.suppressions.MOST_SUPPRESSIONS", 1)
    assert await suppressions.prune() == 1
    left = await suppressions.items(other, ListQuery(10))
    assert [each.address for each in left.items] == ["hand@far.test"]


async def test_the_list_is_read_page_by_page_and_by_domain(
    suppressions: PostgresSuppressions,
) -> None:
    addresses = sorted(
        f"{name}@{domain}" for name in "abc" for domain in ("far.test", "not-far.test")
    )
    for address in reversed(addresses):
        await suppressions.add(None, address, "")
    listed = [
        each.address for each in await whole(lambda asked: suppressions.items(None, asked), 4)
    ]
    assert sorted(listed) == addresses
    assert len(listed) == 6
    found = await suppressions.items(None, ListQuery(10, ("a@far.test",)), "far.test")
    assert [each.address for each in found.items] == ["b@far.test", "c@far.test"]


async def test_an_address_is_taken_off(suppressions: PostgresSuppressions) -> None:
    await suppressions.add(None, "a@far.test", "")
    await suppressions.remove(None, "a@far.test")
    assert (await suppressions.items(None, ListQuery(10))).items == []
    with pytest.raises(NotFound):
        await suppressions.remove(None, "a@far.test")
