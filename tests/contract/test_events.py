"""The ports Events and Trace on JetStream: what happened to a message, recorded without ever
holding mail up."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from typing import Any
from uuid import UUID

import pytest
from prometheus_client import REGISTRY

from posthorn.adapters.nats import events as module
from posthorn.adapters.nats.connection import Connection, connect
from posthorn.adapters.nats.events import NatsEvents, NatsTrace
from posthorn.adapters.nats.layout import limits_to_keep
from posthorn.adapters.nats.scan import read_through
from posthorn.model.events import ACCEPTED, DELIVERED, QUEUED, Event, encode_event, slot_of
from posthorn.model.streams import EVENTS, EVENTS_PREFIX
from posthorn.ports.errors import Unavailable
from posthorn.runtime.ids import new_id
from posthorn_local.embedded import Nats
from tests.support.jetstream import nats_settings, restart
from tests.support.polling import BUSY_SECONDS, LONG_SECONDS, until


def event(message: UUID, at: float = 1.0, kind: str = ACCEPTED, **detail: Any) -> Event:
    return Event(message, at, kind, detail)


def dropped() -> float:
    return REGISTRY.get_sample_value("posthorn_events_dropped_total") or 0.0


async def state(connection: Connection) -> dict[str, Any]:
    found: dict[str, Any] = (await connection.api(f"STREAM.INFO.{EVENTS}"))["state"]
    return found


async def count(connection: Connection) -> int:
    """How many events lie on the stream."""
    found = 0
    async with aclosing(
        read_through(connection, EVENTS, {"deliver_policy": "all"}, 10_000)
    ) as messages:
        async for each in messages:
            found += len(each.data.split(b"\n"))
    return found


async def stored(connection: Connection, number: int) -> None:
    async def there() -> bool:
        try:
            return await count(connection) >= number
        except Unavailable:  # the connection is just breaking, or coming up
            return False

    await until(there, what=f"{number} events")


async def test_a_trace_tells_everything_in_the_order_of_time(connection: Connection) -> None:
    message, other = new_id(), new_id()
    told = [
        event(message, 1.5, ACCEPTED, service="api", recipients=2, subject="Grüße \ud800"),
        event(message, 2.5, QUEUED),
        event(message, 3.5, DELIVERED, recipient="a@example.org", tls=None),
    ]
    async with NatsEvents(connection) as events:
        events.record(told[2], event(other))
        events.record(told[0])
        events.record()
        events.record(told[1])
        await stored(connection, 4)
    trace = NatsTrace(connection)
    assert list(await trace.events_of(message)) == told
    assert len(await trace.events_of(other)) == 1
    assert list(await trace.events_of(new_id())) == []
    assert list(await trace.events_of(UUID(int=7))) == []


async def test_what_is_recorded_is_there_after_one_moment(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert module._GATHER < 0.5
    pauses: list[float] = []
    pause = NatsEvents._pause

    async def noted(self: NatsEvents, seconds: float) -> None:
        pauses.append(seconds)
        await pause(self, seconds)

    monkeypatch.setattr(NatsEvents, "_pause", noted)
    async with NatsEvents(connection) as events:
        for number in range(1, 4):
            before = await count(connection)
            events.record(event(new_id()))
            await stored(connection, before + 1)
            assert pauses == [module._GATHER] * number


async def test_many_events_go_together(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = 0
    ask = connection.request

    async def counted(subject: str, *rest: Any, **named: Any) -> Any:
        nonlocal requests
        requests += subject.startswith(EVENTS_PREFIX)
        return await ask(subject, *rest, **named)

    monkeypatch.setattr(connection, "request", counted)
    message = new_id()
    async with NatsEvents(connection) as events:
        events.record(*(event(message, number) for number in range(2300)))
        await stored(connection, 2300)
    assert requests == 5
    assert [each.at for each in await NatsTrace(connection).events_of(message)] == list(range(2300))


async def test_leaving_sends_what_is_left(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LAST_SECONDS", BUSY_SECONDS)
    monkeypatch.setattr(module, "_GATHER", LONG_SECONDS)  # it is not waited out
    message = new_id()
    async with NatsEvents(connection) as events:
        events.record(*(event(message, number) for number in range(1200)))
    assert len(await NatsTrace(connection).events_of(message)) == 1200


async def test_events_of_an_outage_are_kept_and_recorded_afterwards(
    nats: Nats, connection: Connection
) -> None:
    message = new_id()
    async with NatsEvents(connection) as events:
        nats.stop(kill=True)
        events.record(event(message, 1.0))
        await asyncio.sleep(0.3)
        events.record(event(message, 2.0))
        restart(nats)
        await connection.wait_up(BUSY_SECONDS)
        await stored(connection, 2)
    assert [each.at for each in await NatsTrace(connection).events_of(message)] == [1.0, 2.0]


async def test_the_oldest_are_dropped_and_counted_when_too_many_wait(
    nats: Nats, connection: Connection
) -> None:
    message, before = new_id(), dropped()
    async with NatsEvents(connection, kept=100) as events:
        nats.stop(kill=True)
        for number in range(250):
            events.record(event(message, float(number)))
        assert dropped() - before == 150
        restart(nats)
        await connection.wait_up(BUSY_SECONDS)
        await stored(connection, 100)
    assert [each.at for each in await NatsTrace(connection).events_of(message)] == [
        float(n) for n in range(150, 250)
    ]


async def test_leaving_while_nats_is_away_takes_two_seconds_at_most(
    nats: Nats, connection: Connection
) -> None:
    before = dropped()
    assert module._LAST_SECONDS == 2.0
    async with NatsEvents(connection) as events:
        nats.stop(kill=True)
        events.record(event(new_id()), event(new_id()))
        await asyncio.sleep(0.2)
        began = time.monotonic()
    assert time.monotonic() - began < module._LAST_SECONDS + BUSY_SECONDS
    assert dropped() - before == 2
    restart(nats)


async def test_what_is_no_event_is_dropped_alone(connection: Connection) -> None:
    message, before = new_id(), dropped()
    async with NatsEvents(connection) as events:
        events.record(
            event(message, 1.0, reply=object()),
            event(message, 2.0, reply="x" * 200_000),
            event(message, 3.0),
        )
        await stored(connection, 1)
    assert [each.at for each in await NatsTrace(connection).events_of(message)] == [3.0]
    assert dropped() - before == 2


async def test_an_event_that_was_stored_twice_is_shown_once_and_foreign_octets_are_passed_over(
    connection: Connection,
) -> None:
    message, other = new_id(), new_id()
    subject = EVENTS_PREFIX + slot_of(message)
    once = encode_event(event(message))
    for octets in (
        once,
        b"no event",
        f'"{message}"'.encode(),
        once,
        encode_event(event(other, by=str(message))),
    ):
        await connection.request(subject, octets)
    assert list(await NatsTrace(connection).events_of(message)) == [event(message)]


async def test_the_stream_forgets_the_oldest_and_never_refuses(nats: Nats) -> None:
    async with connect(nats_settings(nats, events_max_bytes=1_000_000), "test") as connection:
        message = new_id()
        async with NatsEvents(connection) as events:
            events.record(
                *(event(message, float(number), reply="x" * 1000) for number in range(3000))
            )
        assert (await state(connection))["bytes"] <= 1_000_000
        kept = [each.at for each in await NatsTrace(connection).events_of(message)]
        assert kept[-1] == 2999.0 and 500 < len(kept) < 1000


async def test_the_stream_is_kept_as_the_settings_say(nats: Nats) -> None:
    async with connect(nats_settings(nats, events_max_age_seconds=3600), "test") as connection:
        config = (await connection.api(f"STREAM.INFO.{EVENTS}"))["config"]
        assert (config["max_age"], config["discard"], config["storage"]) == (
            3600 * 10**9,
            "old",
            "file",
        )


async def test_lower_limits_do_not_empty_the_stream_by_themselves(nats: Nats) -> None:
    async with connect(nats_settings(nats), "test") as connection, NatsEvents(connection) as events:
        message = new_id()
        events.record(*(event(message, float(number), reply="x" * 1000) for number in range(3000)))
        await stored(connection, 3000)
        before = await state(connection)
    async with connect(nats_settings(nats, events_max_bytes=1_000_000), "test") as connection:
        assert (await state(connection))["messages"] == before["messages"]
        assert (await connection.api(f"STREAM.INFO.{EVENTS}"))["config"]["max_bytes"] == 2 * 1024**3
    async with connect(
        nats_settings(nats, events_max_bytes=1_000_000, events_trim=True), "test"
    ) as connection:
        assert (await state(connection))["bytes"] <= 1_000_000


def test_a_lower_age_is_put_off_when_much_is_older() -> None:
    second, day = 10**9, 86_400 * 10**9
    state = {"bytes": 100 * 1024**2, "first_ts": "2026-11-01T00:00:00.123456789Z"}
    info = {
        "config": {"max_bytes": -1, "max_age": 14 * day},
        "state": state,
        "ts": "2026-11-11T00:00:00.5Z",
    }
    assert limits_to_keep(info, {"max_bytes": -1, "max_age": 8 * day}) == {
        "max_bytes": -1,
        "max_age": 14 * day,
    }
    assert limits_to_keep(info, {"max_bytes": -1, "max_age": 9 * day + 3600 * second}) == {}, (
        "less than a tenth"
    )
    assert limits_to_keep(info, {"max_bytes": -1, "max_age": 14 * day}) == {}
    assert limits_to_keep(info, {"max_bytes": 50 * 1024**2, "max_age": 14 * day}) == info["config"]
    nothing = {**info, "state": {"bytes": 0, "first_ts": "0001-01-01T00:00:00Z"}}
    assert limits_to_keep(nothing, {"max_bytes": 1, "max_age": second}) == {}


async def test_a_trace_without_nats_is_unavailable(nats: Nats, connection: Connection) -> None:
    nats.stop(kill=True)
    with pytest.raises(Unavailable):
        await NatsTrace(connection).events_of(new_id())


async def test_mail_does_not_wait_for_a_stream_of_events_that_cannot_be_made(nats: Nats) -> None:
    settings = nats_settings(nats, events_max_bytes=1 << 50)  # more than the server has
    async with asyncio.timeout(BUSY_SECONDS), connect(settings, "test") as connection:
        assert EVENTS not in (await connection.api("STREAM.NAMES"))["streams"]
        async with NatsEvents(connection) as events:
            events.record(event(new_id()))
