"""The port QueueAdministration on PostgreSQL: search the queue, and change what waits in it."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import pytest

from posthorn.adapters.postgres.database import Database
from posthorn.adapters.postgres.queue.administration import PostgresQueueAdministration
from posthorn.adapters.postgres.schema import DEFAULT_TENANT
from posthorn.model.outbound import QueueState
from posthorn.ports.errors import Conflict, NotFound
from posthorn.ports.queue_administration import QueueFilter
from posthorn.runtime.ids import new_id
from tests.contract.queue_env import QueueEnv


@pytest.fixture
def env(database: Database) -> QueueEnv:
    return QueueEnv(database)


@pytest.fixture
def administration(database: Database) -> PostgresQueueAdministration:
    return PostgresQueueAdministration(database)


async def number(env: QueueEnv, recipient: str) -> int:
    return int(
        await env.value("SELECT id FROM outbound_recipients WHERE recipient = $1", recipient)
    )


async def due_for(env: QueueEnv, recipient: str) -> bool:
    """Return whether it is due, and its destination knows."""
    query = "SELECT r.due_at <= now() AND d.due_at <= now() FROM outbound_recipients r JOIN outbound_destinations d"
    return bool(
        await env.value(f"{query} ON d.name = r.destination WHERE recipient = $1", recipient)
    )


async def deferred(env: QueueEnv, recipient: str) -> int:
    """Have what is due at the recipient's destination put off for long, by a relay."""
    relay, destination = await env.relay(), recipient.rpartition("@")[2]
    told: dict[str, Any] = {"host": "mx", "reply": "450 busy", "status": "4.2.0", "tls": "TLSv1.3"}
    await env.end(
        relay, await env.jobs(relay, destination), QueueState.DEFERRED, retry_in=900, **told
    )
    await env.jobs(relay, destination)
    return await number(env, recipient)


