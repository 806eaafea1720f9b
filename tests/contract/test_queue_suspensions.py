"""What belongs to a suspended tenant or account is held by the claim that meets it, is in
nobody's way, and goes on afterwards."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from posthorn.adapters.postgres.directory.tenants import PostgresTenants
from posthorn.adapters.postgres.queue.administration import PostgresQueueAdministration
from posthorn.adapters.postgres.schema import DEFAULT_TENANT
from posthorn.model.outbound import QueueState
from posthorn.ports.tenants import TenantRules, TenantState
from posthorn.runtime.ids import new_id
from tests.contract.queue_env import QueueEnv
from tests.support.databases import pool


@pytest.fixture
async def env(database_url: str) -> AsyncIterator[QueueEnv]:
    async with pool(database_url) as database:
        yield QueueEnv(database)


@pytest.fixture
async def other(env: QueueEnv) -> UUID:
    """A second tenant."""
    number = new_id()
    await PostgresTenants(env.database).create(number, "other", TenantRules(), None)
    return number


async def become(env: QueueEnv, state: TenantState, name: str = "default") -> None:
    await PostgresTenants(env.database).change(None, name, {"state": state})


async def test_a_suspended_tenants_queue_is_held_and_others_at_the_same_place_go(
    env: QueueEnv, other: UUID
) -> None:
    for number in range(30):
        await env.send(f"a{number}@far.test")
    await env.send("b@far.test", tenant=other)
    await become(env, TenantState.SUSPENDED)
    relay = await env.relay()
    jobs = await env.jobs(relay, limit=5)
    assert [job.recipient for job in jobs] == ["b@far.test"]
    await env.end(relay, jobs, QueueState.DELIVERED)
    assert await env.jobs(relay) == []
    rows = await env.rows(
        "SELECT DISTINCT state, suspended_for, last_status FROM outbound_recipients WHERE tenant_id = $1",
        DEFAULT_TENANT,
    )
    assert rows == [("held", str(DEFAULT_TENANT), "4.7.1")]
    assert await env.rows("SELECT id FROM outbound_slots") == []
    assert await env.due_names() == [] or await env.jobs(relay) == []
    assert await env.queue.resume(100) == 0
    await become(env, TenantState.ACTIVE)
    assert await env.queue.resume(10) == 10
    assert await env.queue.resume(100) == 20
    assert len(await env.jobs(relay)) == 30
    await env.sums_hold()


async def test_the_time_of_a_suspension_is_not_counted(env: QueueEnv) -> None:
    await env.send("a@far.test")
    await become(env, TenantState.SUSPENDED)
    assert await env.jobs(await env.relay()) == []
    await env.ages(2000)
    await env.rows(
        "UPDATE outbound_recipients SET suspended_at = suspended_at - interval '2000 seconds'"
    )
    assert (await env.queue.sweep_overdue(True, 100)).count == 0
    await become(env, TenantState.ACTIVE)
    assert await env.queue.resume(100) == 1
    ((left, state),) = await env.rows(
        "SELECT extract(epoch FROM expires_at - now())::float8, state FROM outbound_recipients"
    )
    assert 900 < left <= 1000 and state == "queued"
    await env.ages(1500)
    assert (await env.queue.sweep_overdue(True, 100)).count == 1  # as usual, with a notice
    assert await env.rows("SELECT state, notice FROM outbound_recipients") == [
        ("bounced", "failed")
    ]


async def test_a_suspended_accounts_messages_wait_and_no_others(env: QueueEnv) -> None:
    await env.domain("example.test")
    await env.account("eve@example.test", state="suspended")
    await env.account("bob@example.test")
    for submitter in ("eve@example.test", "bob@example.test", "key:backup"):
        await env.send(f"{submitter[:3]}@far.test", submitter=submitter)
    relay = await env.relay()
    assert {job.recipient for job in await env.jobs(relay)} == {"bob@far.test", "key@far.test"}
    assert await env.jobs(relay) == []
    await env.rows("UPDATE accounts SET state = 'active'")
    assert await env.queue.resume(100) == 1
    assert [job.recipient for job in await env.jobs(relay)] == ["eve@far.test"]


async def test_what_an_administrator_holds_stays_held_and_what_he_releases_meets_the_suspension_again(
    env: QueueEnv,
) -> None:
    await env.send("a@far.test")
    await env.send("b@far.test")
    (low, _), (high, _) = await env.rows(
        "SELECT id, recipient FROM outbound_recipients ORDER BY id"
    )
    queue = PostgresQueueAdministration(env.database)
    await queue.act(None, "hold", low)
    await become(env, TenantState.SUSPENDED)
    relay = await env.relay()
    assert await env.jobs(relay) == []
    await queue.act(None, "release", high)
    assert await env.jobs(relay) == []
    assert await env.states() == [("a@far.test", "held"), ("b@far.test", "held")]
    await become(env, TenantState.ACTIVE)
    assert await env.queue.resume(100) == 1
    assert [job.recipient for job in await env.jobs(relay)] == ["b@far.test"]
