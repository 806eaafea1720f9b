"""The port QueueAdministration on PostgreSQL: search the queue, and change what waits in it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest

from posthorn.adapters.postgres.database import Database
from posthorn.adapters.postgres.queue.administration import PostgresQueueAdministration
from posthorn.adapters.postgres.tables import DEFAULT_TENANT
from posthorn.model.outbound import QueueState
from posthorn.ports.errors import Conflict, NotFound
from posthorn.ports.queue import QueueFilter
from posthorn.runtime.ids import new_id
from tests.contract.outgoing import PostOffice
from tests.contract.town import pool


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with pool(database_url) as opened:
        yield opened


@pytest.fixture
def office(database: Database) -> PostOffice:
    return PostOffice(database)


@pytest.fixture
def administration(database: Database) -> PostgresQueueAdministration:
    return PostgresQueueAdministration(database)


async def number(office: PostOffice, recipient: str) -> int:
    return int(await office.value("SELECT id FROM outbound_recipients WHERE recipient = $1", recipient))


async def due_for(office: PostOffice, recipient: str) -> bool:
    """Whether it is due, and its destination knows."""
    query = "SELECT r.due_at <= now() AND d.due_at <= now() FROM outbound_recipients r JOIN outbound_destinations d"
    return bool(await office.value(f"{query} ON d.name = r.destination WHERE recipient = $1", recipient))


async def deferred(office: PostOffice, recipient: str) -> int:
    """Have what is due at the recipient's destination put off for long, by a relay."""
    relay, destination = await office.relay(), recipient.rpartition("@")[2]
    told: dict[str, Any] = {"host": "mx", "reply": "450 busy", "status": "4.2.0", "tls": "TLSv1.3"}
    await office.end(relay, await office.jobs(relay, destination), QueueState.DEFERRED, retry_in=900, **told)
    await office.jobs(relay, destination)
    return await number(office, recipient)


