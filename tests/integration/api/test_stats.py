"""Statistics and deliveries of webhooks, made of the stream of events: once, whoever is killed."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from prometheus_client import REGISTRY

from posthorn.adapters.nats.connection import Connection, connect
from posthorn.adapters.nats.event_log import NatsEventLog
from posthorn.adapters.nats.events import NatsEvents, NatsTrace
from posthorn.adapters.postgres.database import Database
from posthorn.adapters.postgres.events.checkpoint import PostgresEventCheckpoint
from posthorn.adapters.postgres.events.message_index import PostgresMessageIndex
from posthorn.adapters.postgres.events.statistics import PostgresStatistics
from posthorn.adapters.postgres.events.webhook_dispatch import PostgresDispatch
from posthorn.adapters.postgres.leader import Leadership
from posthorn.adapters.postgres.mailboxes.delivery import PostgresMailboxes
from posthorn.model.dmarc_evaluation import encode_evaluation, evaluation_of_refused
from posthorn.model.events import (
    ACCEPTED,
    BOUNCED,
    CANCELLED,
    DEFERRED,
    DELIVERED,
    QUEUED,
    READ,
    REFUSED,
    SHARES,
    Event,
    encode_event,
    share_of,
)
from posthorn.model.outbound import Outbound
from posthorn.model.streams import EVENTS_PREFIX
from posthorn.model.verdict import Verdict
from posthorn.ports.api_keys import Role
from posthorn.ports.errors import Unavailable
from posthorn.ports.statistics import Reading
from posthorn.runtime.brakes import Brake
from posthorn.runtime.ids import new_id
from posthorn.wire.auth.results import Authentication, Dmarc, Outcome, Policy
from posthorn_api.events import reader as stats_reader
from posthorn_api.events import shares
from posthorn_api.events.reader import EventReader
from posthorn_api.search.indexing import Indexer
from posthorn_local.embedded import Nats
from tests.support.api import Api, problem
from tests.support.builders import make_message, make_segment
from tests.support.databases import pool
from tests.support.jetstream import nats_settings
from tests.support.polling import LONG_SECONDS, until

NOON = 1_800_014_400.0
"""2027-01-15T12:00:00Z."""
SPAN = {"since": "2027-01-15T00:00:00Z", "until": "2027-01-17T00:00:00Z"}
HOST = {"host": "mx.example.org", "reply": "250 ok", "tls": "TLSv1.3"}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stats_reader, "_STAND_BY_SECONDS", 0.05)
    monkeypatch.setattr(stats_reader, "_WAIT_SECONDS", 0.1)
    monkeypatch.setattr(stats_reader, "_GATHER_SECONDS", 0.01)
    monkeypatch.setattr(stats_reader, "_FAULT_SECONDS", 0.05)


@dataclass
class Wakes:
    times: int = 0

    def wake(self) -> None:
        self.times += 1


def made_reader(
    database: Database,
    connection: Connection,
    *,
    book: Any = None,
    readers: int = 1,
    indexer: Indexer | None = None,
) -> EventReader:
    return EventReader(
        NatsEventLog(connection),
        book or PostgresEventCheckpoint(database),
        NatsTrace(connection),
        PostgresStatistics(database),
        PostgresDispatch(database),
        Wakes(),
        readers=readers,
        indexer=indexer,
    )


@asynccontextmanager
async def reading(
    database: Database, connection: Connection, *, book: Any = None
) -> AsyncIterator[None]:
    task = asyncio.create_task(made_reader(database, connection, book=book).run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_the_message_index_goes_on_where_it_stopped(api: Api, connection: Connection) -> None:
    await api.domain("acme.test")
    number = 3 * stats_reader._READ_BACK
    messages = [new_id() for _ in range(number)]
    for message in messages:
        told = {"to": ["ann@acme.test"], "reverse_path": "eve@evil.test"}
        line = encode_event(Event(message, 1.0, ACCEPTED, told))
        await connection.request(f"{EVENTS_PREFIX}1", line)
    async with pool(api.database_url) as database:
        index = PostgresMessageIndex(database)

        async def begin(hold_seconds: float) -> asyncio.Task[None]:
            indexer = Indexer(index, 1e9, hold_seconds=hold_seconds)
            return asyncio.create_task(made_reader(database, connection, indexer=indexer).run())

        async def entries() -> int:
            return int((await api.sql("SELECT count(*) FROM message_index"))[0]["count"])

        first = await begin(LONG_SECONDS)
        await place(api, number)
        first.cancel()  # holds back what it has read, as when it is killed
        await asyncio.wait([first])
        assert await entries() == 0
        second = await begin(0.0)
        try:
            await until(lambda: has_all(entries, number))
        finally:
            second.cancel()
            await asyncio.wait([second])


async def has_all(entries: Any, number: int) -> bool:
    return bool(await entries() == number)


async def happened(connection: Connection, *events: Event) -> None:
    async with NatsEvents(connection) as recorder:
        recorder.record(*events)


async def figures(api: Api, **parameters: str) -> list[tuple[Any, ...]]:
    answer = await api.client.get("/v1/stats", params={**SPAN, "limit": "500", **parameters})
    assert answer.status_code == 200, answer.text
    names = ("at", "domain", "outcome", "messages", "size_bytes")
    return [tuple(item[name] for name in names) for item in answer.json()["items"]]


async def place(api: Api, number: int) -> None:
    """Wait until that many messages of the stream are written down."""

    async def reached() -> bool:
        rows = await api.sql("SELECT messages FROM statistics WHERE outcome = 'place'")
        return any(row["messages"] >= number for row in rows)

    await until(reached, what="reading the events")


async def placed(database: Database, tenant: UUID, *recipients: Outbound, sender: str) -> UUID:
    made = make_message((), reverse_path=sender)
    made = replace(made, outbound=recipients, tenant=tenant)
    await PostgresMailboxes(database).deliver([make_segment([made])])
    return made.envelope.id


@dataclass
class Counted:
    """Statistics over a day of a tenant's mail, by the hour."""

    tenant: UUID
    size: int
    """Bytes of the message that was delivered and relayed."""
    lines: list[tuple[str, str | None, str, int, int]]


