"""A relay that takes hand-overs: told, not told, told too late, and while it drains."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import pytest

from posthorn.adapters.nats import hand_over as adapter
from posthorn.adapters.nats.hand_over import NatsLiveRelays
from posthorn.ports.hand_over import Handed, HandOver, LiveRelay
from posthorn_relay import hand_overs
from posthorn_relay.hand_overs import HandOvers
from posthorn_relay.scheduler import Scheduler
from tests.support.polling import LONG_SECONDS, until
from tests.support.relay_env import BODY, SENDER, RelayEnv
from tests.support.scripted_smtp import STALL, ScriptedSmtp
from tests.support.sink import Sink

STORED = f"Return-Path: <{SENDER}>\r\n".encode() + BODY


@pytest.fixture
async def sink(env: RelayEnv) -> AsyncIterator[Sink]:
    server = Sink()
    server.start()
    env.planner.ports = [server.port]
    await env.rows("INSERT INTO outbound_lanes (key) VALUES ('sink.test')")
    yield server
    server.stop()


@pytest.fixture
async def relays(env: RelayEnv) -> AsyncIterator[NatsLiveRelays]:
    async with NatsLiveRelays(env.nats) as listening:
        yield listening


async def offered(relays: NatsLiveRelays, scheduler: Scheduler) -> LiveRelay:
    """Wait until the relay has offered itself."""

    async def there() -> bool:
        picked = relays.pick()
        return picked is not None and picked.id == scheduler.liveness.identity.id

    await until(there)
    picked = relays.pick()
    assert picked is not None
    return picked


async def hand(env: RelayEnv, relay: LiveRelay, recipient: str) -> Handed:
    """Queue a message handed over to the relay, which is not told yet."""
    over = HandOver(relay, "sink.test")
    message = await env.post(recipient, wake=False, over=over)
    assert over.slot is not None
    assert over.messages == {message}
    return Handed(relay.id, over.destination, over.slot, over.jobs, message, STORED)


async def no_slots(env: RelayEnv) -> None:
    """Wait until nobody works on anything: a claim would lock the next hop."""

    async def free() -> bool:
        return not await env.rows(
            "SELECT id::text FROM outbound_slots"
            " UNION ALL SELECT name FROM outbound_destinations WHERE due_at <= now()"
        )

    await until(free)


@asynccontextmanager
async def quick(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """Offers and looks follow each other quickly."""
    monkeypatch.setattr(hand_overs, "OFFER_SECONDS", 0.05)
    monkeypatch.setattr(hand_overs, "LOOK_SECONDS", 1.0)
    yield


async def test_a_message_handed_over_is_sent_from_what_came_with_it(
    env: RelayEnv, sink: Sink, relays: NatsLiveRelays
) -> None:
    async with env.relay() as scheduler:
        handed = await hand(env, await offered(relays, scheduler), "bob@sink.test")
        await env.blobs.delete(f"segments/{handed.message}")
        await relays.hand(handed)
        await relays.hand(handed)  # told twice is told once
        await env.become(handed.message, bob="delivered")
        await no_slots(env)
    assert [(taken.recipients, taken.content) for taken in sink.taken] == [
        (("bob@sink.test",), BODY)
    ]


async def test_a_hand_over_that_is_not_heard_of_is_released_and_sent_once(
    env: RelayEnv, sink: Sink, relays: NatsLiveRelays, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with quick(monkeypatch), env.relay() as scheduler:
        lost = await hand(env, await offered(relays, scheduler), "bob@sink.test")
        await env.become(lost.message, bob="delivered")
        assert scheduler.liveness.identity.id != lost.relay
        await relays.hand(lost)  # after all, when another id has sent it
        await asyncio.sleep(0.5)
        await no_slots(env)
    assert [taken.recipients for taken in sink.taken] == [("bob@sink.test",)]


async def test_slots_of_busy_workers_are_known(
    env: RelayEnv, relays: NatsLiveRelays, monkeypatch: pytest.MonkeyPatch
) -> None:
    await env.rows("INSERT INTO outbound_lanes (key) VALUES ('sink.test')")
    looks = 0
    look = HandOvers._look

    async def counted(self: HandOvers) -> None:
        nonlocal looks
        await look(self)
        looks += 1

    monkeypatch.setattr(HandOvers, "_look", counted)
    monkeypatch.setattr(hand_overs, "OFFER_SECONDS", 0.05)
    async with ScriptedSmtp({"MAIL": STALL}) as host:
        env.planner.ports = [host.port]
        async with env.relay(grace_seconds=0.1) as scheduler:
            relay = await offered(relays, scheduler)
            handed = await hand(env, relay, "bob@sink.test")
            await relays.hand(handed)
            await until(lambda: "MAIL" in host.verbs)
            monkeypatch.setattr(hand_overs, "LOOK_SECONDS", 0.0)
            seen = looks
            await until(lambda: looks > seen + 3)  # while the host says nothing
            assert scheduler.liveness.identity.id == relay.id
            assert scheduler.slots() == {handed.slot}


async def test_a_relay_that_drains_takes_nothing_and_leaves_what_was_handed_to_it(
    env: RelayEnv, sink: Sink, relays: NatsLiveRelays, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter, "FRESH_SECONDS", LONG_SECONDS)
    async with env.relay() as scheduler:
        relay = await offered(relays, scheduler)
        scheduler.liveness.stop()
        handed = await hand(env, relay, "bob@sink.test")
        await relays.hand(handed)
        await asyncio.sleep(0.3)
    await until(lambda: relays.pick() is None, what="the taking back of the offer")
    assert await env.states(handed.message) == {"bob@sink.test": "queued"}
    assert await env.rows("SELECT FROM outbound_slots") == []
    assert sink.taken == []
    async with env.relay():
        await env.become(handed.message, bob="delivered")


async def test_it_is_not_taken_under_another_relays_id(
    env: RelayEnv, sink: Sink, relays: NatsLiveRelays
) -> None:
    other = LiveRelay(UUID(int=9), 20)
    assert await env.queue.heartbeat(other.id)
    async with env.relay() as scheduler:
        await offered(relays, scheduler)
        handed = await hand(env, other, "bob@sink.test")
        await relays.hand(handed)
        await asyncio.sleep(0.3)
        assert await env.states(handed.message) == {"bob@sink.test": "sending"}
        assert sink.taken == []
        await env.queue.leave(other.id)
        await env.become(handed.message, bob="delivered")