class TestSearch:
    async def test_an_item_says_all_that_is_known(
        self, env: QueueEnv, administration: PostgresQueueAdministration
    ) -> None:
        message = await env.send("Bob@far.test")
        item = await administration.item(None, await deferred(env, "Bob@far.test"))
        assert (item.message, item.state, item.sender) == (
            message,
            QueueState.DEFERRED,
            "sender@example.test",
        )
        assert (item.recipient, item.destination, item.attempts) == ("Bob@far.test", "far.test", 1)
        assert (item.last_host, item.last_status, item.last_reply) == ("mx", "4.2.0", "450 busy")
        assert (item.last_tls, item.original, item.subject, item.size) == (
            "TLSv1.3",
            "",
            "Hello",
            1000,
        )
        assert item.due_at is not None
        assert item.last_attempt_at is not None
        assert item.created_at < item.due_at < item.expires_at

    async def test_the_newest_come_first_page_by_page(
        self, env: QueueEnv, administration: PostgresQueueAdministration
    ) -> None:
        await env.send(*(f"r{number}@far.test" for number in range(5)))
        listed: list[str] = []
        before: int | None = None
        while page := await administration.items(None, QueueFilter(), before, 2):
            listed += [item.recipient for item in page]
            before = page[-1].id
        assert listed == [f"r{number}@far.test" for number in (4, 3, 2, 1, 0)]

    async def test_each_condition_narrows_the_list(
        self, env: QueueEnv, administration: PostgresQueueAdministration
    ) -> None:
        old = await env.send("old@far.test", sender="Ada@example.test")
        await env.ages(3600)
        await env.send("Odd.One@far.test", "new@near.test", sender="bob@example.test")
        await env.send("null@far.test", sender="")
        await env.rows(
            "UPDATE outbound_recipients SET state = 'held' WHERE recipient = 'new@near.test'"
        )

        async def found(**conditions: Any) -> set[str]:
            items = await administration.items(None, QueueFilter(**conditions), None, 10)
            return {item.recipient.partition("@")[0] for item in items}

        assert await found() == {"old", "Odd.One", "new", "null"}
        assert await found(domain="Far.test") == {"old", "Odd.One", "null"}
        assert await found(state=QueueState.HELD) == {"new"}
        await env.rows(
            "UPDATE outbound_recipients SET state = 'bounced' WHERE recipient = 'null@far.test'"
        )
        assert await found(waits=True) == {"old", "Odd.One", "new"}
        assert await found(sender="ada@Example.test") == {"old"}
        assert await found(sender="") == {"null"}
        assert await found(recipient="odd.one@FAR.test") == {"Odd.One"}
        assert await found(message=old) == {"old"}
        assert await found(older_than=1800) == {"old"}
        assert await found(younger_than=1800) == {"Odd.One", "new", "null"}
        assert await found(older_than=1800, younger_than=7200) == {"old"}
        assert await found(older_than=7200) == set()
        assert await found(older_than=1e12) == set()
        assert len(await found(younger_than=1e12)) == 4
        assert await found(
            domain="far.test", sender="bob@example.test", state=QueueState.QUEUED
        ) == {"Odd.One"}

    async def test_ages_are_exact_among_many(
        self, env: QueueEnv, administration: PostgresQueueAdministration
    ) -> None:
        await env.send(*(f"r{number}@far.test" for number in range(100)))
        await env.rows(
            "UPDATE outbound_recipients SET created_at = now() - make_interval(mins => 1000 - 10 * id::integer)"
        )
        for minutes in (5, 305, 995, 2000):
            query = "SELECT count(*) FROM outbound_recipients WHERE created_at <= now() - make_interval(secs => $1)"
            expected = await env.value(query, minutes * 60.0)
            items = await administration.items(
                None, QueueFilter(older_than=minutes * 60), None, 1000
            )
            assert len(items) == expected
            items = await administration.items(
                None, QueueFilter(younger_than=minutes * 60), None, 1000
            )
            assert len(items) == 100 - expected

    async def test_what_belongs_to_another_tenant_does_not_exist(
        self, env: QueueEnv, administration: PostgresQueueAdministration
    ) -> None:
        other = new_id()
        await env.send("ours@far.test")
        await env.send("theirs@far.test", tenant=other)
        await env.send("nobodys@far.test", tenant=None)

        async def seen(tenant: UUID | None) -> set[str]:
            return {
                item.recipient.partition("@")[0]
                for item in await administration.items(tenant, QueueFilter(), None, 9)
            }

        assert await seen(None) == {"ours", "theirs", "nobodys"}
        assert await seen(DEFAULT_TENANT) == {"ours"}
        assert await seen(other) == {"theirs"}
        theirs = await number(env, "theirs@far.test")
        with pytest.raises(NotFound):
            await administration.item(DEFAULT_TENANT, theirs)
        with pytest.raises(NotFound):
            await administration.act(DEFAULT_TENANT, "cancel", theirs)
        done = await administration.act_on_all(
            DEFAULT_TENANT, "cancel", QueueFilter(domain="far.test"), 10
        )
        assert [recipient for _, _, recipient, _ in done] == ["ours@far.test"]

    async def test_what_has_ended_is_shown_when_its_message_is_gone(
        self, env: QueueEnv, administration: PostgresQueueAdministration
    ) -> None:
        relay = await env.relay()
        await env.send("a@far.test")
        await env.end(relay, await env.jobs(relay), QueueState.DELIVERED)
        await env.rows("DELETE FROM messages")
        (item,) = await administration.items(None, QueueFilter(), None, 10)
        assert (item.state, item.due_at, item.subject, item.size) == (
            QueueState.DELIVERED,
            None,
            "",
            0,
        )