@pytest.fixture
async def counted(api: Api, database: Database, connection: Connection) -> Counted:
    tenant = await api.tenant("acme")
    await api.domain("acme.test", tenant="acme")
    await api.domain("other.test")
    message = await placed(
        database,
        tenant,
        Outbound("bob@elsewhere.test", "elsewhere.test", "a@acme.test"),
        Outbound("eve@elsewhere.test", "elsewhere.test", "a@acme.test"),
        sender="a@acme.test",
    )
    (row,) = await api.sql("SELECT size_crlf FROM messages WHERE id = $1", message)
    size = row["size_crlf"]
    told = {
        "service": "submission",
        "recipients": 3,
        "size": 700,
        "account": "a@ACME.test",
        "tenant": str(tenant),
    }
    await happened(
        connection,
        Event(message, NOON, ACCEPTED, told),
        Event(
            message,
            NOON + 1,
            DELIVERED,
            {"recipients": ["b@acme.test", "c@acme.test", "d@other.test", "e@far.test"]},
        ),
        Event(message, NOON + 2, DEFERRED, {"recipient": "bob@elsewhere.test", **HOST}),
        Event(message, NOON + 3600, DEFERRED, {"recipient": "bob@elsewhere.test", **HOST}),
        Event(message, NOON + 7200, DELIVERED, {"recipient": "bob@elsewhere.test", **HOST}),
        Event(
            message,
            NOON + 7200,
            BOUNCED,
            {"recipient": "eve@elsewhere.test", "status": "5.1.1", **HOST},
        ),
        Event(message, NOON + 7200, CANCELLED, {"recipient": "eve@elsewhere.test", "by": "key:x"}),
        Event(
            message,
            NOON + 7200,
            BOUNCED,
            {"recipient": "gone@acme.test", "host": "", "reply": "550"},
        ),
        Event(message, NOON + 86_400, ACCEPTED, {**told, "account": "key:robot"}),
        Event(new_id(), NOON, ACCEPTED, {"service": "mx", "size": 9, "recipients": 1}),
        Event(new_id(), 1e30, ACCEPTED, told),
        Event(new_id(), NOON, ACCEPTED, {**told, "tenant": "nonsense", "size": "large"}),
    )
    wanted = [
        ("2027-01-15T12:00:00Z", "acme.test", "accepted", 1, 700),
        ("2027-01-15T12:00:00Z", "acme.test", "deferred", 1, 0),
        ("2027-01-15T12:00:00Z", "acme.test", "delivered", 2, 2 * size),
        ("2027-01-15T12:00:00Z", "other.test", "delivered", 1, size),
        ("2027-01-15T13:00:00Z", "acme.test", "deferred", 1, 0),
        ("2027-01-15T14:00:00Z", "acme.test", "bounced", 2, 0),
        ("2027-01-15T14:00:00Z", "acme.test", "cancelled", 1, 0),
        ("2027-01-15T14:00:00Z", "acme.test", "relayed", 1, size),
        ("2027-01-16T12:00:00Z", None, "accepted", 1, 700),
    ]

    async def all_counted() -> bool:
        return await figures(api) == wanted

    async with reading(database, connection):
        await until(all_counted)
    return Counted(tenant, size, wanted)


