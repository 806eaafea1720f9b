"""Hand-overs in the queue: a claim by delivery for a relay, under the rules of every claim."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from uuid import UUID

import pytest

from posthorn.adapters.postgres.mailboxes.delivery import PostgresMailboxes
from posthorn.adapters.postgres.queue.handing import PostgresHandedClaims
from posthorn.adapters.postgres.queue.routes import PostgresRoutes
from posthorn.adapters.postgres.schema import DEFAULT_TENANT
from posthorn.model.outbound import QueueState
from posthorn.ports.hand_over import Handed, HandOver, LiveRelay
from posthorn.ports.queue import Due, Route
from posthorn.runtime.ids import new_id
from tests.contract.queue_env import QueueEnv
from tests.support.builders import make_message, make_outbound, make_segment
from tests.support.databases import as_part, pool


class HandOverEnv(QueueEnv):
    """A queue into which delivery writes in its own role."""

    mailboxes: PostgresMailboxes
    handed: PostgresHandedClaims

    async def hand(
        self, relay: UUID, *recipients: str, connections: int = 20, to: str = "far.test"
    ) -> tuple[HandOver, UUID]:
        """Queue a message and hand it over, if that is possible."""
        made = replace(
            make_message(()),
            outbound=tuple(make_outbound(each, "sender@example.test") for each in recipients),
            tenant=DEFAULT_TENANT,
        )
        over = HandOver(LiveRelay(relay, connections), to)
        await self.mailboxes.deliver([make_segment([made])], over)
        return over, made.envelope.id

    def told(self, over: HandOver, message: UUID) -> Handed:
        """Return what the relay is told."""
        assert over.slot is not None
        return Handed(over.relay.id, over.destination, over.slot, over.jobs, message)

    async def known(self) -> None:
        """Make the next hop known, as the first claim does."""
        relay = await self.relay()
        await self.send("first@far.test")
        jobs = await self.jobs(relay)
        await self.end(relay, jobs, QueueState.DELIVERED)


@pytest.fixture
async def env(database_url: str) -> AsyncIterator[HandOverEnv]:
    async with (
        pool(database_url) as database,
        pool(as_part(database_url, "delivery")) as deliverys,
        pool(as_part(database_url, "relay")) as relays,
    ):
        made = HandOverEnv(database, relays)
        made.mailboxes = PostgresMailboxes(deliverys)
        made.handed = PostgresHandedClaims(relays)
        await made.known()
        yield made


async def test_what_is_handed_over_is_claimed_with_a_slot_and_ends_as_any_claim(
    env: HandOverEnv,
) -> None:
    relay, other = await env.relay(), await env.relay()
    over, message = await env.hand(relay, "a@far.test", "b@far.test")
    assert over.messages == {message}
    assert await env.jobs(other) == []
    due, jobs = await env.handed.claimed(env.told(over, message))
    assert due == Due("far.test", None)
    assert [job.recipient for job in jobs] == ["a@far.test", "b@far.test"]
    assert [job.id for job in jobs] == over.jobs
    assert await env.handed.slots(relay) == {over.slot}
    assert await env.handed.slots(other) == set()
    assert await env.end(relay, jobs, QueueState.DELIVERED) == set(over.jobs)
    assert await env.handed.claimed(env.told(over, message)) == (due, [])


async def test_it_is_the_same_job_as_the_relays_own_claim_would_get(env: HandOverEnv) -> None:
    relay = await env.relay()
    over, message = await env.hand(relay, "a@far.test")
    _, (job,) = await env.handed.claimed(env.told(over, message))
    assert over.slot is not None
    await env.end(relay, [job], QueueState.QUEUED)
    claim = await env.claim(relay, slot=over.slot)
    assert (claim.slot, list(claim.jobs)) == (over.slot, [job])


async def test_it_goes_by_the_route_and_its_limit(env: HandOverEnv) -> None:
    relay = await env.relay()
    route = Route("*", host="192.0.2.1", port=2525, tls="none", connections=1)
    await PostgresRoutes(env.database).put(route)
    await env.send("first@far.test")
    claim = await env.queue.claim(relay, Due("far.test", route), None, 1, None, 10)
    over, message = await env.hand(relay, "a@far.test")
    assert over.slot is None, "the route's only connection is in use"
    assert claim.slot is not None
    await env.queue.free_slot(relay, claim.slot)
    over, message = await env.hand(relay, "b@far.test")
    due, jobs = await env.handed.claimed(env.told(over, message))
    assert due.route == route
    # what was queued before goes first
    assert [job.recipient for job in jobs] == ["a@far.test", "b@far.test"]
    assert len(over.messages) == 2


async def test_nothing_is_handed_over_against_the_rules_of_claims(env: HandOverEnv) -> None:
    relay, other = await env.relay(), await env.relay()
    assert (await env.hand(relay, "a@new.test", to="new.test"))[0].slot is None, "no next hop yet"
    claim = await env.claim(other)
    assert claim.slot is None
    await env.send("busy@far.test")
    claim = await env.claim(other, connections=1)
    assert (await env.hand(relay, "a@far.test", connections=1))[0].slot is None, "no room"
    await env.queue.leave(other)
    await env.queue.close_next_hop("far.test", 60, "mx", "down")
    assert (await env.hand(relay, "a@far.test"))[0].slot is None, "closed"
    await env.queue.open_next_hop("far.test")
    async with env.database.transaction() as locking:
        await locking.execute("SELECT FROM outbound_lanes WHERE key = 'far.test' FOR UPDATE")
        assert (await env.hand(relay, "a@far.test"))[0].slot is None, "nobody is waited for"
    await env.queue.leave(relay)
    assert (await env.hand(relay, "a@far.test"))[0].slot is None, "a relay that has left"
    assert (await env.hand(new_id(), "a@far.test"))[0].slot is None, "a relay nobody knows"
    third = await env.relay()
    assert len(await env.jobs(third)) == 6, "all of it is due as ever"


async def test_what_a_suspended_tenant_sends_is_not_handed_over(env: HandOverEnv) -> None:
    relay = await env.relay()
    await env.rows("UPDATE tenants SET state = 'suspended' WHERE id = $1", DEFAULT_TENANT)
    assert (await env.hand(relay, "a@far.test"))[0].slot is None


async def test_what_was_handed_to_a_relay_that_leaves_or_dies_is_due_again(
    env: HandOverEnv,
) -> None:
    first, second, third = [await env.relay() for _ in range(3)]
    over, message = await env.hand(first, "a@far.test")
    await env.queue.leave(first)
    assert (await env.handed.claimed(env.told(over, message)))[1] == []
    assert await env.handed.slots(first) == set()
    (job,) = await env.jobs(second)
    await env.end(second, [job], QueueState.DELIVERED)
    await env.hand(second, "b@far.test")
    await env.rows(
        "UPDATE relays SET alive_until = now() - interval '1 second' WHERE id = $1", second
    )
    assert await env.queue.reap() == 1
    assert [job.recipient for job in await env.jobs(third)] == ["b@far.test"]
