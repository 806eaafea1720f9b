"""The port Queue on PostgreSQL: claims, slots, next hops, rates and outcomes."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from posthorn.adapters.postgres.database import Database
from posthorn.adapters.postgres.queue.routes import PostgresRoutes
from posthorn.adapters.postgres.schema import DEFAULT_TENANT
from posthorn.model.outbound import Notify, QueueState, RecipientDsn
from posthorn.ports.errors import Unavailable
from posthorn.ports.queue import Due, Outcome, Route
from posthorn.runtime.ids import new_id
from posthorn.wire.message.dsn import Action
from tests.contract.queue_env import QueueEnv
from tests.support.databases import as_part, pool, until_waiting
from tests.support.polling import BUSY_SECONDS


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with pool(database_url, database_pool=24) as opened:
        yield opened


@pytest.fixture
async def env(database: Database, database_url: str) -> AsyncIterator[QueueEnv]:
    async with pool(as_part(database_url, "relay"), database_pool=24) as relays:
        yield QueueEnv(database, relays)


class TestDue:
    async def test_destinations_come_the_longest_waiting_first_with_their_routes(
        self, env: QueueEnv, database: Database
    ) -> None:
        routed = Route("near.test", "smart.test", 2525)
        await PostgresRoutes(database).put(routed)
        for name in ("far.test", "near.test", "later.test"):
            await env.send(f"a@{name}")
        await env.rows(
            "UPDATE outbound_destinations SET due_at = now() + interval '1 hour' WHERE name = 'later.test'"
        )
        assert list(await env.queue.due(10)) == [Due("far.test", None), Due("near.test", routed)]
        assert await env.due_names(limit=1) == ["far.test"]

    async def test_the_route_for_all_others_serves_those_without_their_own(
        self, env: QueueEnv, database: Database
    ) -> None:
        own, rest = Route("near.test", connections=3), Route("*", "smart.test")
        await PostgresRoutes(database).put(own)
        await PostgresRoutes(database).put(rest)
        await env.send("a@near.test", "a@far.test")
        found = {due.destination: due for due in await env.queue.due(10)}
        assert found == {"near.test": Due("near.test", own), "far.test": Due("far.test", rest)}
        assert found["far.test"].next_hop == "[smart.test]:25"
        assert found["near.test"].next_hop == "near.test"

    @pytest.mark.parametrize(
        "route",
        [
            None,
            Route("far.test", "smart.test"),
            Route("far.test", "smart.test", tls="implicit"),
            Route("far.test", "192.0.2.1", 2525),
            Route("*", "smart.test"),
            Route("*", connections=2),
        ],
    )
    async def test_a_closed_next_hop_hides_its_destinations_until_it_is_opened(
        self, env: QueueEnv, database: Database, route: Route | None
    ) -> None:
        if route:
            await PostgresRoutes(database).put(route)
        await env.send("a@far.test")
        next_hop = Due("far.test", route).next_hop
        await env.queue.close_next_hop("other.test", 60, "", "")
        assert await env.due_names() == ["far.test"]
        assert await env.queue.close_next_hop(next_hop, 60, "mx.far.test", "no answer") == 1
        assert await env.due_names() == []
        await env.queue.open_next_hop(next_hop)
        assert await env.due_names() == ["far.test"]

    async def test_a_next_hop_with_many_destinations_does_not_hide_the_others(
        self, env: QueueEnv, database: Database
    ) -> None:
        await PostgresRoutes(database).put(Route("*", "smart.test"))
        await PostgresRoutes(database).put(Route("own.test"))
        await env.send(*(f"a@d{number}.test" for number in range(30)))
        await env.send("a@own.test")
        assert "own.test" in await env.due_names(limit=5)

    async def test_a_destination_that_was_claimed_from_goes_to_the_end_of_the_line(
        self, env: QueueEnv
    ) -> None:
        relay = await env.relay()
        await env.send("a@busy.test", "b@busy.test", "a@idle.test")
        await env.rows(
            "UPDATE outbound_destinations SET due_at = now() - interval '1 hour' WHERE name = 'busy.test'"
        )
        assert await env.due_names() == ["busy.test", "idle.test"]
        assert len(await env.jobs(relay, "busy.test", limit=1)) == 1
        assert await env.due_names() == ["idle.test", "busy.test"]

    async def test_a_next_hop_that_is_closed_by_several_at_once_has_failed_once(
        self, env: QueueEnv
    ) -> None:
        counts = await asyncio.gather(
            *(env.queue.close_next_hop("far.test", 60, "mx", "gone") for _ in range(8))
        )
        assert counts == [1] * 8
        await env.rows("UPDATE outbound_lanes SET closed_until = now() - interval '1 second'")
        assert await env.queue.close_next_hop("far.test", 60, "mx", "gone\0") == 2
        await env.queue.open_next_hop("far.test")
        assert await env.queue.close_next_hop("far.test", 60, "mx", "gone") == 1


class TestClaim:
    async def test_a_job_says_all_that_is_needed(self, env: QueueEnv) -> None:
        relay = await env.relay()
        dsn = RecipientDsn(Notify.SUCCESS, "rfc822;b@x.test")
        number = await env.send(
            "Bob@far.test",
            sender="Ada@example.test",
            dsn=dsn,
            ret="HDRS",
            envid="id",
            smtputf8=True,
        )
        await env.rows("UPDATE outbound_messages SET signature = 'DKIM-Signature: x'")
        (job,) = await env.jobs(relay)
        assert (job.message, job.recipient, job.reverse_path, job.sender) == (
            number,
            "Bob@far.test",
            "Ada@example.test",
            "Ada@example.test",
        )
        assert (job.orcpt, job.notify, job.attempts) == ("rfc822;b@x.test", Notify.SUCCESS, 0)
        assert (job.ret, job.envid, job.smtputf8) == ("HDRS", "id", True)
        assert (job.signature, job.tenant, job.suppressed) == (
            "DKIM-Signature: x",
            DEFAULT_TENANT,
            False,
        )
        assert (job.expires_at - job.created_at).total_seconds() == 1000
        key = await env.value("SELECT key FROM segments")
        assert (job.location.message, job.location.key, job.location.length) == (number, key, 1000)
        assert await env.states() == [("Bob@far.test", "sending")]

    async def test_the_oldest_are_taken_first_and_those_of_a_message_together(
        self, env: QueueEnv
    ) -> None:
        relay = await env.relay()
        first = await env.send("a@far.test", "b@far.test")
        second = await env.send("c@far.test", "d@far.test")
        assert [job.message for job in await env.jobs(relay, limit=3)] == [first, first, second]
        assert [job.recipient for job in await env.jobs(relay, limit=3)] == ["d@far.test"]

    async def test_kind_50_the_recipients_of_a_message_are_kept_together(
        self, env: QueueEnv
    ) -> None:
        relay = await env.relay()
        await env.send(*(f"r{number}@far.test" for number in range(8)), "x@near.test")
        second = await env.send("c@far.test", "d@far.test")
        due = Due("far.test", None)
        claim = await env.queue.claim(relay, due, None, 5, None, 2, 6)
        assert [job.recipient for job in claim.jobs] == [
            f"r{number}@far.test" for number in range(6)
        ]
        claim = await env.queue.claim(relay, due, claim.slot, 5, None, 3, 100)
        assert [job.recipient for job in claim.jobs] == [
            "r6@far.test",
            "r7@far.test",
            "c@far.test",
            "d@far.test",
        ]
        assert claim.jobs[-1].message == second

    async def test_what_is_not_due_held_or_elsewhere_is_left(self, env: QueueEnv) -> None:
        relay = await env.relay()
        await env.send("a@far.test", "late@far.test", "held@far.test", "x@near.test")
        await env.rows(
            "UPDATE outbound_recipients SET due_at = now() + interval '1 hour' WHERE address LIKE 'late%'"
        )
        await env.rows("UPDATE outbound_recipients SET state = 'held' WHERE address LIKE 'held%'")
        assert [job.recipient for job in await env.jobs(relay)] == ["a@far.test"]

    async def test_a_suppressed_address_is_told_by_its_tenant(self, env: QueueEnv) -> None:
        relay = await env.relay()
        other = new_id()
        await env.rows("INSERT INTO tenants (id, name) VALUES ($1, 'other')", other)
        query = "INSERT INTO suppressions (tenant_id, address, reason, source) VALUES ($1, $2, 'r', 'api')"
        await env.rows(query, DEFAULT_TENANT, "bob@far.test")
        await env.rows(query, other, "ann@far.test")
        await env.send("BOB@far.test", "ann@far.test")
        await env.send("bob@far.test", tenant=None)
        found = [(job.recipient, job.tenant, job.suppressed) for job in await env.jobs(relay)]
        assert found == [
            ("BOB@far.test", DEFAULT_TENANT, True),
            ("ann@far.test", DEFAULT_TENANT, False),
            ("bob@far.test", None, False),
        ]

    async def test_nothing_due_gives_the_slot_back_and_the_destination_learns_when_to_look_again(
        self, env: QueueEnv
    ) -> None:
        relay = await env.relay()
        await env.send("a@far.test", "b@far.test")
        claim = await env.claim(relay)
        assert len(claim.jobs) == 2
        await env.end(relay, claim.jobs[:1], QueueState.DEFERRED, retry_in=500)
        await env.rows("UPDATE outbound_destinations SET due_at = now()")
        claim = await env.claim(relay, slot=claim.slot)
        assert (claim.slot, list(claim.jobs)) == (None, [])
        assert await env.value("SELECT count(*) FROM outbound_slots") == 0
        assert await env.due_names() == []
        query = "SELECT d.due_at = r.due_at FROM outbound_destinations d, outbound_recipients r WHERE r.state = 'deferred'"
        assert await env.value(query)

    async def test_a_destination_with_nothing_left_is_never_due(self, env: QueueEnv) -> None:
        relay = await env.relay()
        await env.send("a@far.test")
        await env.end(relay, await env.jobs(relay), QueueState.DELIVERED)
        assert await env.jobs(relay) == []
        assert await env.value("SELECT due_at = 'infinity' FROM outbound_destinations")

    async def test_twenty_that_claim_at_once_never_get_the_same_recipient(
        self, env: QueueEnv
    ) -> None:
        for _ in range(10):
            await env.send(*(f"r{number}@far.test" for number in range(40)))
        taken: Counter[int] = Counter()

        async def work() -> None:
            relay = await env.relay()
            slot: UUID | None = None
            while True:
                claim = await env.claim(relay, slot=slot, limit=7)
                slot = claim.slot
                if not claim.jobs:
                    if await env.due_names():
                        continue  # others' claims were still open
                    return
                taken.update(job.id for job in claim.jobs)
                assert await env.end(relay, claim.jobs, QueueState.DELIVERED) == {
                    job.id for job in claim.jobs
                }

        async with asyncio.timeout(60):
            await asyncio.gather(*(work() for _ in range(20)))
        assert len(taken) == 400
        assert set(taken.values()) == {1}
        assert await env.value("SELECT count(*) FROM outbound_slots") == 0
        await env.sums_hold()

    async def test_a_row_that_is_entered_while_a_claim_finds_nothing_is_not_lost(
        self, env: QueueEnv, database: Database
    ) -> None:
        relay = await env.relay()
        await env.rows("INSERT INTO outbound_destinations VALUES ('far.test', now())")
        async with database.transaction() as entering:
            await entering.execute("SELECT FROM outbound_destinations FOR UPDATE")
            claiming = asyncio.create_task(env.claim(relay))
            await until_waiting(entering)
            sending = asyncio.create_task(env.send("a@far.test"))
            await until_waiting(entering, 2)
        claim, _ = await asyncio.wait_for(asyncio.gather(claiming, sending), BUSY_SECONDS)
        assert claim.jobs or await env.due_names() == ["far.test"]

    async def test_entering_and_claiming_at_once_leaves_nothing_that_nobody_looks_for(
        self, env: QueueEnv
    ) -> None:
        relay = await env.relay()
        done = asyncio.Event()
        found: list[int] = []

        async def enter() -> None:
            for number in range(60):
                await env.send(f"r{number}@far.test")
            done.set()

        async def look() -> None:
            while True:
                last = done.is_set()
                for name in await env.due_names():
                    found.extend(job.id for job in await env.jobs(relay, name))
                if last and not await env.due_names():
                    return

        async with asyncio.timeout(60):
            await asyncio.gather(enter(), *(look() for _ in range(4)))
        assert len(found) == len(set(found)) == 60


class TestSlots:
    async def test_connections_are_limited_across_relays(self, env: QueueEnv) -> None:
        relays = [await env.relay() for _ in range(4)]
        await env.send(*(f"r{number}@far.test" for number in range(100)))
        claims = await asyncio.gather(
            *(env.claim(relay, limit=1, connections=5) for relay in relays for _ in range(5))
        )
        held = [claim for claim in claims if claim.slot]
        assert len(held) == 5
        assert all(len(claim.jobs) == 1 for claim in held)
        assert await env.value("SELECT count(*) FROM outbound_claims") == 5

    async def test_a_slot_that_is_given_back_can_be_taken_again(self, env: QueueEnv) -> None:
        one, two = await env.relay(), await env.relay()
        await env.send("a@far.test", "b@far.test", "c@far.test")
        first = await env.claim(one, limit=1, connections=1)
        assert first.slot is not None
        assert (await env.claim(two, limit=1, connections=1)).slot is None
        await env.queue.free_slot(two, first.slot)  # not its own
        assert (await env.claim(two, limit=1, connections=1)).slot is None
        await env.queue.free_slot(one, first.slot)
        assert len((await env.claim(two, limit=1, connections=1)).jobs) == 1

    async def test_destinations_of_one_smarthost_share_its_next_hop(self, env: QueueEnv) -> None:
        relay, route = await env.relay(), Route("*", "smart.test")
        await env.send("a@far.test", "b@near.test")
        first = await env.queue.claim(relay, Due("far.test", route), None, 1, None, 10)
        assert first.slot
        assert (
            await env.queue.claim(relay, Due("near.test", route), None, 1, None, 10)
        ).slot is None
        assert (
            len(
                (
                    await env.queue.claim(relay, Due("near.test", route), first.slot, 1, None, 10)
                ).jobs
            )
            == 1
        )

    async def test_the_slots_of_a_dead_relay_do_not_count(self, env: QueueEnv) -> None:
        one, two = await env.relay(), await env.relay()
        await env.send("a@far.test", "b@far.test")
        assert (await env.claim(one, limit=1, connections=1)).slot
        await env.dies(one)
        assert (await env.claim(two, limit=1, connections=1)).slot

    async def test_a_slot_that_was_lost_gives_nothing(self, env: QueueEnv) -> None:
        relay = await env.relay()
        await env.send("a@far.test")
        claim = await env.claim(relay, slot=new_id())
        assert (claim.slot, list(claim.jobs)) == (None, [])
        assert await env.due_names() == ["far.test"]

    async def test_nobody_who_does_not_live_gets_anything(self, env: QueueEnv) -> None:
        await env.send("a@far.test")
        assert (await env.claim(new_id())).slot is None
        relay = await env.relay()
        await env.queue.leave(relay)
        assert (await env.claim(relay)).slot is None

    async def test_a_closed_next_hop_gives_nothing_even_to_who_holds_a_slot(
        self, env: QueueEnv
    ) -> None:
        relay = await env.relay()
        await env.send("a@far.test", "b@far.test")
        claim = await env.claim(relay, limit=1)
        await env.queue.close_next_hop("far.test", 60, "mx", "gone")
        for slot in (claim.slot, None):
            again = await env.claim(relay, slot=slot)
            assert (again.slot, list(again.jobs)) == (None, [])
        assert await env.value("SELECT count(*) FROM outbound_slots") == 0

    async def test_a_next_hop_that_failed_is_tried_by_one_recipient_until_it_is_opened(
        self, env: QueueEnv
    ) -> None:
        one, two = await env.relay(), await env.relay()
        await env.send("a@far.test", "b@far.test", "c@far.test", "d@far.test")
        await env.queue.close_next_hop("far.test", 0, "mx", "gone")
        claim = await env.claim(one)
        assert len(claim.jobs) == 1
        assert (await env.claim(two)).slot is None
        await env.queue.open_next_hop("far.test")
        assert len((await env.claim(two, limit=2)).jobs) == 2


class TestRate:
    async def test_a_next_hop_gets_so_many_messages_a_minute(self, env: QueueEnv) -> None:
        one, two = await env.relay(), await env.relay()
        for number in range(8):
            await env.send(f"a{number}@far.test", f"b{number}@far.test")
        due = Due("far.test", None)
        first = await env.queue.claim(one, due, None, 5, 18, 5)
        # two messages and a part of the third: all that a bucket of ten seconds holds
        assert len(first.jobs) == 5
        # a minute more than it takes, that a busy machine does not give room in the meantime
        await env.rows("UPDATE outbound_lanes SET full_at = full_at + interval '1 minute'")
        second = await env.queue.claim(two, due, None, 5, 18, 5)
        assert (second.slot, list(second.jobs)) == (None, [])
        assert await env.due_names() == []  # looked at again when there is room
        assert await env.value(
            "SELECT due_at - now() BETWEEN interval '31 s' AND interval '64 s' FROM outbound_destinations"
        )
        await env.rows("UPDATE outbound_lanes SET full_at = now() + interval '6.5 seconds'")
        third = await env.queue.claim(one, due, first.slot, 5, 18, 5)
        assert len(third.jobs) == 1  # the other recipient of the third message
        await env.rows("UPDATE outbound_lanes SET full_at = full_at + interval '1 minute'")
        assert (await env.queue.claim(one, due, third.slot, 5, 18, 5)).slot is None
        assert await env.value("SELECT count(*) FROM outbound_slots") == 0

    async def test_claims_at_once_do_not_exceed_the_rate(self, env: QueueEnv) -> None:
        relay = await env.relay()
        for number in range(40):
            await env.send(f"a{number}@far.test")
        due, began = Due("far.test", None), time.monotonic()
        claims = await asyncio.gather(
            *(env.queue.claim(relay, due, None, 50, 60, 3) for _ in range(16))
        )
        since = int(time.monotonic() - began)  # one more a second
        assert 10 <= sum(len(claim.jobs) for claim in claims) <= 10 + since

    async def test_one_message_goes_through_however_low_the_rate(self, env: QueueEnv) -> None:
        relay = await env.relay()
        await env.send("a@far.test")
        assert len((await env.queue.claim(relay, Due("far.test", None), None, 5, 1, 5)).jobs) == 1


class TestRecord:
    async def test_the_last_recipient_lets_go_of_the_octets(self, env: QueueEnv) -> None:
        relay = await env.relay()
        (account,) = await env.accounts(1)
        await env.send("a@far.test", "b@far.test")
        await env.send("c@far.test", accounts=[account])
        a, b, c = await env.jobs(relay)
        assert await env.end(
            relay, [a, c], QueueState.DELIVERED, host="mx", reply="250 ok", status="2.0.0"
        ) == {
            a.id,
            c.id,
        }
        assert await env.rows("SELECT refs FROM messages ORDER BY id") == [(1,), (1,)]
        await env.sums_hold()
        await env.end(relay, [b], QueueState.BOUNCED, reply="550 no")
        assert await env.rows("SELECT refs FROM messages ORDER BY id") == [(0,), (1,)]
        assert sorted(await env.rows("SELECT live_octets FROM segments")) == [(0,), (1000,)]
        await env.sums_hold()

    async def test_an_outcome_is_kept_with_its_circumstances(self, env: QueueEnv) -> None:
        relay = await env.relay()
        await env.send("a@far.test")
        jobs = await env.jobs(relay)
        told = {"host": "mx\0", "reply": "250 2.0.0 ok", "status": "2.0.0", "tls": "TLSv1.3"}
        await env.end(relay, jobs, QueueState.DELIVERED, **told)
        columns = "state, attempts, holder, last_host, last_reply, last_status, last_tls"
        columns += ", last_attempt_at <= now(), closed_at <= now()"
        expected = ("delivered", 1, None, "mx", "250 2.0.0 ok", "2.0.0", "TLSv1.3", True, True)
        assert await env.rows(f"SELECT {columns} FROM outbound_recipients") == [expected]

    async def test_a_deferred_recipient_is_due_again_later_and_its_destination_knows(
        self, env: QueueEnv
    ) -> None:
        relay = await env.relay()
        await env.send("a@far.test", "b@far.test")
        a, b = await env.jobs(relay)
        assert await env.jobs(relay) == []  # the destination says infinity now
        outcomes = [
            Outcome(a.id, QueueState.DEFERRED, retry_in=600, reply="450 busy"),
            Outcome(b.id, QueueState.DEFERRED, retry_in=1800, reply="451 other"),
        ]
        assert await env.queue.record(relay, outcomes) == {a.id, b.id}
        query = "SELECT round(extract(epoch FROM due_at - now()) / 60) FROM"
        assert await env.value(f"{query} outbound_destinations") == 10
        assert [
            int(due) for (due,) in await env.rows(f"{query} outbound_recipients ORDER BY id")
        ] == [10, 30]
        assert await env.due_names() == []
        await env.ages(660)
        await env.rows("UPDATE outbound_destinations SET due_at = due_at - interval '11 minutes'")
        (job,) = await env.jobs(relay)
        assert (job.recipient, job.attempts) == ("a@far.test", 1)

    async def test_recipients_of_a_message_with_one_verdict_stay_together(
        self, env: QueueEnv
    ) -> None:
        relay = await env.relay()
        await env.send("a@far.test", "b@far.test")
        jobs = await env.jobs(relay)
        pauses = [100.0, 120.0]
        await env.queue.record(
            relay,
            [
                Outcome(job.id, QueueState.DEFERRED, pause, reply="450 x")
                for job, pause in zip(jobs, pauses, strict=True)
            ],
        )
        assert await env.value("SELECT count(DISTINCT due_at) FROM outbound_recipients") == 1

    async def test_what_is_given_back_is_due_at_once_and_no_attempt_is_counted(
        self, env: QueueEnv
    ) -> None:
        relay = await env.relay()
        await env.send("a@far.test")
        jobs = await env.jobs(relay)
        assert await env.jobs(relay) == []
        await env.end(relay, jobs, QueueState.QUEUED)
        assert await env.states() == [("a@far.test", "queued")]
        assert await env.due_names() == ["far.test"]
        (job,) = await env.jobs(relay)
        assert job.attempts == 0
        await env.end(relay, [job], QueueState.DEFERRED, reply="450 busy")
        (job,) = await env.jobs(relay)
        await env.end(relay, [job], QueueState.QUEUED)
        assert await env.rows("SELECT state, attempts, last_reply FROM outbound_recipients") == [
            ("deferred", 1, "450 busy")
        ]

    async def test_what_is_given_back_for_a_while_says_why_and_no_attempt_is_counted(
        self, env: QueueEnv
    ) -> None:
        relay = await env.relay()
        await env.send("a@far.test")
        jobs = await env.jobs(relay)
        began = time.monotonic()
        await env.end(
            relay, jobs, QueueState.QUEUED, retry_in=300.0, status="4.3.0", reply="not now"
        )
        assert await env.jobs(relay) == []
        assert await env.due_names() == []
        assert await env.rows(
            "SELECT state, attempts, last_status, last_reply, last_attempt_at, due_at <= now() + interval '300 seconds',"
            " due_at > now() + make_interval(secs => $1) FROM outbound_recipients",
            290 - (time.monotonic() - began),
        ) == [("queued", 0, "4.3.0", "not now", None, True, True)]

    async def test_a_recipient_whose_sender_is_to_be_told_stays_open(self, env: QueueEnv) -> None:
        relay = await env.relay()
        await env.send("a@far.test")
        await env.end(
            relay, await env.jobs(relay), QueueState.BOUNCED, notice=Action.FAILED, reply="550 no"
        )
        assert await env.rows("SELECT state, notice, closed_at FROM outbound_recipients") == [
            ("bounced", "failed", None)
        ]
        assert await env.value("SELECT refs FROM messages") == 1
        await env.sums_hold()

    async def test_outcomes_of_what_is_no_longer_its_own_change_nothing(
        self, env: QueueEnv
    ) -> None:
        one, two = await env.relay(), await env.relay()
        await env.send("a@far.test", "b@far.test")
        jobs = await env.jobs(one)
        await env.dies(one)
        assert await env.queue.reap() == 2
        (taken, _) = await env.jobs(two)
        assert await env.end(one, jobs, QueueState.DELIVERED) == set()
        assert await env.end(two, [taken], QueueState.DELIVERED) == {taken.id}
        assert await env.end(two, [taken], QueueState.DELIVERED) == set()
        await env.sums_hold()
        assert await env.value("SELECT open FROM outbound_messages") == 1

    async def test_a_hard_bounce_suppresses_the_address_for_its_tenant(self, env: QueueEnv) -> None:
        relay = await env.relay()
        await env.send("Bob@far.test", "ann@far.test")
        await env.send("bob@far.test", tenant=None)
        await env.send("bob@far.test", tenant=new_id())  # a tenant that has been removed
        jobs = await env.jobs(relay)
        await env.end(relay, jobs[:1] + jobs[2:], QueueState.BOUNCED, suppress="550 5.1.1 gone\0")
        await env.end(relay, jobs[1:2], QueueState.BOUNCED)
        assert await env.rows(
            "SELECT tenant_id, address, reason, source, message_id FROM suppressions"
        ) == [(DEFAULT_TENANT, "bob@far.test", "550 5.1.1 gone", "bounce", jobs[0].message)]
        await env.sums_hold()

    async def test_what_is_no_outcome_is_refused(self, env: QueueEnv) -> None:
        relay = await env.relay()
        await env.send("a@far.test")
        jobs = await env.jobs(relay)
        with pytest.raises(ValueError, match="held is no outcome"):
            await env.end(relay, jobs, QueueState.HELD)
        assert await env.queue.record(relay, []) == set()

    async def test_many_that_record_at_once_keep_every_sum(self, env: QueueEnv) -> None:
        relay = await env.relay()
        names = [f"d{number}.test" for number in range(8)]
        for _ in range(12):
            await env.send(*(f"a@{name}" for name in names))

        async def work(name: str) -> None:
            jobs = await env.jobs(relay, name)
            await env.end(relay, jobs[:6], QueueState.DELIVERED)
            await env.end(relay, jobs[6:], QueueState.DEFERRED, reply="450 busy")
            await env.end(relay, await env.jobs(relay, name), QueueState.BOUNCED)

        async with asyncio.timeout(30):
            await asyncio.gather(*(work(name) for name in names))
        assert await env.rows(
            "SELECT DISTINCT open, refs FROM outbound_messages o JOIN messages m ON m.id = o.message_id"
        ) == [(0, 0)]
        await env.sums_hold()


async def test_faults_of_the_store_are_unavailable() -> None:
    async with pool("postgresql://nobody@127.0.0.1:1/none") as database:
        env = QueueEnv(database)
        relay = new_id()
        calls = (
            env.queue.heartbeat(relay),
            env.queue.due(1),
            env.claim(relay),
            env.queue.record(relay, [Outcome(1, QueueState.DELIVERED)]),
            env.queue.reap(),
            env.queue.measure(),
            env.queue.probe(),
        )
        for call in calls:
            with pytest.raises(Unavailable):
                await call
