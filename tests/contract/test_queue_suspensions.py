"""What belongs to a suspended tenant or account is held by the claim that meets it, is in nobody's way, and goes on afterwards."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from posthorn.adapters.postgres.directory.tenants import PostgresTenants
from posthorn.adapters.postgres.queue.administration import PostgresQueueAdministration
from posthorn.adapters.postgres.tables import DEFAULT_TENANT
from posthorn.model.outbound import QueueState
from posthorn.ports.tenants import TenantRules, TenantState
from posthorn.runtime.ids import new_id
from tests.contract.outgoing import PostOffice
from tests.contract.town import pool


@pytest.fixture
async def office(database_url: str) -> AsyncIterator[PostOffice]:
    async with pool(database_url) as database:
        yield PostOffice(database)


@pytest.fixture
async def other(office: PostOffice) -> UUID:
    """A second tenant."""
    number = new_id()
    await PostgresTenants(office.database).create(number, "other", TenantRules(), None)
    return number


async def become(office: PostOffice, state: TenantState, name: str = "default") -> None:
    await PostgresTenants(office.database).change(None, name, {"state": state})


async def test_a_suspended_tenants_queue_is_held_and_others_at_the_same_place_go(
    office: PostOffice, other: UUID
) -> None:
    for number in range(30):
        await office.send(f"a{number}@far.test")
    await office.send("b@far.test", tenant=other)
    await become(office, TenantState.SUSPENDED)
    relay = await office.relay()
    jobs = await office.jobs(relay, limit=5)
    assert [job.recipient for job in jobs] == ["b@far.test"]
    await office.end(relay, jobs, QueueState.DELIVERED)
    assert await office.jobs(relay) == []
    rows = await office.rows(
        "SELECT DISTINCT state, suspended_for, last_status FROM outbound_recipients WHERE tenant_id = $1",
        DEFAULT_TENANT,
    )
    assert rows == [("held", str(DEFAULT_TENANT), "4.7.1")]
    assert await office.rows("SELECT id FROM outbound_slots") == []
    assert await office.due_names() == [] or await office.jobs(relay) == []
    assert await office.queue.resume(100) == 0
    await become(office, TenantState.ACTIVE)
    assert await office.queue.resume(10) == 10
    assert await office.queue.resume(100) == 20
    assert len(await office.jobs(relay)) == 30
    await office.sums_hold()


async def test_the_time_of_a_suspension_is_not_counted(office: PostOffice) -> None:
    await office.send("a@far.test")
    await become(office, TenantState.SUSPENDED)
    assert await office.jobs(await office.relay()) == []
    await office.ages(2000)
    await office.rows("UPDATE outbound_recipients SET suspended_at = suspended_at - interval '2000 seconds'")
    assert (await office.queue.sweep_overdue(True, 100)).count == 0
    await become(office, TenantState.ACTIVE)
    assert await office.queue.resume(100) == 1
    ((left, state),) = await office.rows(
        "SELECT extract(epoch FROM expires_at - now())::float8, state FROM outbound_recipients"
    )
    assert 900 < left <= 1000 and state == "queued"
    await office.ages(1500)
    assert (await office.queue.sweep_overdue(True, 100)).count == 1  # as usual, with a notice
    assert await office.rows("SELECT state, notice FROM outbound_recipients") == [("bounced", "failed")]


async def test_a_suspended_accounts_messages_wait_and_no_others(office: PostOffice) -> None:
    await office.domain("example.test")
    await office.account("eve@example.test", state="suspended")
    await office.account("bob@example.test")
    for submitter in ("eve@example.test", "bob@example.test", "key:backup"):
        await office.send(f"{submitter[:3]}@far.test", submitter=submitter)
    relay = await office.relay()
    assert {job.recipient for job in await office.jobs(relay)} == {"bob@far.test", "key@far.test"}
    assert await office.jobs(relay) == []
    await office.rows("UPDATE accounts SET state = 'active'")
    assert await office.queue.resume(100) == 1
    assert [job.recipient for job in await office.jobs(relay)] == ["eve@far.test"]


async def test_what_an_administrator_holds_stays_held_and_what_he_releases_meets_the_suspension_again(
    office: PostOffice,
) -> None:
    await office.send("a@far.test")
    await office.send("b@far.test")
    (low, _), (high, _) = await office.rows("SELECT id, recipient FROM outbound_recipients ORDER BY id")
    queue = PostgresQueueAdministration(office.database)
    await queue.act(None, "hold", low)
    await become(office, TenantState.SUSPENDED)
    relay = await office.relay()
    assert await office.jobs(relay) == []
    await queue.act(None, "release", high)
    assert await office.jobs(relay) == []
    assert await office.states() == [("a@far.test", "held"), ("b@far.test", "held")]
    await become(office, TenantState.ACTIVE)
    assert await office.queue.resume(100) == 1
    assert [job.recipient for job in await office.jobs(relay)] == ["b@far.test"]