async def test_events_are_counted_by_hour_domain_and_outcome(api: Api, counted: Counted) -> None:
    assert await figures(api) == counted.lines
    assert await figures(api, domain="OTHER.test") == [counted.lines[3]]
    assert await figures(api, until="2027-01-15T13:00:00Z") == counted.lines[:4]


async def test_attempts_are_counted_by_route_and_soon_forgotten(
    api: Api, database: Database, connection: Connection
) -> None:
    await api.client.put("/v1/routes/*", json={"host": "smart.test"})
    now = datetime.now(UTC).timestamp()
    await happened(
        connection,
        *(
            Event(new_id(), at, kind, {"recipient": "bob@far.test", **HOST, "route": "*"})
            for at, kind in (
                (now, DELIVERED),
                (now, DELIVERED),
                (now, DEFERRED),
                (now, BOUNCED),
                (now - 6800, DELIVERED),
                (now - 8000, DELIVERED),
            )
        ),
        Event(new_id(), now, DELIVERED, {"recipient": "bob@far.test", **HOST}),
    )

    async def all_counted() -> bool:
        route = (await api.client.get("/v1/routes/*")).json()
        return bool(route["last_hour"] == {"delivered": 2, "deferred": 1, "refused": 1})

    async with reading(database, connection):
        await until(all_counted)
    assert await figures(api) == [], "they are nobody's statistics"
    await PostgresStatistics(database).forget(400)
    rows = await api.sql("SELECT sum(messages) AS number FROM statistics WHERE domain = '*'")
    assert rows[0]["number"] == 5


async def test_hours_are_added_up_to_days(api: Api, counted: Counted) -> None:
    assert await figures(api, by="day", domain="acme.test") == [
        ("2027-01-15T00:00:00Z", "acme.test", "accepted", 1, 700),
        ("2027-01-15T00:00:00Z", "acme.test", "bounced", 2, 0),
        ("2027-01-15T00:00:00Z", "acme.test", "cancelled", 1, 0),
        ("2027-01-15T00:00:00Z", "acme.test", "deferred", 2, 0),
        ("2027-01-15T00:00:00Z", "acme.test", "delivered", 2, 2 * counted.size),
        ("2027-01-15T00:00:00Z", "acme.test", "relayed", 1, counted.size),
    ]


async def test_statistics_come_in_pages(api: Api, counted: Counted) -> None:
    paged: list[Any] = []
    cursor: dict[str, str] = {}
    while True:
        answer = (await api.client.get("/v1/stats", params={**SPAN, "limit": "2", **cursor})).json()
        paged += [(item["at"], item["domain"], item["outcome"]) for item in answer["items"]]
        if answer["next_cursor"] is None:
            break
        cursor = {"cursor": answer["next_cursor"]}
    assert paged == [line[:3] for line in counted.lines]