class TestSearch:
    async def test_an_item_says_all_that_is_known(
        self, office: PostOffice, administration: PostgresQueueAdministration
    ) -> None:
        message = await office.send("Bob@far.test")
        item = await administration.item(None, await deferred(office, "Bob@far.test"))
        assert (item.message, item.state, item.sender) == (message, QueueState.DEFERRED, "sender@example.test")
        assert (item.recipient, item.destination, item.attempts) == ("Bob@far.test", "far.test", 1)
        assert (item.last_host, item.last_status, item.last_reply) == ("mx", "4.2.0", "450 busy")
        assert (item.last_tls, item.original, item.subject, item.size) == ("TLSv1.3", "", "Hello", 1000)
        assert item.due_at is not None
        assert item.last_attempt_at is not None
        assert item.created_at < item.due_at < item.expires_at

    async def test_the_newest_come_first_page_by_page(
        self, office: PostOffice, administration: PostgresQueueAdministration
    ) -> None:
        await office.send(*(f"r{number}@far.test" for number in range(5)))
        listed: list[str] = []
        before: int | None = None
        while page := await administration.items(None, QueueFilter(), before, 2):
            listed += [item.recipient for item in page]
            before = page[-1].id
        assert listed == [f"r{number}@far.test" for number in (4, 3, 2, 1, 0)]

    async def test_each_condition_narrows_the_list(
        self, office: PostOffice, administration: PostgresQueueAdministration
    ) -> None:
        old = await office.send("old@far.test", sender="Ada@example.test")
        await office.ages(3600)
        await office.send("Odd.One@far.test", "new@near.test", sender="bob@example.test")
        await office.send("null@far.test", sender="")
        await office.rows("UPDATE outbound_recipients SET state = 'held' WHERE recipient = 'new@near.test'")

        async def found(**conditions: Any) -> set[str]:
            items = await administration.items(None, QueueFilter(**conditions), None, 10)
            return {item.recipient.partition("@")[0] for item in items}

        assert await found() == {"old", "Odd.One", "new", "null"}
        assert await found(domain="Far.test") == {"old", "Odd.One", "null"}
        assert await found(state=QueueState.HELD) == {"new"}
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
        assert await found(domain="far.test", sender="bob@example.test", state=QueueState.QUEUED) == {"Odd.One"}

    async def test_ages_are_exact_among_many(
        self, office: PostOffice, administration: PostgresQueueAdministration
    ) -> None:
        await office.send(*(f"r{number}@far.test" for number in range(100)))
        await office.rows(
            "UPDATE outbound_recipients SET created_at = now() - make_interval(mins => 1000 - 10 * id::integer)"
        )
        for minutes in (5, 305, 995, 2000):
            query = "SELECT count(*) FROM outbound_recipients WHERE created_at <= now() - make_interval(secs => $1)"
            expected = await office.value(query, minutes * 60.0)
            items = await administration.items(None, QueueFilter(older_than=minutes * 60), None, 1000)
            assert len(items) == expected
            items = await administration.items(None, QueueFilter(younger_than=minutes * 60), None, 1000)
            assert len(items) == 100 - expected

    async def test_what_belongs_to_another_tenant_does_not_exist(
        self, office: PostOffice, administration: PostgresQueueAdministration
    ) -> None:
        other = new_id()
        await office.send("ours@far.test")
        await office.send("theirs@far.test", tenant=other)
        await office.send("nobodys@far.test", tenant=None)

        async def seen(tenant: UUID | None) -> set[str]:
            return {
                item.recipient.partition("@")[0] for item in await administration.items(tenant, QueueFilter(), None, 9)
            }

        assert await seen(None) == {"ours", "theirs", "nobodys"}
        assert await seen(DEFAULT_TENANT) == {"ours"}
        assert await seen(other) == {"theirs"}
        theirs = await number(office, "theirs@far.test")
        with pytest.raises(NotFound):
            await administration.item(DEFAULT_TENANT, theirs)
        with pytest.raises(NotFound):
            await administration.act(DEFAULT_TENANT, "cancel", theirs)
        done = await administration.act_on_all(DEFAULT_TENANT, "cancel", QueueFilter(domain="far.test"), 10)
        assert [recipient for _, _, recipient, _ in done] == ["ours@far.test"]

    async def test_what_has_ended_is_shown_when_its_message_is_gone(
        self, office: PostOffice, administration: PostgresQueueAdministration
    ) -> None:
        relay = await office.relay()
        await office.send("a@far.test")
        await office.end(relay, await office.jobs(relay), QueueState.DELIVERED)
        await office.rows("DELETE FROM messages")
        (item,) = await administration.items(None, QueueFilter(), None, 10)
        assert (item.state, item.due_at, item.subject, item.size) == (QueueState.DELIVERED, None, "", 0)


