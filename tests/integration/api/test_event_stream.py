"""The stream of events: who is told what, from which place on, and until when."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import Any, get_args
from uuid import UUID

import httpx
import pytest

from posthorn.adapters.nats.connection import Connection
from posthorn.adapters.nats.event_log import NatsEventLog
from posthorn.adapters.nats.events import NatsTrace
from posthorn.adapters.postgres.events.checkpoint import PostgresEventCheckpoint
from posthorn.model.events import ACCEPTED, BOUNCED, DELIVERED, Event, encode_event
from posthorn.model.streams import EVENTS_PREFIX
from posthorn.ports.api_keys import Role
from posthorn.runtime.ids import new_id
from posthorn_api.events.feed import EventFeed, Place, Placed, place_in
from posthorn_api.events.kinds import Kind
from posthorn_api.events.sight import EventSight
from posthorn_api.pending import Pending
from posthorn_api.webhooks.matching import KINDS
from tests.support.api import Api, problem
from tests.support.databases import pool
from tests.support.polling import BUSY_SECONDS, until

PATH = "/v1/events/stream"


@pytest.fixture
async def api(api: Api, connection: Connection) -> Api:
    api.late.trace.set(NatsTrace(connection))
    api.late.event_logs.set(partial(NatsEventLog, connection))
    return api


async def happen(connection: Connection, *events: Event) -> None:
    """Record events in one message of the stream."""
    lines = b"\n".join(encode_event(event) for event in events)
    await connection.request(f"{EVENTS_PREFIX}1", lines)


def accepted(tenant: UUID | None = None, at: float = 1.0) -> Event:
    owner = {"tenant": str(tenant)} if tenant else {}
    return Event(new_id(), at, ACCEPTED, {"client": "192.0.2.1", **owner})


class Following:
    """A connection that follows."""

    def __init__(self, answer: httpx.Response) -> None:
        self._lines = answer.aiter_lines()
        self.last_id = ""

    async def message(self) -> tuple[str, dict[str, Any]]:
        """The next message: its name and data. Comments and ids alone are passed over."""
        name, data = "", ""
        async with asyncio.timeout(BUSY_SECONDS):
            async for line in self._lines:
                field, _, value = line.partition(": ")
                if field == "id":
                    self.last_id = value
                elif field == "event":
                    name = value
                elif field == "data":
                    data = value
                elif not line and data:
                    return name, json.loads(data)
        raise EOFError

    async def messages(self, number: int) -> list[str]:
        return [(await self.message())[1]["data"]["message"] for _ in range(number)]


@asynccontextmanager
async def following(
    api: Api, headers: dict[str, str] | None = None, **query: Any
) -> AsyncIterator[Following]:
    async with api.client.stream("GET", PATH, params=query, headers=headers) as answer:
        if answer.status_code != 200:
            await answer.aread()
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "text/event-stream"
        assert answer.headers["x-accel-buffering"] == "no"
        yield Following(answer)


def ids(*events: Event) -> list[str]:
    return [str(event.message) for event in events]


async def test_each_caller_follows_what_it_may_see(api: Api, connection: Connection) -> None:
    ours, theirs = await api.tenant("ours"), await api.tenant("theirs")
    reader = await api.key(Role.READ_ONLY, ours)
    await api.domain("ours.test", tenant="ours")
    await api.sql("UPDATE domains SET verified_at = 'epoch'")
    first, second, third = accepted(ours), accepted(theirs), accepted()
    received = Event(third.message, 2.0, DELIVERED, {"recipients": ["a@ours.test", "b@far.test"]})
    bounced = Event(second.message, 2.0, BOUNCED, {"recipient": "x@far.test"})
    async with (
        following(api) as all_,
        following(api, tenant="theirs", type=["accepted", "bounced"]) as chosen,
        following(api, reader) as own,
        following(api, reader, type="delivered") as delivered,
        following(api, message=str(second.message)) as one,
    ):
        await happen(connection, first, second, third)
        await happen(connection, received, bounced)
        assert await all_.messages(5) == ids(first, second, third, received, bounced)
        assert await own.messages(1) == ids(first)
        name, told = await own.message()
        assert (name, told["type"], told["data"]["recipients"]) == ("", DELIVERED, ["a@ours.test"])
        assert told["timestamp"] == "1970-01-01T00:00:02.000Z"
        assert await delivered.messages(1) == ids(received)
        assert await chosen.messages(2) == ids(second, bounced)
        assert [(await one.message())[1]["type"] for _ in range(2)] == [ACCEPTED, BOUNCED]
    problem(await api.client.get(PATH, params={"tenant": "no"}), 422, "invalid", "tenant")
    foreign = await api.client.get(PATH, params={"tenant": "theirs"}, headers=reader)
    problem(foreign, 422, "invalid", "tenant")
    problem(await api.client.get(PATH, params={"type": "odd"}), 422, "invalid")
    assert get_args(Kind.__value__) == KINDS


async def test_the_last_id_goes_on_where_it_was(api: Api, connection: Connection) -> None:
    owner = await api.tenant("ours")
    reader = await api.key(Role.READ_ONLY, owner)
    events = [accepted(owner, at) for at in (1.0, 2.0, 3.0, 4.0)]
    async with following(api, reader) as before:
        await happen(connection, *events[:3])
        assert await before.messages(2) == ids(*events[:2])
    await happen(connection, events[3])
    async with following(api, {**reader, "Last-Event-ID": before.last_id}) as after:
        assert await after.messages(2) == ids(*events[2:])
        await happen(connection, more := accepted(owner))
        assert await after.messages(1) == ids(more)
    async with following(api, after=before.last_id) as by_query:
        assert await by_query.messages(3) == ids(*events[2:], more)
    # what is gone, another stream, and a place that was never reached
    await connection.api("STREAM.PURGE.EVENTS", {"seq": 2})
    place = place_in(before.last_id)
    assert place is not None
    for text, rest in (
        (before.last_id, [events[3], more]),
        (str(Place(place.stream + 1, 1)), []),
        (str(Place(place.stream, 10**9)), []),
    ):
        async with following(api, after=text) as cut:
            assert await cut.message() == ("gap", {}), text
            await happen(connection, last := accepted())
            assert (await cut.messages(len(rest) + 1))[-1] == str(last.message)
    for wrong in ("x", "1-2", "1-2-3-4", "1--3", "²-1-1", f"{2**70}-1-1"):
        answer = await api.client.get(PATH, params={"after": wrong})
        problem(answer, 422, "invalid", "Last-Event-ID")


async def test_it_ends_with_the_right_to_it(api: Api, connection: Connection) -> None:
    owner = await api.tenant("ours")
    for end, status in (
        ("DELETE FROM api_keys WHERE name = $1", 401),
        ("UPDATE api_keys SET role = 'send-only' WHERE name = $1", 403),
        ("UPDATE api_keys SET expires_at = now() WHERE name = $1", 401),
        ("UPDATE api_keys SET networks = '{192.0.2.0/24}' WHERE name = $1", 403),
        ("UPDATE tenants SET state = 'suspended' WHERE $1 <> ''", 403),
    ):
        reader = await api.key(Role.READ_ONLY, owner)
        async with following(api, reader) as own:
            await happen(connection, first := accepted(owner))
            assert await own.messages(1) == ids(first)
            await api.sql(end, f"key {len(api.keys)}")
            name, told = await own.message()
            assert (name, told["status"]) == ("end", status)
            with pytest.raises(EOFError):
                await own.message()


async def test_connections_are_bounded_and_given_back(api: Api) -> None:
    reader = await api.key(Role.READ_ONLY)
    feed: EventFeed = api.feed
    feed._most_each, feed._most = 2, 3
    async with following(api, reader), following(api, reader):
        refused = await api.client.get(PATH, headers=reader)
        problem(refused, 429, "too-many-requests")
        assert int(refused.headers["retry-after"]) >= 1
        async with following(api):
            problem(await api.client.get(PATH), 503, "unavailable")
    feed._most_of_tenant = 1
    tenant = await api.tenant("ours")
    first, second = [await api.key(Role.READ_ONLY, tenant) for _ in range(2)]
    async with following(api, first):
        problem(await api.client.get(PATH, headers=second), 429, "too-many-requests")
        async with following(api, reader):
            pass
    await until(lambda: not feed._each and not feed._followers and feed._reading is None)
    assert not feed._of_tenants
    async with following(api, reader) as last:
        feed.closing.set()  # as at the end of the process
        with pytest.raises(EOFError):
            await last.message()
    problem(await api.client.get(PATH, headers=reader), 503, "unavailable")


async def test_a_slow_reader_is_told_and_loses_nothing(
    database_url: str, connection: Connection
) -> None:
    async with pool(database_url) as database:
        sight = EventSight(PostgresEventCheckpoint(database), _pending(NatsTrace(connection)))
        feed = EventFeed(_pending(partial(NatsEventLog, connection)), sight)
        async with aclosing(feed.follow(None, frozenset(), await feed.here(), 0.05)) as slow:
            first = await anext(slow)
            assert first.notice == "here"
            events = [accepted(at=float(number)) for number in range(3000)]
            for start in range(0, 3000, 100):
                await happen(connection, *events[start : start + 100])
            (follower,) = feed._followers
            await until(lambda: not follower.is_live)
            assert not follower.waiting
            told: list[Placed] = []
            while sum(each.event is not None for each in told) < 3000:
                told.append(await anext(slow))
        found = [each.event for each in told if each.event is not None]
        assert found == events
        assert [each.notice for each in told if each.notice not in ("", "here")] == ["behind"]


def _pending(part: Any) -> Any:
    there: Pending[Any] = Pending("nats")
    there.set(part)
    return there


async def test_who_has_only_named_a_domain_is_told_nothing_of_the_mail_to_it(
    api: Api, connection: Connection
) -> None:
    acme, squatter = await api.tenant("acme"), await api.tenant("squatter")
    await api.sql("UPDATE tenants SET verify_domains = true WHERE id = $1", squatter)
    await api.domain("far.test", tenant="squatter")
    reader = await api.key(Role.READ_ONLY, squatter)
    sent, own = accepted(acme), accepted(squatter)
    done = [
        Event(sent.message, 2.0, DELIVERED, {"recipients": ["bob@far.test"]}),
        Event(sent.message, 2.0, BOUNCED, {"recipient": "bob@far.test", "status": "5.1.1"}),
    ]
    async with following(api, reader) as told:
        await happen(connection, sent, *done, own)
        assert await told.messages(1) == ids(own)


async def test_the_next_owner_of_a_domain_is_not_told_what_was_before(
    api: Api, connection: Connection
) -> None:
    heir = await api.tenant("heir")
    reader = await api.key(Role.READ_ONLY, heir)
    before, now = accepted(at=time.time() - 60.0), accepted(at=time.time() + 60.0)
    here = await api.feed.here()
    delivered = [
        Event(each.message, each.at, DELIVERED, {"recipients": ["a@heir.test"]})
        for each in (before, now)
    ]
    await happen(connection, before, now, *delivered)
    await api.domain("heir.test", tenant="heir")
    async with following(api, reader, after=str(here)) as told:
        assert await told.messages(1) == ids(now)