class TestAct:
    async def test_retry_makes_it_due_now(
        self, env: QueueEnv, administration: PostgresQueueAdministration
    ) -> None:
        await env.send("a@far.test")
        item = await deferred(env, "a@far.test")
        assert not await due_for(env, "a@far.test")
        assert (await administration.act(None, "retry", item)).state is QueueState.DEFERRED
        assert await due_for(env, "a@far.test")
        assert len(await env.jobs(await env.relay())) == 1

    async def test_what_is_held_waits_until_it_is_released(
        self, env: QueueEnv, administration: PostgresQueueAdministration
    ) -> None:
        relay = await env.relay()
        await env.send("a@far.test")
        item = await number(env, "a@far.test")
        held = await administration.act(None, "hold", item)
        assert (held.state, held.due_at) == (QueueState.HELD, None)
        assert await env.jobs(relay) == []
        released = await administration.act(None, "release", item)
        assert released.state is QueueState.QUEUED
        assert await due_for(env, "a@far.test")
        await deferred(env, "a@far.test")
        await administration.act(None, "hold", item)
        assert (await administration.act(None, "release", item)).state is QueueState.DEFERRED

    async def test_what_is_released_after_its_time_gets_one_more_chance(
        self, env: QueueEnv, administration: PostgresQueueAdministration
    ) -> None:
        await env.send("a@far.test")
        item = await number(env, "a@far.test")
        await administration.act(None, "hold", item)
        await env.ages(2000)
        await administration.act(None, "release", item)
        assert (await env.queue.sweep_overdue(True, 10)).count == 0
        assert len(await env.jobs(await env.relay())) == 1

    async def test_what_is_cancelled_lets_go_of_its_octets_without_a_notice(
        self, env: QueueEnv, administration: PostgresQueueAdministration
    ) -> None:
        await env.send("a@far.test", "b@far.test")
        await env.ages(101)
        await env.queue.sweep_overdue(True, 10)
        cancelled = await administration.act(None, "cancel", await number(env, "a@far.test"))
        assert (cancelled.state, cancelled.due_at) == (QueueState.CANCELLED, None)
        await env.sums_hold()
        assert await env.value("SELECT refs FROM messages") == 1
        await administration.act(None, "hold", await number(env, "b@far.test"))
        await administration.act(None, "cancel", await number(env, "b@far.test"))
        assert await env.rows("SELECT refs, live_octets FROM messages, segments") == [(0, 0)]
        assert await env.queue.pending_dsns(10) == []
        await env.sums_hold()

    @pytest.mark.parametrize(
        ("state", "allowed"),
        [
            ("queued", {"retry", "hold", "cancel"}),
            ("deferred", {"retry", "hold", "cancel"}),
            ("held", {"release", "cancel"}),
            ("sending", set()),
            ("delivered", set()),
            ("bounced", set()),
            ("cancelled", set()),
        ],
    )
    @pytest.mark.parametrize("action", ["retry", "hold", "release", "cancel"])
    async def test_each_state_takes_what_it_may(
        self,
        env: QueueEnv,
        administration: PostgresQueueAdministration,
        state: str,
        allowed: set[str],
        action: str,
    ) -> None:
        await env.send("a@far.test")
        item = await number(env, "a@far.test")
        await env.rows(
            "UPDATE outbound_recipients SET state = $1, due_at = now() + interval '1 hour'", state
        )
        if action in allowed:
            assert len(await administration.act_on_all(None, action, QueueFilter(), 10)) == 1
            await env.rows("UPDATE outbound_recipients SET state = $1, closed_at = NULL", state)
            await env.rows("UPDATE outbound_messages SET open = 1")
            await env.rows("UPDATE messages SET refs = 1")
            await env.rows("UPDATE segments SET live_octets = 1000")
            await administration.act(None, action, item)
        else:
            with pytest.raises(Conflict, match=str(item)):
                await administration.act(None, action, item)
            assert await administration.act_on_all(None, action, QueueFilter(), 10) == []
            assert await env.states() == [("a@far.test", state)]

    async def test_what_is_not_there_is_missing(
        self, administration: PostgresQueueAdministration
    ) -> None:
        with pytest.raises(NotFound):
            await administration.act(None, "retry", 1)
        with pytest.raises(NotFound):
            await administration.item(None, 1)
        with pytest.raises(KeyError):
            await administration.act(None, "burn", 1)

    async def test_all_that_match_are_changed_and_named(
        self, env: QueueEnv, administration: PostgresQueueAdministration
    ) -> None:
        message = await env.send("a@far.test", "b@far.test", "c@near.test")
        await deferred(env, "a@far.test")
        a, b = await number(env, "a@far.test"), await number(env, "b@far.test")
        done = await administration.act_on_all(None, "retry", QueueFilter(domain="far.test"), 10)
        assert done == [(b, message, "b@far.test", ""), (a, message, "a@far.test", "")]
        assert await due_for(env, "a@far.test")
        # due already
        assert (
            await administration.act_on_all(None, "retry", QueueFilter(domain="far.test"), 10) == []
        )
        assert len(await administration.act_on_all(None, "cancel", QueueFilter(), 2)) == 2
        assert len(await administration.act_on_all(None, "cancel", QueueFilter(), 2)) == 1
        assert await administration.act_on_all(None, "cancel", QueueFilter(), 2) == []
        await env.sums_hold()

    async def test_a_claim_and_a_hold_never_both_get_a_recipient(
        self, env: QueueEnv, administration: PostgresQueueAdministration
    ) -> None:
        relay = await env.relay()
        await env.send(*(f"r{number}@far.test" for number in range(40)))
        claims, held, *_ = await asyncio.gather(
            env.claim(relay, limit=40), administration.act_on_all(None, "hold", QueueFilter(), 40)
        )
        assert {job.id for job in claims.jobs}.isdisjoint({item for item, *_ in held})
        states = [state for _, state in await env.states()]
        assert set(states) <= {"sending", "held", "queued"}
        assert states.count("sending") == len(claims.jobs)
        assert states.count("held") == len(held)


