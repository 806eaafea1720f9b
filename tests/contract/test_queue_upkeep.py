"""The port Queue on PostgreSQL: lives of relays, expiry, notices, and what is forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from posthorn.adapters.postgres.database import Database
from posthorn.adapters.postgres.queue.queue import COUNTED, PostgresQueue
from posthorn.adapters.postgres.schema import DEFAULT_TENANT
from posthorn.model.outbound import Notify, QueueState, RecipientDsn
from posthorn.ports.queue import Job, Outcome
from posthorn.runtime.ids import new_id
from posthorn.wire.message.dsn import Action
from tests.contract.queue_env import QueueEnv
from tests.support.databases import as_part, pool
from tests.support.polling import BUSY_SECONDS


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with pool(database_url, database_pool=12) as opened:
        yield opened


@pytest.fixture
async def env(database: Database, database_url: str) -> AsyncIterator[QueueEnv]:
    async with pool(as_part(database_url, "relay"), database_pool=12) as relays:
        yield QueueEnv(database, relays)


class TestRelays:
    async def test_what_a_dead_relay_had_at_hand_is_for_others(self, env: QueueEnv) -> None:
        one, two = await env.relay(), await env.relay()
        await env.send("a@far.test", "b@far.test")
        claim = await env.claim(one)
        (job,) = claim.jobs[:1]
        await env.end(one, [job], QueueState.DEFERRED)
        await env.jobs(one)
        assert await env.jobs(two) == []
        assert await env.queue.reap() == 0  # it lives
        await env.dies(one)
        assert await env.queue.reap() == 2
        assert await env.states() == [("a@far.test", "deferred"), ("b@far.test", "queued")]
        assert await env.value("SELECT count(*) FROM outbound_slots") == 0
        assert await env.due_names() == ["far.test"]
        assert sorted(found.attempts for found in await env.jobs(two)) == [0, 1]
        assert await env.queue.reap() == 0

    async def test_a_relay_that_was_buried_never_lives_again(self, env: QueueEnv) -> None:
        relay = await env.relay()
        await env.dies(relay)
        # silent for long, but nobody has taken anything from it
        assert await env.queue.heartbeat(relay)
        await env.dies(relay)
        await env.queue.reap()
        assert not await env.queue.heartbeat(relay)
        assert await env.queue.heartbeat(new_id())

    async def test_a_relay_that_leaves_gives_everything_back(self, env: QueueEnv) -> None:
        one, two = await env.relay(), await env.relay()
        await env.send("a@far.test", "b@near.test")
        await env.claim(one)
        await env.claim(two, "near.test")
        await env.queue.leave(one)
        assert await env.states() == [("a@far.test", "queued"), ("b@near.test", "sending")]
        assert await env.rows("SELECT relay FROM outbound_slots") == [(two,)]
        assert await env.due_names() == ["far.test", "near.test"] or await env.due_names() == [
            "near.test",
            "far.test",
        ]
        assert not await env.queue.heartbeat(one)

    async def test_what_is_held_by_a_relay_nobody_knows_is_queued_again(
        self, env: QueueEnv
    ) -> None:
        relay = await env.relay()
        await env.send("a@far.test")
        await env.claim(relay)
        await env.rows("DELETE FROM relays")
        assert await env.queue.reap() == 1
        assert await env.states() == [("a@far.test", "queued")]
        assert await env.value("SELECT count(*) FROM outbound_slots") == 0

    async def test_burials_and_outcomes_at_once_agree_on_each_recipient(
        self, env: QueueEnv
    ) -> None:
        one = await env.relay()
        await env.send(*(f"r{number}@far.test" for number in range(60)))
        jobs = await env.jobs(one)
        await env.dies(one)
        parts = [jobs[start : start + 6] for start in range(0, 60, 6)]
        delivered: set[int] = set()

        async def record(part: list[Job]) -> None:
            delivered.update(await env.end(one, part, QueueState.DELIVERED))

        await asyncio.gather(*(record(part) for part in parts), env.queue.reap(), env.queue.reap())
        query = "SELECT id FROM outbound_recipients WHERE state = $1"
        assert {number for (number,) in await env.rows(query, "delivered")} == delivered
        assert len(await env.rows(query, "queued")) == 60 - len(delivered)
        await env.sums_hold()


class TestSweep:
    async def test_what_has_expired_ends_and_its_sender_is_told(self, env: QueueEnv) -> None:
        await env.send("a@far.test")
        assert (await env.queue.sweep_overdue(True, 10)).count == 0
        await env.ages(1001)
        assert (await env.queue.sweep_overdue(True, 10)).count == 1
        columns = "state, last_status, notice, closed_at, last_reply <> ''"
        assert await env.rows(f"SELECT {columns} FROM outbound_recipients") == [
            ("bounced", "4.4.7", "failed", None, True)
        ]
        await env.sums_hold()
        assert (await env.queue.sweep_overdue(True, 10)).count == 0

    async def test_the_last_that_was_heard_is_kept_when_it_expires(self, env: QueueEnv) -> None:
        relay = await env.relay()
        await env.send("a@far.test")
        await env.end(
            relay,
            await env.jobs(relay),
            QueueState.DEFERRED,
            host="mx",
            reply="450 busy",
            status="4.2.0",
        )
        await env.ages(1001)
        (expired,) = (await env.queue.sweep_overdue(True, 10)).expired
        assert (expired.recipient, expired.original, expired.host, expired.reply) == (
            "a@far.test",
            "",
            "mx",
            "450 busy",
        )
        assert await env.rows(
            "SELECT last_host, last_reply, last_status FROM outbound_recipients"
        ) == [("mx", "450 busy", "4.4.7")]

    @pytest.mark.parametrize(
        ("sender", "notify"),
        [("", Notify.UNSAID), ("s@x.test", Notify.NEVER), ("s@x.test", Notify.DELAY)],
    )
    async def test_who_is_not_to_be_told_of_the_end_is_not(
        self, env: QueueEnv, sender: str, notify: Notify
    ) -> None:
        await env.send("a@far.test", sender=sender, dsn=RecipientDsn(notify))
        await env.ages(1001)
        assert (await env.queue.sweep_overdue(True, 10)).count == 1
        assert await env.rows(
            "SELECT state, notice, closed_at <= now() FROM outbound_recipients"
        ) == [("bounced", None, True)]
        assert await env.value("SELECT refs FROM messages") == 0
        await env.sums_hold()

    async def test_a_long_wait_is_told_once(self, env: QueueEnv) -> None:
        await env.send("a@far.test")
        await env.ages(101)
        assert (await env.queue.sweep_overdue(True, 10)).count == 1
        assert await env.rows("SELECT state, notice FROM outbound_recipients") == [
            ("queued", "delayed")
        ]
        assert (await env.queue.sweep_overdue(True, 10)).count == 0
        (report,) = await env.queue.pending_dsns(10)
        await env.queue.dsns_sent([each.id for each in report.recipients])
        assert (await env.queue.sweep_overdue(True, 10)).count == 0
        assert await env.rows("SELECT state, notice, closed_at FROM outbound_recipients") == [
            ("queued", None, None)
        ]
        assert await env.value("SELECT overdue_at = expires_at FROM outbound_recipients")

    @pytest.mark.parametrize(
        ("sender", "notify"),
        [("", Notify.UNSAID), ("s@x.test", Notify.FAILURE), ("s@x.test", Notify.NEVER)],
    )
    async def test_who_is_not_to_be_told_of_a_wait_is_not(
        self, env: QueueEnv, sender: str, notify: Notify
    ) -> None:
        await env.send("a@far.test", sender=sender, dsn=RecipientDsn(notify))
        await env.rows("UPDATE outbound_recipients SET overdue_at = now() - interval '1 second'")
        assert (await env.queue.sweep_overdue(True, 10)).count == 0
        assert await env.value("SELECT notice FROM outbound_recipients") is None

    async def test_without_delay_notices_nobody_is_told_of_a_wait(self, env: QueueEnv) -> None:
        await env.send("a@far.test")
        await env.ages(101)
        assert (await env.queue.sweep_overdue(False, 10)).count == 0
        assert await env.value("SELECT notice FROM outbound_recipients") is None

    async def test_the_end_waits_until_the_delay_has_been_told(self, env: QueueEnv) -> None:
        await env.send("a@far.test")
        await env.ages(101)
        await env.queue.sweep_overdue(True, 10)
        await env.ages(1000)
        assert (await env.queue.sweep_overdue(True, 10)).count == 0
        assert await env.states() == [("a@far.test", "queued")]
        (report,) = await env.queue.pending_dsns(10)
        assert [each.notice for each in report.recipients] == [Action.DELAYED]
        await env.queue.dsns_sent([report.recipients[0].id])
        await env.ages(61)
        assert (await env.queue.sweep_overdue(True, 10)).count == 1
        assert await env.rows("SELECT state, notice FROM outbound_recipients") == [
            ("bounced", "failed")
        ]

    async def test_what_is_being_sent_or_held_does_not_expire(self, env: QueueEnv) -> None:
        relay = await env.relay()
        await env.send("a@far.test", "b@far.test")
        await env.jobs(relay, limit=1)
        await env.rows("UPDATE outbound_recipients SET state = 'held' WHERE state = 'queued'")
        await env.ages(1001)
        assert (await env.queue.sweep_overdue(True, 10)).count == 0

    async def test_a_sweep_takes_no_more_than_it_is_told(self, env: QueueEnv) -> None:
        await env.send(*(f"r{number}@far.test" for number in range(5)))
        await env.ages(1001)
        assert [(await env.queue.sweep_overdue(True, 3)).count for _ in range(3)] == [3, 2, 0]


class TestNotices:
    async def test_a_report_says_all_that_the_notice_needs(self, env: QueueEnv) -> None:
        relay = await env.relay()
        dsn = RecipientDsn(Notify.FAILURE, "rfc822;a@x.test")
        number = await env.send(
            "a@far.test",
            "b@far.test",
            "c@far.test",
            dsn=dsn,
            ret="FULL",
            envid="e",
            smtputf8=True,
            role="submission",
        )
        await env.rows(
            "UPDATE outbound_recipients SET original = 'list@example.test' WHERE recipient = 'a@far.test'"
        )
        a, b, _ = await env.jobs(relay)
        told = {"host": "mx", "reply": "550 5.1.1 no", "status": "5.1.1"}
        await env.end(relay, [a, b], QueueState.BOUNCED, notice=Action.FAILED, **told)
        (report,) = await env.queue.pending_dsns(10)
        assert (report.message, report.sender, report.ret, report.envid) == (
            number,
            "sender@example.test",
            "FULL",
            "e",
        )
        assert (report.smtputf8, report.tenant, report.location.length) == (
            True,
            DEFAULT_TENANT,
            1000,
        )
        assert report.location.key == await env.value("SELECT key FROM segments")
        first, second = report.recipients
        assert (first.id, first.recipient, first.original, first.orcpt) == (
            a.id,
            "a@far.test",
            "list@example.test",
            dsn.orcpt,
        )
        assert (first.notice, first.attempts, first.last_host) == (Action.FAILED, 1, "mx")
        assert (first.last_reply, first.last_status, first.expires_at) == (
            "550 5.1.1 no",
            "5.1.1",
            a.expires_at,
        )
        assert (second.recipient, second.last_attempt_at is None) == ("b@far.test", False)

    async def test_what_has_been_told_is_closed_and_the_octets_go(self, env: QueueEnv) -> None:
        relay = await env.relay()
        await env.send("a@far.test", "b@far.test")
        a, b = await env.jobs(relay)
        await env.end(relay, [a], QueueState.BOUNCED, notice=Action.FAILED)
        await env.end(relay, [b], QueueState.DELIVERED, notice=Action.RELAYED)
        (report,) = await env.queue.pending_dsns(10)
        assert [each.notice for each in report.recipients] == [Action.FAILED, Action.RELAYED]
        await env.queue.dsns_sent([a.id])
        await env.sums_hold()
        assert await env.value("SELECT refs FROM messages") == 1
        await env.queue.dsns_sent([a.id, b.id])
        assert await env.value("SELECT refs FROM messages") == 0
        assert await env.queue.pending_dsns(10) == []
        await env.sums_hold()

    async def test_the_oldest_messages_come_first(self, env: QueueEnv) -> None:
        relay = await env.relay()
        sent = [await env.send("a@far.test", "b@far.test") for _ in range(3)]
        await env.end(relay, await env.jobs(relay), QueueState.BOUNCED, notice=Action.FAILED)
        reports = await env.queue.pending_dsns(2)
        assert [report.message for report in reports] == sorted(sent)[:2]
        assert [len(report.recipients) for report in reports] == [2, 2]

    async def test_two_reporters_never_tell_of_the_same_message(
        self, env: QueueEnv, database: Database
    ) -> None:
        relay, other = await env.relay(), PostgresQueue(database)
        await env.send("a@far.test", "b@far.test")
        a, b = await env.jobs(relay)
        await env.end(relay, [a], QueueState.BOUNCED, notice=Action.FAILED)
        assert [len(report.recipients) for report in await env.queue.pending_dsns(10)] == [1]
        await env.end(relay, [b], QueueState.BOUNCED, notice=Action.FAILED)
        assert await other.pending_dsns(10) == []
        assert [len(report.recipients) for report in await env.queue.pending_dsns(10)] == [
            2
        ]  # its own it may ask again
        await env.queue.dsns_sent([a.id])
        (report,) = await other.pending_dsns(10)
        assert [each.id for each in report.recipients] == [b.id]

    async def test_another_takes_over_from_a_reporter_that_died(
        self, env: QueueEnv, database: Database
    ) -> None:
        relay, other = await env.relay(), PostgresQueue(database)
        await env.send("a@far.test")
        await env.end(relay, await env.jobs(relay), QueueState.BOUNCED, notice=Action.FAILED)
        await env.queue.pending_dsns(10)
        await env.rows("UPDATE outbound_messages SET reporting_until = now() - interval '1 second'")
        assert len(await other.pending_dsns(10)) == 1

    async def test_a_failure_that_overtakes_its_delay_notice_is_told_as_well(
        self, env: QueueEnv
    ) -> None:
        relay = await env.relay()
        await env.send("a@far.test")
        await env.ages(101)
        await env.rows("UPDATE outbound_destinations SET due_at = now()")
        await env.queue.sweep_overdue(True, 10)
        (report,) = await env.queue.pending_dsns(10)
        await env.end(relay, await env.jobs(relay), QueueState.BOUNCED, notice=Action.FAILED)
        await env.queue.dsns_sent([each.id for each in report.recipients])  # the delay, that is
        (report,) = await env.queue.pending_dsns(10)
        assert [each.notice for each in report.recipients] == [Action.FAILED]
        await env.queue.dsns_sent([each.id for each in report.recipients])
        assert await env.queue.pending_dsns(10) == []
        await env.sums_hold()

    async def test_a_delivery_makes_a_delay_notice_moot(self, env: QueueEnv) -> None:
        relay = await env.relay()
        await env.send("a@far.test")
        await env.ages(101)
        await env.queue.sweep_overdue(True, 10)
        jobs = await env.jobs(relay)
        await env.end(relay, jobs, QueueState.DEFERRED)
        assert len(await env.queue.pending_dsns(10)) == 1
        await env.end(relay, await env.jobs(relay), QueueState.DELIVERED)
        assert await env.queue.pending_dsns(10) == []
        await env.queue.dsns_sent([jobs[0].id])
        await env.sums_hold()

    async def test_what_delivery_entered_as_failed_is_told(self, env: QueueEnv) -> None:
        await env.send("a@far.test")
        await env.rows("UPDATE outbound_recipients SET state = 'bounced', notice = 'failed'")
        (report,) = await env.queue.pending_dsns(10)
        await env.queue.dsns_sent([report.recipients[0].id])
        await env.queue.dsns_sent([])
        assert await env.value("SELECT refs FROM messages") == 0
        await env.sums_hold()


class TestPurge:
    async def test_what_ended_long_ago_is_forgotten_with_all_that_belonged_to_it(
        self, env: QueueEnv
    ) -> None:
        relay = await env.relay()
        await env.send("a@far.test", "b@near.test")
        await env.end(
            relay,
            [*await env.jobs(relay), *await env.jobs(relay, "near.test")],
            QueueState.DELIVERED,
        )
        for name in ("far.test", "near.test"):
            assert await env.jobs(relay, name) == []
        assert await env.queue.purge(100, 10) == 0
        await env.ages(101)
        assert await env.queue.purge(100, 1) == 1
        assert await env.value("SELECT count(*) FROM outbound_messages") == 1
        assert await env.queue.purge(100, 10) == 1
        for table in (
            "outbound_messages",
            "outbound_recipients",
            "outbound_destinations",
            "outbound_lanes",
        ):
            assert await env.value(f"SELECT count(*) FROM {table}") == 0, table

    async def test_what_is_open_or_young_stays(self, env: QueueEnv) -> None:
        relay = await env.relay()
        await env.send("a@far.test", "b@far.test")
        (a, _) = await env.jobs(relay)
        await env.end(relay, [a], QueueState.DELIVERED)
        await env.ages(101)
        assert await env.queue.purge(100, 10) == 1
        assert await env.states() == [("b@far.test", "sending")]
        assert await env.value("SELECT count(*) FROM outbound_messages") == 1
        assert await env.value("SELECT count(*) FROM outbound_destinations") == 1
        await env.sums_hold()

    async def test_a_next_hop_that_is_closed_is_not_forgotten(self, env: QueueEnv) -> None:
        relay = await env.relay()
        await env.send("a@far.test")
        await env.end(relay, await env.jobs(relay), QueueState.DELIVERED)
        await env.jobs(relay)
        await env.queue.close_next_hop("far.test", 600, "mx", "gone")
        await env.ages(101)
        await env.queue.purge(100, 10)
        assert await env.rows("SELECT key, failures FROM outbound_lanes") == [("far.test", 1)]

    async def test_purges_at_once_leave_no_message_without_recipients(self, env: QueueEnv) -> None:
        relay = await env.relay()
        for _ in range(10):
            await env.send(*(f"r{number}@far.test" for number in range(10)))
        await env.end(relay, await env.jobs(relay), QueueState.DELIVERED)
        await env.ages(101)
        async with asyncio.timeout(BUSY_SECONDS):
            counts = await asyncio.gather(*(env.queue.purge(100, 13) for _ in range(10)))
        assert sum(counts) == 100
        assert await env.value("SELECT count(*) FROM outbound_messages") == 0

    async def test_relays_buried_long_ago_are_forgotten(self, env: QueueEnv) -> None:
        old, young = await env.relay(), await env.relay()
        for relay in (old, young):
            await env.queue.leave(relay)
        await env.rows("UPDATE relays SET buried_at = now() - interval '2 days' WHERE id = $1", old)
        await env.queue.purge(100, 10)
        assert await env.rows("SELECT id FROM relays") == [(young,)]

    async def test_policies_of_mta_sts_expired_long_ago_are_forgotten(self, env: QueueEnv) -> None:
        await env.rows(
            "INSERT INTO mta_sts_policies (domain, policy_id, mode, hosts, fetched_at, expires_at)"
            " SELECT d || '.test', '1', 'enforce', '{}', now(), now() - make_interval(days => d)"
            " FROM unnest(ARRAY[29, 31]) AS d"
        )
        await env.queue.purge(100, 10)
        assert await env.rows("SELECT domain FROM mta_sts_policies") == [("29.test",)]


class TestMeasure:
    async def test_recipients_are_counted_by_state(self, env: QueueEnv) -> None:
        assert await env.queue.measure() == {
            "queued": 0,
            "deferred": 0,
            "sending": 0,
            "held": 0,
            "oldest": 0,
            "oldest_queued": 0,
            "oldest_held": 0,
        }
        relay = await env.relay()
        await env.send("a@far.test", "b@far.test", "c@far.test", "d@far.test", "e@far.test")
        a, b, _ = await env.jobs(relay, limit=3)
        await env.queue.record(
            relay,
            [Outcome(a.id, QueueState.DELIVERED), Outcome(b.id, QueueState.DEFERRED, retry_in=60)],
        )
        await env.rows(
            "UPDATE outbound_recipients SET state = 'held' WHERE recipient = 'e@far.test'"
        )
        await env.ages(300)
        measured = await env.queue.measure()
        for which in ("oldest", "oldest_queued", "oldest_held"):
            assert 300 <= measured.pop(which) < 300 + BUSY_SECONDS
        assert measured == {"queued": 1, "deferred": 1, "sending": 1, "held": 1}

    async def test_many_are_estimated(self, env: QueueEnv) -> None:
        await env.send("a@far.test")
        await env.rows(
            "INSERT INTO outbound_recipients (message_id, destination, recipient, address, sender, reverse_path, original, orcpt,"
            " notify, state, due_at, overdue_at, expires_at)"
            " SELECT message_id, destination, recipient, address, sender, reverse_path, original, orcpt, notify, 'deferred',"
            " due_at, overdue_at, expires_at FROM outbound_recipients, generate_series(1, $1)",
            3 * COUNTED,
        )
        assert (await env.queue.measure())["deferred"] >= COUNTED
        await env.rows("ANALYZE outbound_recipients")
        measured = await env.queue.measure()
        assert measured["queued"] == 1
        assert measured["deferred"] == pytest.approx(3 * COUNTED, rel=0.05)
