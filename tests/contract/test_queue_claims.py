"""Claims beside the recipients' rows (ADR 38), and beside processes of the release before, which claim
in the rows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import asyncpg
import pytest

from posthorn.adapters.postgres.database import Database
from posthorn.adapters.postgres.queue import queue as upkeep
from posthorn.adapters.postgres.queue import suspensions
from posthorn.adapters.postgres.queue.administration import PostgresQueueAdministration
from posthorn.adapters.postgres.queue.claim import TAKE_AND_SLOT
from posthorn.adapters.postgres.queue.claimed import unclaimed
from posthorn.adapters.postgres.queue.handing import PostgresHandedClaims
from posthorn.model.outbound import QueueState
from posthorn.ports.errors import Conflict
from posthorn.ports.hand_over import Handed
from posthorn.ports.queue import ALIVE_SECONDS, Job, Outcome
from posthorn.ports.queue_administration import QueueFilter
from posthorn.runtime.ids import new_id
from tests.contract.queue_env import QueueEnv
from tests.support import queue_before
from tests.support.databases import as_part, pool
from tests.support.polling import until

ROWS = "SELECT ctid::text, xmin::text, state, attempts FROM outbound_recipients ORDER BY id"
CLAIMS = "SELECT recipient_id, holder FROM outbound_claims ORDER BY 1"


class Before:
    """A relay of the release before."""

    def __init__(self, env: QueueEnv) -> None:
        self.env = env
        self.id = new_id()

    async def start(self) -> Before:
        await self.env.rows(queue_before.ALIVE, self.id, ALIVE_SECONDS)
        return self

    async def claim(self, limit: int = 10, to: str = "far.test") -> list[int]:
        await self.env.rows(
            "INSERT INTO outbound_lanes (key) VALUES ($1) ON CONFLICT DO NOTHING", to
        )
        async with self.env.database.transaction() as connection:
            rows = await connection.fetch(
                queue_before.TAKE_AND_SLOT, self.id, to, limit, to, new_id(), 20, None, 0
            )
        return [row["id"] for row in rows if row["id"] is not None]

    async def record(self, jobs: Sequence[int], state: str) -> set[int]:
        count = len(jobs)
        columns: list[list[Any]] = [[state] * count, [0.0] * count, *([""] * count,) * 4]
        async with self.env.database.session() as connection:
            rows = await connection.fetch(
                queue_before.RECORD, self.id, list(jobs), *columns, [None] * count
            )
        return {row["id"] for row in rows}

    async def change(self, action: str) -> int:
        rows = await self.env.rows(f"{queue_before.CHANGES[action]} RETURNING id")
        return len(rows)


@pytest.fixture
async def env(database: Database, database_url: str) -> AsyncIterator[QueueEnv]:
    async with pool(as_part(database_url, "relay"), database_pool=12) as relays:
        yield QueueEnv(database, relays)


@pytest.fixture
def administration(database: Database) -> PostgresQueueAdministration:
    return PostgresQueueAdministration(database)


async def numbers(env: QueueEnv) -> list[int]:
    return [number for (number,) in await env.rows("SELECT id FROM outbound_recipients ORDER BY 1")]


class TestRows:
    async def test_only_an_outcome_changes_the_recipients_row(self, env: QueueEnv) -> None:
        relay = await env.relay()
        await env.send("a@far.test", "b@far.test", "c@far.test")
        before = await env.rows(ROWS)
        jobs = await env.jobs(relay)
        assert await env.rows(CLAIMS) == [(job.id, relay) for job in jobs]
        assert await env.rows(ROWS) == before
        a, b, c = jobs
        await env.end(relay, [a], QueueState.QUEUED)
        assert await env.rows(CLAIMS) == [(b.id, relay), (c.id, relay)]
        await env.queue.leave(relay)
        assert await env.rows(CLAIMS) == []
        assert await env.rows(ROWS) == before
        relay = await env.relay()
        a, b, c = await env.jobs(relay)
        await env.end(relay, [a], QueueState.DELIVERED)
        await env.end(relay, [b], QueueState.DEFERRED, retry_in=60)
        await env.end(relay, [c], QueueState.QUEUED, retry_in=60, reply="450 later")
        after = await env.rows(ROWS)
        assert [(state, attempts) for *_, state, attempts in after] == [
            ("delivered", 1),
            ("deferred", 1),
            ("queued", 0),
        ]
        assert {ctid for ctid, *_ in after}.isdisjoint({ctid for ctid, *_ in before})
        assert await env.rows(CLAIMS) == []
        await env.sums_hold()

    async def test_what_is_claimed_is_found_as_being_sent(
        self, env: QueueEnv, administration: PostgresQueueAdministration
    ) -> None:
        relay = await env.relay()
        await env.send("a@far.test", "b@near.test")
        (job,) = await env.jobs(relay)
        await env.rows("UPDATE outbound_recipients SET state = 'deferred' WHERE id = $1", job.id)

        async def found(state: QueueState) -> list[tuple[str, QueueState]]:
            items = await administration.items(None, QueueFilter(state=state), None, 10)
            return [(item.recipient, item.state) for item in items]

        assert await found(QueueState.SENDING) == [("a@far.test", QueueState.SENDING)]
        assert await found(QueueState.DEFERRED) == []
        assert await found(QueueState.QUEUED) == [("b@near.test", QueueState.QUEUED)]
        assert (await administration.item(None, job.id)).state is QueueState.SENDING
        for action in ("retry", "hold", "cancel"):
            with pytest.raises(Conflict, match="being sent"):
                await administration.act(None, action, job.id)
            which = QueueFilter(domain="far.test")
            assert await administration.act_on_all(None, action, which, 10) == []

    async def test_a_hold_that_waits_for_a_claim_sees_it(
        self, env: QueueEnv, administration: PostgresQueueAdministration, database_url: str
    ) -> None:
        """The claim is committed after the statement that locks the row has begun."""
        relay = await env.relay()
        await env.send("a@far.test")
        (item,) = await numbers(env)
        other = await asyncpg.connect(database_url)
        try:
            async with other.transaction():
                await other.execute("SELECT FROM outbound_recipients FOR NO KEY UPDATE")
                holding = asyncio.create_task(administration.act(None, "hold", item))

                async def waits() -> bool:
                    query = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"
                    return bool(await env.value(query))

                await until(waits)
                await other.execute("INSERT INTO outbound_claims VALUES ($1, $2)", item, relay)
            with pytest.raises(Conflict, match="being sent"):
                await holding
        finally:
            await other.close()
        assert await env.states() == [("a@far.test", "sending")]


class TestOldSnapshots:
    """Statements whose snapshot is older than a claim that they meet."""

    async def test_a_claim_takes_nothing_and_no_slot(self, env: QueueEnv) -> None:
        one, two = await env.relay(), await env.relay()
        await env.send("a@far.test")
        (job,) = await env.jobs(one)
        blind = TAKE_AND_SLOT.replace(unclaimed("r"), "true")
        assert blind != TAKE_AND_SLOT
        rows = await env.rows(blind, two, "far.test", 10, "far.test", new_id(), 20, 60, 0)
        assert [row[0] for row in rows] == [True]
        assert [row[3] for row in rows] == [None]
        assert await env.rows(CLAIMS) == [(job.id, one)]
        assert await env.rows("SELECT FROM outbound_slots") == []
        assert await env.value("SELECT full_at = '-infinity' FROM outbound_lanes")

    async def test_an_expiry_and_a_suspension_change_nothing(self, env: QueueEnv) -> None:
        relay = await env.relay()
        await env.send("a@far.test")
        (job,) = await env.jobs(relay)
        await env.ages(1001)
        before = await env.rows(ROWS)
        assert await env.rows(upkeep._SWEEP, True, [job.id]) == []
        await env.rows(suspensions._PUT_ASIDE, [job.id], ["owner"], "suspended")
        assert await env.rows(ROWS) == before
        assert (await env.queue.sweep_overdue(True, 10)).count == 0
        await env.end(relay, [job], QueueState.QUEUED)
        assert (await env.queue.sweep_overdue(True, 10)).count == 1


class TestReleaseBefore:
    async def test_both_take_turns_and_nothing_is_taken_twice(self, env: QueueEnv) -> None:
        before, now = await Before(env).start(), await env.relay()
        await env.send(*(f"r{number}@far.test" for number in range(30)))
        theirs: list[int] = []
        ours: list[Job] = []

        async def claim_before() -> None:
            theirs.extend(await before.claim(5))

        async def claim_now() -> None:
            ours.extend(await env.jobs(now, limit=5))

        await asyncio.gather(*(claim_before() for _ in range(3)), *(claim_now() for _ in range(3)))
        taken = [*theirs, *(job.id for job in ours)]
        assert len(taken) == len(set(taken)) > 0
        assert await env.rows(CLAIMS) == [], "as the release before can see it"
        theirs.extend(await before.claim(100))
        assert await before.record(theirs, "delivered") == set(theirs)
        assert await env.end(now, ours, QueueState.DELIVERED) == {job.id for job in ours}
        assert {state for _, state in await env.states()} == {"delivered"}

    async def test_claims_are_apart_again_once_it_is_gone(self, env: QueueEnv) -> None:
        before, now = await Before(env).start(), await env.relay()
        await env.send("a@far.test", "b@far.test", "c@far.test")
        assert len(await before.claim(1)) == 1
        (job,) = await env.jobs(now, limit=1)
        assert await env.rows(CLAIMS) == []
        assert [state for _, state in await env.states()] == ["sending", "sending", "queued"]
        await env.dies(before.id)
        assert await env.queue.reap() == 1
        assert [state for _, state in await env.states()] == ["queued", "sending", "queued"]
        found = await env.jobs(now)
        assert await env.rows(CLAIMS) == [(each.id, now) for each in found]
        assert len(found) == 2
        assert await env.end(now, [job, *found], QueueState.DELIVERED) == set(await numbers(env))
        await env.sums_hold()

    async def test_it_leaves_alone_what_was_claimed_before_it_came(self, env: QueueEnv) -> None:
        """As after a rollback: its statements do not know of ``outbound_claims``."""
        now = await env.relay()
        await env.send("a@far.test", "b@far.test")
        jobs = await env.jobs(now)
        before = await Before(env).start()
        assert await before.claim() == []
        assert [await before.change(action) for action in ("hold", "cancel")] == [0, 0]
        await env.ages(1001)
        assert await env.rows(queue_before.SWEEP, True, 10) == []
        assert [state for _, state in await env.states()] == ["sending", "sending"]
        a, b = jobs
        assert await env.end(now, [a], QueueState.DELIVERED) == {a.id}
        await env.end(now, [b], QueueState.QUEUED)
        assert await before.claim() == [b.id]
        assert await before.record([b.id], "delivered") == {b.id}

    async def test_it_takes_over_from_a_relay_that_has_died(self, env: QueueEnv) -> None:
        now = await env.relay()
        await env.send("a@far.test")
        (job,) = await env.jobs(now)
        before = await Before(env).start()
        # its reaping, which finds nothing in the rows
        await env.rows("UPDATE relays SET buried_at = now() WHERE id = $1", now)
        assert await before.claim() == [job.id]
        assert await env.end(now, [job], QueueState.DEFERRED, retry_in=60) == set()
        assert await env.rows(CLAIMS) == []
        assert await before.record([job.id], "delivered") == {job.id}

    async def test_a_hand_over_by_its_delivery_is_a_claim(self, env: QueueEnv) -> None:
        now, slot = await env.relay(), new_id()
        message = await env.send("a@far.test")
        await env.rows("INSERT INTO outbound_lanes (key) VALUES ('far.test')")
        rows = await env.rows(
            queue_before.TAKE_AND_SLOT, now, "far.test", 5, "far.test", slot, 20, None, 100
        )
        (number,) = await numbers(env)
        assert number in rows[0]
        handed = Handed(now, "far.test", slot, [number], message)
        _, (job,) = await PostgresHandedClaims(env.database).claimed(handed)
        assert job.id == number
        assert await env.jobs(await env.relay()) == []
        outcome = Outcome(job.id, QueueState.BOUNCED, suppress="550 unknown")
        assert await env.queue.record(now, [outcome]) == {number}
        assert await env.states() == [("a@far.test", "bounced")]

    @pytest.mark.parametrize("release", ["leave", "reap"])
    async def test_claims_of_both_kinds_are_released(self, env: QueueEnv, release: str) -> None:
        now = await env.relay()
        await env.send("a@far.test", "b@far.test")
        await env.jobs(now, limit=1)
        await Before(env).start()
        await env.jobs(now)
        assert len(await env.rows(CLAIMS)) == 1
        assert [state for _, state in await env.states()] == ["sending", "sending"]
        if release == "leave":
            await env.queue.leave(now)
        else:
            await env.dies(now)
            assert await env.queue.reap() == 2
        assert [state for _, state in await env.states()] == ["queued", "queued"]
        assert await env.due_names() == ["far.test"]