class TestNow:
    """Kind D: what is to be tried now is tried now, though its next hop is closed."""

    @staticmethod
    async def closed(env: QueueEnv, next_hop: str, reply: str = "421 busy") -> None:
        await env.queue.close_next_hop(next_hop, 600, f"mx.{next_hop} (192.0.2.1)", reply)

    async def test_kind_d_a_waiting_item_shows_why_and_until_when(
        self, env: QueueEnv, administration: PostgresQueueAdministration
    ) -> None:
        await env.send("a@far.test", "b@near.test")
        await self.closed(env, "far.test", "connecting to port 25: Connection refused")
        near, far = sorted(
            await administration.items(None, QueueFilter(), None, 10),
            key=lambda item: item.recipient,
        )[::-1]
        assert near.next_hop is None
        assert far.next_hop is not None and (far.state, far.attempts) == (QueueState.QUEUED, 0)
        assert (far.next_hop.host, far.next_hop.reply) == (
            "mx.far.test (192.0.2.1)",
            "connecting to port 25: Connection refused",
        )
        assert (far.next_hop.until - far.created_at).total_seconds() > 500
        await administration.act(None, "hold", far.id)
        assert (await administration.item(None, far.id)).next_hop is None

    @pytest.mark.parametrize("next_hop", ["far.test", "[smart.test]:587", "[any.test]:25"])
    @pytest.mark.parametrize("action", ["retry", "release", "retry all", "release all"])
    async def test_kind_d_an_action_opens_the_next_hop_for_one_try(
        self, env: QueueEnv, administration: PostgresQueueAdministration, next_hop: str, action: str
    ) -> None:
        routes = {
            "[smart.test]:587": ("far.test", "smart.test", 587),
            "[any.test]:25": ("*", "any.test", None),
        }
        if next_hop in routes:
            await env.rows(
                "INSERT INTO routes (domain, host, port, tls) VALUES ($1, $2, $3, 'none')",
                *routes[next_hop],
            )
        await env.send("a@far.test", "b@far.test")
        await self.closed(env, next_hop)
        await self.closed(env, "other.test")
        item = await number(env, "a@far.test")
        shown = (await administration.item(None, item)).next_hop
        assert shown is not None and shown.reply == "421 busy"
        word, _, everything = action.partition(" ")
        if word == "release":
            await administration.act(None, "hold", item)
        assert await env.due_names() == []
        if everything:
            await administration.act_on_all(
                DEFAULT_TENANT, word, QueueFilter(domain="far.test"), 10
            )
        else:
            assert (await administration.act(None, word, item)).next_hop is None
        (due,) = [one for one in await env.queue.due(10) if one.destination == "far.test"]
        assert due.next_hop == next_hop
        claim = await env.queue.claim(await env.relay(), due, None, 5, None, 50, 100)
        assert len(claim.jobs) == 1  # a try
        query = "SELECT key, failures FROM outbound_lanes WHERE closed_until > now()"
        assert await env.rows(query) == [("other.test", 1)]

    async def test_kind_d_what_does_not_match_or_is_refused_opens_nothing(
        self, env: QueueEnv, administration: PostgresQueueAdministration
    ) -> None:
        await env.send("a@far.test")
        await self.closed(env, "far.test")
        await administration.act_on_all(None, "retry", QueueFilter(domain="near.test"), 10)
        await administration.act_on_all(None, "release", QueueFilter(domain="far.test"), 10)
        with pytest.raises(Conflict):
            await administration.act(None, "release", await number(env, "a@far.test"))
        with pytest.raises(NotFound):
            await administration.act(new_id(), "retry", await number(env, "a@far.test"))
        assert await env.due_names() == []

    @pytest.mark.parametrize(
        ("domain", "next_hop"), [("far.test", "[smart.test]:25"), ("*", "[smart.test]:25")]
    )
    async def test_kind_d_a_changed_route_opens_its_next_hop_and_hastens_what_was_put_off(
        self, env: QueueEnv, administration: PostgresQueueAdministration, domain: str, next_hop: str
    ) -> None:
        await env.rows(
            "INSERT INTO routes (domain, host, tls) VALUES ($1, 'smart.test', 'none'), ('own.test', 'own.test', 'none')",
            domain,
        )
        await env.send("a@far.test", "b@own.test")
        await deferred(env, "a@far.test")
        await deferred(env, "b@own.test")
        await self.closed(env, next_hop)
        await administration.route_changed(domain, 100)
        assert await due_for(env, "a@far.test")
        assert not await due_for(env, "b@own.test")
        assert await env.due_names() == ["far.test"]