class TestAct:
    async def test_retry_makes_it_due_now(
        self, office: PostOffice, administration: PostgresQueueAdministration
    ) -> None:
        await office.send("a@far.test")
        item = await deferred(office, "a@far.test")
        assert not await due_for(office, "a@far.test")
        assert (await administration.act(None, "retry", item)).state is QueueState.DEFERRED
        assert await due_for(office, "a@far.test")
        assert len(await office.jobs(await office.relay())) == 1

    async def test_what_is_held_waits_until_it_is_released(
        self, office: PostOffice, administration: PostgresQueueAdministration
    ) -> None:
        relay = await office.relay()
        await office.send("a@far.test")
        item = await number(office, "a@far.test")
        held = await administration.act(None, "hold", item)
        assert (held.state, held.due_at) == (QueueState.HELD, None)
        assert await office.jobs(relay) == []
        released = await administration.act(None, "release", item)
        assert released.state is QueueState.QUEUED
        assert await due_for(office, "a@far.test")
        await deferred(office, "a@far.test")
        await administration.act(None, "hold", item)
        assert (await administration.act(None, "release", item)).state is QueueState.DEFERRED

    async def test_what_is_released_after_its_time_gets_one_more_chance(
        self, office: PostOffice, administration: PostgresQueueAdministration
    ) -> None:
        await office.send("a@far.test")
        item = await number(office, "a@far.test")
        await administration.act(None, "hold", item)
        await office.ages(2000)
        await administration.act(None, "release", item)
        assert (await office.queue.sweep_overdue(True, 10)).count == 0
        assert len(await office.jobs(await office.relay())) == 1

    async def test_what_is_cancelled_lets_go_of_its_octets_without_a_notice(
        self, office: PostOffice, administration: PostgresQueueAdministration
    ) -> None:
        await office.send("a@far.test", "b@far.test")
        await office.ages(101)
        await office.queue.sweep_overdue(True, 10)
        cancelled = await administration.act(None, "cancel", await number(office, "a@far.test"))
        assert (cancelled.state, cancelled.due_at) == (QueueState.CANCELLED, None)
        await office.sums_hold()
        assert await office.value("SELECT refs FROM messages") == 1
        await administration.act(None, "hold", await number(office, "b@far.test"))
        await administration.act(None, "cancel", await number(office, "b@far.test"))
        assert await office.rows("SELECT refs, live_octets FROM messages, segments") == [(0, 0)]
        assert await office.queue.reports(10) == []
        await office.sums_hold()

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
        office: PostOffice,
        administration: PostgresQueueAdministration,
        state: str,
        allowed: set[str],
        action: str,
    ) -> None:
        await office.send("a@far.test")
        item = await number(office, "a@far.test")
        await office.rows("UPDATE outbound_recipients SET state = $1, due_at = now() + interval '1 hour'", state)
        if action in allowed:
            assert len(await administration.act_on_all(None, action, QueueFilter(), 10)) == 1
            await office.rows("UPDATE outbound_recipients SET state = $1, closed_at = NULL", state)
            await office.rows("UPDATE outbound_messages SET open = 1")
            await office.rows("UPDATE messages SET refs = 1")
            await office.rows("UPDATE segments SET live_octets = 1000")
            await administration.act(None, action, item)
        else:
            with pytest.raises(Conflict, match=str(item)):
                await administration.act(None, action, item)
            assert await administration.act_on_all(None, action, QueueFilter(), 10) == []
            assert await office.states() == [("a@far.test", state)]

    async def test_what_is_not_there_is_missing(self, administration: PostgresQueueAdministration) -> None:
        with pytest.raises(NotFound):
            await administration.act(None, "retry", 1)
        with pytest.raises(NotFound):
            await administration.item(None, 1)
        with pytest.raises(KeyError):
            await administration.act(None, "burn", 1)

    async def test_all_that_match_are_changed_and_named(
        self, office: PostOffice, administration: PostgresQueueAdministration
    ) -> None:
        message = await office.send("a@far.test", "b@far.test", "c@near.test")
        await deferred(office, "a@far.test")
        a, b = await number(office, "a@far.test"), await number(office, "b@far.test")
        done = await administration.act_on_all(None, "retry", QueueFilter(domain="far.test"), 10)
        assert done == [(b, message, "b@far.test", ""), (a, message, "a@far.test", "")]
        assert await due_for(office, "a@far.test")
        assert await administration.act_on_all(None, "retry", QueueFilter(domain="far.test"), 10) == []  # due already
        assert len(await administration.act_on_all(None, "cancel", QueueFilter(), 2)) == 2
        assert len(await administration.act_on_all(None, "cancel", QueueFilter(), 2)) == 1
        assert await administration.act_on_all(None, "cancel", QueueFilter(), 2) == []
        await office.sums_hold()

    async def test_a_claim_and_a_hold_never_both_get_a_recipient(
        self, office: PostOffice, administration: PostgresQueueAdministration
    ) -> None:
        relay = await office.relay()
        await office.send(*(f"r{number}@far.test" for number in range(40)))
        claims, held, *_ = await asyncio.gather(
            office.claim(relay, limit=40), administration.act_on_all(None, "hold", QueueFilter(), 40)
        )
        assert {job.id for job in claims.jobs}.isdisjoint({item for item, *_ in held})
        states = {state for _, state in await office.states()}
        assert states <= {"sending", "held", "queued"}
        assert len(await office.rows("SELECT FROM outbound_recipients WHERE state = 'sending'")) == len(claims.jobs)