async def test_a_tenant_sees_its_own_statistics_alone(api: Api, counted: Counted) -> None:
    headers = await api.key(Role.READ_ONLY, counted.tenant)
    answer = await api.client.get("/v1/stats", params=SPAN, headers=headers)
    assert {item["domain"] for item in answer.json()["items"]} == {"acme.test", None}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("since", "2020-01-01T00:00:00Z"),
        ("since", "2028-01-01T00:00:00Z"),
        ("since", "0001-01-01T00:00:00+14:00"),
        ("cursor", "WzEsICJub25zZW5zZSJd"),
    ],
)
async def test_a_span_or_cursor_that_makes_no_sense_is_refused(
    api: Api, field: str, value: str
) -> None:
    problem(await api.client.get("/v1/stats", params={**SPAN, field: value}), 422, "invalid", field)


async def test_a_batch_counts_once_whoever_is_killed(
    api: Api, database: Database, connection: Connection
) -> None:
    tenant = await api.tenant("acme")
    await hook_row(api, tenant)
    told = {"size": 1, "account": "a@acme.test", "tenant": str(tenant)}
    total = 300

    class Faulty(PostgresEventCheckpoint):
        """Fails before or after it has written, now and then."""

        times = 0

        async def write(self, *values: Any) -> bool:
            Faulty.times += 1
            if Faulty.times % 3 == 1:
                raise Unavailable("postgres", "lost before")
            done = await super().write(*values)
            if Faulty.times % 3 == 2:
                raise Unavailable("postgres", "lost after")
            return done

    async def write_down() -> None:
        for number in range(total):
            event = Event(new_id(), NOON + number / 1000, ACCEPTED, told)
            await connection.request(f"{EVENTS_PREFIX}1", encode_event(event))
            await asyncio.sleep(0.005)

    async def all_counted() -> bool:
        rows = await api.sql(
            "SELECT sum(messages) AS messages FROM statistics WHERE outcome = 'accepted'"
        )
        return (rows[0]["messages"] or 0) >= total

    writing = asyncio.create_task(write_down())
    life = 0.3
    async with asyncio.timeout(120):
        while not await all_counted():
            async with (
                reading(database, connection, book=Faulty(database)),
                reading(database, connection),
            ):
                await asyncio.sleep(life)  # then both are cancelled, wherever they are
            life *= 1.2  # on a busy machine the first ones end before they have read anything
    await writing
    (row,) = await api.sql(
        "SELECT sum(messages) AS messages FROM statistics WHERE outcome = 'accepted'"
    )
    assert row["messages"] == total
    (row,) = await api.sql("SELECT count(*) AS number FROM webhook_deliveries")
    assert row["number"] == total