class TestNow:
    """Kind D: what is to be tried now is tried now, though its lane is closed."""

    @staticmethod
    async def closed(office: PostOffice, lane: str, reply: str = "421 busy") -> None:
        await office.queue.close_lane(lane, 600, f"mx.{lane} (192.0.2.1)", reply)

    async def test_kind_d_a_waiting_item_shows_why_and_until_when(
        self, office: PostOffice, administration: PostgresQueueAdministration
    ) -> None:
        await office.send("a@far.test", "b@near.test")
        await self.closed(office, "far.test", "connecting to port 25: Connection refused")
        near, far = sorted(await administration.items(None, QueueFilter(), None, 10), key=lambda item: item.recipient)[
            ::-1
        ]
        assert near.lane is None
        assert far.lane is not None and (far.state, far.attempts) == (QueueState.QUEUED, 0)
        assert (far.lane.host, far.lane.reply) == (
            "mx.far.test (192.0.2.1)",
            "connecting to port 25: Connection refused",
        )
        assert (far.lane.until - far.created_at).total_seconds() > 500
        await administration.act(None, "hold", far.id)
        assert (await administration.item(None, far.id)).lane is None

    @pytest.mark.parametrize("lane", ["far.test", "[smart.test]:587", "[any.test]:25"])
    @pytest.mark.parametrize("action", ["retry", "release", "retry all", "release all"])
    async def test_kind_d_an_action_opens_the_lane_for_one_try(
        self, office: PostOffice, administration: PostgresQueueAdministration, lane: str, action: str
    ) -> None:
        routes = {"[smart.test]:587": ("far.test", "smart.test", 587), "[any.test]:25": ("*", "any.test", None)}
        if lane in routes:
            await office.rows("INSERT INTO routes (domain, host, port, tls) VALUES ($1, $2, $3, 'none')", *routes[lane])
        await office.send("a@far.test", "b@far.test")
        await self.closed(office, lane)
        await self.closed(office, "other.test")
        item = await number(office, "a@far.test")
        shown = (await administration.item(None, item)).lane
        assert shown is not None and shown.reply == "421 busy"
        word, _, everything = action.partition(" ")
        if word == "release":
            await administration.act(None, "hold", item)
        assert await office.due_names() == []
        if everything:
            await administration.act_on_all(DEFAULT_TENANT, word, QueueFilter(domain="far.test"), 10)
        else:
            assert (await administration.act(None, word, item)).lane is None
        (due,) = [one for one in await office.queue.due(10) if one.destination == "far.test"]
        assert due.lane == lane
        claim = await office.queue.claim(await office.relay(), due, None, 5, None, 50, 100)
        assert len(claim.jobs) == 1  # a try
        query = "SELECT key, failures FROM outbound_lanes WHERE closed_until > now()"
        assert await office.rows(query) == [("other.test", 1)]

    async def test_kind_d_what_does_not_match_or_is_refused_opens_nothing(
        self, office: PostOffice, administration: PostgresQueueAdministration
    ) -> None:
        await office.send("a@far.test")
        await self.closed(office, "far.test")
        await administration.act_on_all(None, "retry", QueueFilter(domain="near.test"), 10)
        await administration.act_on_all(None, "release", QueueFilter(domain="far.test"), 10)
        with pytest.raises(Conflict):
            await administration.act(None, "release", await number(office, "a@far.test"))
        with pytest.raises(NotFound):
            await administration.act(new_id(), "retry", await number(office, "a@far.test"))
        assert await office.due_names() == []

    @pytest.mark.parametrize(("domain", "lane"), [("far.test", "[smart.test]:25"), ("*", "[smart.test]:25")])
    async def test_kind_d_a_changed_route_opens_its_lane_and_hastens_what_was_put_off(
        self, office: PostOffice, administration: PostgresQueueAdministration, domain: str, lane: str
    ) -> None:
        await office.rows(
            "INSERT INTO routes (domain, host, tls) VALUES ($1, 'smart.test', 'none'), ('own.test', 'own.test', 'none')",
            domain,
        )
        await office.send("a@far.test", "b@own.test")
        await deferred(office, "a@far.test")
        await deferred(office, "b@own.test")
        await self.closed(office, lane)
        await administration.route_changed(domain, 100)
        assert await due_for(office, "a@far.test")
        assert not await due_for(office, "b@own.test")
        assert await office.due_names() == ["far.test"]