async def test_several_readers_share_the_events_and_take_over_from_each_other(
    api: Api, database: Database, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stats_reader, "_RENEW_SECONDS", 0.05)
    tenant = await api.tenant("acme")
    told = {"size": 1, "account": "a@acme.test", "tenant": str(tenant)}
    readers = [made_reader(database, connection, readers=2) for _ in range(3)]
    tasks = [asyncio.create_task(each.run()) for each in readers]

    async def number() -> int:
        return sum(line[3] for line in await figures(api))

    async def is_shared() -> bool:
        return sorted(len(each.shares) for each in readers) == [0, SHARES // 2, SHARES // 2]

    async def are_counted() -> bool:
        return await number() == 200

    await until(is_shared, what="an equal part each, and one that stands by")
    parts = [each.shares for each in readers if each.shares]
    assert parts[0] | parts[1] == set(range(SHARES))
    assert sum(each.leads for each in readers) == 1
    events = [encode_event(Event(new_id(), NOON, ACCEPTED, told)) for _ in range(200)]
    for some in itertools.batched(events, 50, strict=True):
        await connection.request(f"{EVENTS_PREFIX}1", b"\n".join(some))
        await connection.request(f"{EVENTS_PREFIX}1", b"\n".join(reversed(some)))  # a repeat
    await until(are_counted, what="all events")

    gone = next(number for number, each in enumerate(readers) if each.shares)
    tasks[gone].cancel()
    await asyncio.wait([tasks[gone]])
    await until(is_shared, what="the third takes the part of the first")
    rest = [Event(new_id(), NOON, ACCEPTED, told) for _ in range(100)]
    monkeypatch.setattr(shares, "_ABANDONED_SECONDS", 0.05)
    other = next(number for number, each in enumerate(readers) if each.shares)
    tasks[other].cancel()
    await asyncio.wait([tasks[other]])
    await happened(connection, *rest)

    async def all_are_counted() -> bool:
        return await number() == 300

    await until(all_are_counted, what="what nobody takes, by the last one")
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def test_an_earlier_release_and_this_one_continue_where_the_other_stopped(
    api: Api, database: Database
) -> None:
    """Releases without shares have one position, and leave the column ``octets`` alone."""
    stream = datetime(2027, 1, 15, tzinfo=UTC)
    checkpoint = PostgresEventCheckpoint(database)
    await api.sql(
        "INSERT INTO statistics (tenant_id, domain, hour, outcome, messages)"
        " VALUES ($1, '', $2, 'place', 70)",
        *(UUID(int=0), stream),
    )
    assert await checkpoint.positions(stream) == [70] * SHARES
    assert await checkpoint.write(stream, {0: 70, 3: 70}, {0: 75, 3: 90}, {}, ())
    assert not await checkpoint.write(stream, {0: 75, 3: 70}, {0: 80, 3: 95}, {}, ())
    assert await checkpoint.positions(stream) == [75, 70, 70, 90, *[70] * (SHARES - 4)]
    await api.sql("UPDATE statistics SET messages = 99 WHERE outcome = 'place'")
    assert not await checkpoint.write(stream, {0: 99}, {0: 100}, {}, ())
    assert await checkpoint.positions(stream) == [99] * SHARES


async def test_with_one_reader_a_process_reads_nothing_beside_an_earlier_release(
    api: Api, database: Database, connection: Connection
) -> None:
    earlier = Leadership(database, "events", new_id())
    assert await earlier.lead(60)
    reader = made_reader(database, connection)
    async with asyncio.timeout(60):
        task = asyncio.create_task(reader.run())
        await asyncio.sleep(0.3)
        assert (reader.shares, await api.sql("SELECT FROM statistics")) == (frozenset(), [])
        await earlier.resign()
        while len(reader.shares) < SHARES:
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait([task])


async def test_two_readers_of_one_batch_write_it_once(
    api: Api, database: Database, connection: Connection
) -> None:
    tenant = await api.tenant("acme")
    event = encode_event(
        Event(new_id(), NOON, ACCEPTED, {"size": 1, "account": "a@a.test", "tenant": str(tenant)})
    )
    stream, last = await NatsEventLog(connection).extent()
    await PostgresEventCheckpoint(database).positions(stream)
    assert last == 0
    batch = Reading([(1, event)], 1)
    readers = [made_reader(database, connection) for _ in range(4)]
    before = dict.fromkeys(range(SHARES), 0)
    taken = await asyncio.gather(*(each.take(stream, before, batch) for each in readers))
    (positions,) = [each for each in taken if each is not None]
    share = share_of(event)
    assert positions == {**before, 0: 1, share: 1}, "the others had nothing"
    assert await PostgresEventCheckpoint(database).positions(stream) == list(positions.values())
    assert [line[3] for line in await figures(api)] == [1]


async def test_what_a_recorder_sends_again_counts_once(
    api: Api, database: Database, connection: Connection
) -> None:
    tenant = await api.tenant("acme")
    await hook_row(api, tenant)
    told = {"size": 1, "account": "a@acme.test", "tenant": str(tenant)}
    events = [encode_event(Event(new_id(), NOON + number, ACCEPTED, told)) for number in range(4)]

    async def publish(*lines: bytes) -> None:
        await connection.request(f"{EVENTS_PREFIX}1", b"\n".join(lines))

    await publish(*events[:3])
    async with reading(database, connection):
        await place(api, 1)
    await publish(*events[1:])  # in another bundle, to another reader
    async with reading(database, connection):
        await place(api, 2)
    assert [line[3] for line in await figures(api)] == [4]
    (row,) = await api.sql("SELECT count(*) AS number FROM webhook_deliveries")
    assert row["number"] == 4


async def test_refused_messages_are_counted_once_for_the_report_to_their_author(
    api: Api, database: Database, connection: Connection
) -> None:
    dmarc = Dmarc(
        Outcome.FAIL,
        "bank.test",
        record_domain="bank.test",
        published=Policy.REJECT,
        applied=Policy.REJECT,
        report_to=("dmarc@bank.test",),
        record="v=DMARC1; p=reject; rua=mailto:dmarc@bank.test",
    )
    found = evaluation_of_refused(
        Verdict(1.0, Authentication(dmarc=dmarc)), "192.0.2.7", "a@b.test"
    )
    assert found is not None
    about: dict[str, Any] = {"recipients": ["a@acme.test"], "dmarc": encode_evaluation(found)}
    final, later = about | {"reply": "550 5.7.26 no"}, about | {"reply": "451 4.3.0 later"}
    good = [encode_event(Event(new_id(), NOON, REFUSED, final)) for _ in range(2)]
    odd = [
        Event(new_id(), NOON, REFUSED, final | {"dmarc": document})
        for document in (
            1,
            {"domain": "a.test", "record": "x", "facts": {"ip": float("nan")}},
            {
                "domain": "bank.test",
                "record": "\0",
                "facts": about["dmarc"]["facts"] | {"ip": "\0"},
            },
        )
    ]
    await connection.request(f"{EVENTS_PREFIX}1", b"\n".join(good))
    await connection.request(f"{EVENTS_PREFIX}1", b"\n".join(good))  # the recorder's repeat
    rest = [encode_event(each) for each in (Event(new_id(), NOON, REFUSED, later), *odd)]
    await connection.request(f"{EVENTS_PREFIX}1", b"\n".join(rest))
    async with reading(database, connection), reading(database, connection):
        await place(api, 3)
    rows = await api.sql(
        "SELECT domain, record, facts, messages FROM dmarc_evaluations ORDER BY messages DESC"
    )
    first, *others = [(row["domain"], row["record"], row["messages"]) for row in rows]
    assert first == ("bank.test", dmarc.record, 2)
    assert json.loads(rows[0]["facts"])["disposition"] == "reject"
    assert others == [("bank.test", "?", 1)], "what cannot be stored is cleaned"


async def test_what_does_not_read_stops_nothing(
    api: Api, database: Database, connection: Connection
) -> None:
    tenant = await api.tenant("acme")
    await hook_row(api, tenant)
    strange = {
        "size": 1,
        "account": "a\0@\ud800.test",
        "tenant": str(tenant),
        "reply": "a\0b\ud800",
        "n": float("nan"),
    }
    await connection.request(f"{EVENTS_PREFIX}1", b'nonsense\n{"message": 1}\n\xff')
    await happened(connection, Event(new_id(), NOON, ACCEPTED, strange))
    async with reading(database, connection):
        await place(api, 2)
    assert [line[3] for line in await figures(api)] == [1]
    (row,) = await api.sql("SELECT event->'data'->>'reply' AS reply FROM webhook_deliveries")
    assert row["reply"] == "ab\ufffd"


async def test_a_stream_that_was_lost_is_read_from_its_beginning(
    api: Api, nats: Nats, database: Database
) -> None:
    tenant = await api.tenant("acme")
    told = {"size": 1, "account": "a@acme.test", "tenant": str(tenant)}
    async with connect(nats_settings(nats), "api") as connection:
        await happened(connection, *(Event(new_id(), NOON, ACCEPTED, told) for _ in range(3)))
        async with reading(database, connection):
            await place(api, 1)
            await connection.api("STREAM.DELETE.EVENTS")
            connection.check_soon()

            async def is_there() -> bool:
                try:
                    return (await NatsEventLog(connection).extent())[1] == 0
                except Unavailable:
                    return False

            await until(is_there)
            await happened(connection, Event(new_id(), NOON, ACCEPTED, told))

            async def counted() -> bool:
                return [line[3] for line in await figures(api)] == [4]

            await until(counted)
    rows = await api.sql("SELECT messages FROM statistics WHERE outcome = 'place'")
    assert [row["messages"] for row in rows] == [1]


async def test_old_statistics_are_forgotten(api: Api, database: Database) -> None:
    tenant = await api.tenant("acme")
    await api.sql(
        "INSERT INTO statistics (tenant_id, domain, hour, outcome, messages)"
        " SELECT $1, 'acme.test', now() - age, 'accepted', 1 FROM unnest(ARRAY[interval '1 day', interval '401 days']) AS age",
        tenant,
    )
    assert await PostgresStatistics(database).forget(400) == 1
    assert len(await api.sql("SELECT FROM statistics")) == 1


async def test_statistics_are_forgotten_a_bounded_share_at_a_time(
    api: Api, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "posthorn.adapters.postgres.events.statistics._BRAKE", Brake("statistics", 0.2, 3)
    )
    tenant = await api.tenant("acme")
    await api.sql(
        "INSERT INTO statistics (tenant_id, domain, hour, outcome, messages)"
        " SELECT $1, 'acme.test', now() - make_interval(days => n), 'accepted', 1 FROM generate_series(401, 420) AS n",
        tenant,
    )
    statistics = PostgresStatistics(database)
    assert await statistics.forget(400) == 4
    assert REGISTRY.get_sample_value("posthorn_brake_holding", {"brake": "statistics"}) == 1
    while await statistics.forget(400):
        pass
    assert not await api.sql("SELECT FROM statistics")
    assert REGISTRY.get_sample_value("posthorn_brake_holding", {"brake": "statistics"}) == 0


async def hook_row(
    api: Api, tenant: UUID | None, *, events: Sequence[str] = ("*",), domain: str | None = None
) -> UUID:
    """A webhook that was made before all events of these tests."""
    number = new_id()
    await api.sql(
        "INSERT INTO webhooks (id, tenant_id, url, secret, events, domain, created_at)"
        " VALUES ($1, $2, 'https://h.example.org/', '', $3, $4, '2020-01-01')",
        *(number, tenant, list(events), domain),
    )
    return number


async def test_a_webhook_is_told_what_its_tenant_may_see_and_asked_for(
    api: Api, database: Database, connection: Connection
) -> None:
    ours, theirs = await api.tenant("ours"), await api.tenant("theirs")
    for name in ("ours", "theirs"):
        await api.domain(f"{name}.test", tenant=name)
    hooks = {
        "platform": await hook_row(api, None),
        "ours": await hook_row(api, ours),
        "theirs": await hook_row(api, theirs),
        "bounces": await hook_row(api, ours, events=["bounced"]),
        "domain": await hook_row(api, ours, domain="second.test"),
    }
    late = new_id()
    await api.sql(
        "INSERT INTO webhooks (id, url, secret, events, created_at) VALUES ($1, 'https://l.test/', '', '{*}', '2030-01-01')",
        late,
    )
    paused = await hook_row(api, ours)
    await api.sql("UPDATE webhooks SET state = 'paused' WHERE id = $1", paused)
    made = make_message((), reverse_path="a@ours.test")
    sent = made.envelope.id
    direct = Outbound("bob@elsewhere.test", "elsewhere.test", "a@ours.test")
    await PostgresMailboxes(database).deliver(
        [make_segment([replace(made, outbound=(direct,), tenant=ours)])]
    )
    forward = replace(
        direct, recipient="secret@far.test", original="team@theirs.test", tenant=theirs
    )
    await api.sql(
        "INSERT INTO outbound_recipients (message_id, tenant_id, destination, recipient, address, sender, reverse_path, original,"
        " orcpt, notify, state, due_at, overdue_at, expires_at) VALUES ($1, $2, 'far.test', $3, $3, 'a@ours.test',"
        " 'a@ours.test', $4, '', 0, 'queued', now(), now(), now())",
        *(sent, theirs, forward.recipient, forward.original),
    )
    stranger = new_id()
    await happened(
        connection,
        Event(sent, NOON, ACCEPTED, {"account": "a@ours.test", "tenant": str(ours)}),
        Event(sent, NOON + 1, QUEUED, {"recipients": ["bob@elsewhere.test", "team@theirs.test"]}),
        Event(sent, NOON + 2, BOUNCED, {"recipient": "bob@elsewhere.test", **HOST}),
        Event(
            sent,
            NOON + 3,
            DELIVERED,
            {"recipient": "secret@far.test", "original": "team@theirs.test", **HOST},
        ),
        Event(stranger, NOON, ACCEPTED, {"service": "mx", "size": 5}),
        Event(stranger, NOON + 1, DELIVERED, {"recipients": ["x@ours.test", "y@theirs.test"]}),
        Event(stranger, NOON + 2, READ, {"account": "x@ours.test", "tenant": str(ours)}),
    )
    async with reading(database, connection):

        async def is_told() -> bool:
            (row,) = await api.sql("SELECT count(*) AS number FROM webhook_deliveries")
            return bool(row["number"] >= 16)

        await until(is_told)
        rows = await api.sql(
            "SELECT webhook_id, event_type, event->'data'->>'message' AS message,"
            " coalesce(event->'data'->>'recipient', event->'data'->>'recipients') AS who, event->'data'->>'host' AS host"
            " FROM webhook_deliveries"
        )
    heard = {
        name: sorted(
            (
                "sent" if row["message"] == str(sent) else "stranger",
                row["event_type"],
                row["who"],
                row["host"],
            )
            for row in rows
            if row["webhook_id"] == number
        )
        for name, number in hooks.items()
    }
    heard = {name: sorted(lines, key=str) for name, lines in heard.items()}
    host = HOST["host"]
    assert len(heard["platform"]) == 7
    assert heard["ours"] == sorted(
        [
            ("sent", "accepted", None, None),
            ("sent", "queued", '["bob@elsewhere.test", "team@theirs.test"]', None),
            ("sent", "bounced", "bob@elsewhere.test", host),
            ("sent", "delivered", "team@theirs.test", None),
            ("stranger", "delivered", '["x@ours.test"]', None),
            ("stranger", "read", None, None),
        ],
        key=str,
    )
    assert heard["theirs"] == sorted(
        [
            ("sent", "delivered", "secret@far.test", host),
            ("stranger", "delivered", '["y@theirs.test"]', None),
        ],
        key=str,
    )
    assert heard["bounces"] == [("sent", "bounced", "bob@elsewhere.test", host)]
    assert heard["domain"] == []
    assert {row["webhook_id"] for row in rows} <= set(hooks.values())


async def test_a_new_reader_asks_the_trace_whose_a_message_is(
    api: Api, database: Database, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stats_reader, "_READ_BACK", 0)
    ours = await api.tenant("ours")
    webhook = await hook_row(api, ours)
    message = new_id()
    await happened(
        connection, Event(message, NOON, ACCEPTED, {"account": "a@ours.test", "tenant": str(ours)})
    )
    async with reading(database, connection):
        await place(api, 1)
    await happened(connection, Event(message, NOON + 9, DELIVERED, {"recipients": ["z@far.test"]}))
    async with reading(database, connection):
        await place(api, 2)
    rows = await api.sql(
        "SELECT event_type FROM webhook_deliveries WHERE webhook_id = $1 ORDER BY id", webhook
    )
    assert [row["event_type"] for row in rows] == ["accepted", "delivered"]


async def test_where_nobody_listens_nothing_is_entered(
    api: Api, database: Database, connection: Connection
) -> None:
    tenant = await api.tenant("acme")
    await hook_row(api, tenant)
    await api.sql("UPDATE tenants SET state = 'suspended' WHERE id = $1", tenant)
    await happened(
        connection, Event(new_id(), NOON, ACCEPTED, {"account": "a@a.test", "tenant": str(tenant)})
    )
    async with reading(database, connection):
        await place(api, 1)
    assert await api.sql("SELECT FROM webhook_deliveries") == []
