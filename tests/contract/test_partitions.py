"""Partitions of INGEST (ADR 48): publishers divide messages among them, delivery reads all that
exist, and nothing is lost or doubled while their number changes or one of them is away."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
from nats import connect as connect_library
from nats.aio.msg import Msg

from posthorn.adapters.nats import ingest_consumer
from posthorn.adapters.nats.connection import Connection, connect
from posthorn.adapters.nats.dead_letters import NatsDeadLetters
from posthorn.adapters.nats.errors import Denied
from posthorn.adapters.nats.ingest import NatsIngest
from posthorn.adapters.nats.ingest_backlog import measure_backlog
from posthorn.adapters.nats.ingest_consumer import NatsIngestSource
from posthorn.adapters.nats.ingest_lane import LARGEST_BYTES, Share
from posthorn.adapters.nats.layout import ensure_layout
from posthorn.adapters.nats.partitions import list_partitions
from posthorn.adapters.nats.strays import NatsStrays
from posthorn.adapters.nats.unscanned import NatsScannedLane, NatsUnscanned
from posthorn.adapters.nats.unscanned_count import NatsUnscannedCount
from posthorn.model.envelope import Envelope, decode_record, encode_record
from posthorn.model.frame import encode_frame
from posthorn.model.streams import (
    FRAMES_CONSUMER,
    INGEST_CONSUMER,
    RETRY_CONSUMER,
    UNSCANNED_CONSUMER,
    in_partition,
    ingest_stream,
    messages_under,
)
from posthorn.ports.errors import Full, Unavailable
from posthorn.ports.ingest import Delivery
from posthorn_local.embedded import Nats
from tests.support.builders import make_envelope
from tests.support.delivery_env import delivery_env
from tests.support.jetstream import nats_settings, take
from tests.support.polling import BUSY_SECONDS, until

BODY = b"Subject: hello\r\n\r\nworld\r\n"


class Opened:
    """Connections to one server, with a number of partitions each."""

    def __init__(self, nats: Nats, stack: AsyncExitStack) -> None:
        self._nats, self._stack = nats, stack

    async def __call__(self, partitions: int, part: str = "", **settings: int) -> Connection:
        url = self._nats.url_of(part) if part else self._nats.url
        made = nats_settings(self._nats, nats_url=url, ingest_partitions=partitions, **settings)
        return await self._stack.enter_async_context(connect(made, part or "test"))


@pytest.fixture
async def opened(nats: Nats) -> AsyncIterator[Opened]:
    async with AsyncExitStack() as stack:
        yield Opened(nats, stack)


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(ingest_consumer, "LOOK_SECONDS", 0.05)
    yield


async def stream_messages(connection: Connection) -> dict[str, int]:
    """Stream messages by partition's stream."""
    found = {}
    for partition in await list_partitions(connection):
        stream = ingest_stream(partition)
        found[stream] = (await connection.api(f"STREAM.INFO.{stream}"))["state"]["messages"]
    return found


def identity(delivery: Delivery) -> UUID:
    return decode_record(delivery.octets).envelope.id


async def accept(into: NatsIngest, number: int, *, at_once: int = 1) -> list[UUID]:
    """Accept so many messages, so many at a time; return their ids."""
    sent = [make_envelope(BODY) for _ in range(number)]
    waiting = iter(sent)

    async def sender() -> None:
        for each in waiting:
            await into.accept(each, BODY)

    await asyncio.gather(*(sender() for _ in range(at_once)))
    return [each.id for each in sent]


async def nothing_left(connection: Connection) -> None:
    async def empty() -> bool:
        return (await measure_backlog(connection)).messages == 0

    await until(empty, what="the partitions' becoming empty")


async def test_one_partition_is_ingest_as_it_always_was(opened: Opened) -> None:
    connection = await opened(1)
    assert await list_partitions(connection) == (0,)
    await accept(NatsIngest(connection), 30, at_once=30)
    assert await stream_messages(connection) == {"INGEST": 2}
    info = await connection.api("STREAM.INFO.INGEST")
    assert info["config"]["max_bytes"] == connection.settings.ingest_max_bytes
    assert info["config"]["subjects"] == ["ingest.*", "retry.*", "unscanned.*", "frames.*.*"]


async def test_publishes_are_divided_and_all_partitions_are_read_as_one(opened: Opened) -> None:
    connection = await opened(3)
    sent = await accept(NatsIngest(connection), 60)
    assert await stream_messages(connection) == {"INGEST": 20, "INGEST_1": 20, "INGEST_2": 20}
    sent += await accept(NatsIngest(connection), 200, at_once=200)  # frames
    backlog = await measure_backlog(connection)
    assert backlog.messages == 260 == sum(each.messages for each in backlog.partitions.values())
    assert backlog.octets == sum(each.octets for each in backlog.partitions.values())
    assert min(each.messages for each in backlog.partitions.values()) > 20
    assert len([each for each in backlog.partitions.values() if each.messages > 24]) > 1
    async with NatsIngestSource(connection) as source:
        taken = await take(source, 260)
        assert Counter(map(identity, taken)) == Counter(sent)
        assert {each.attempt for each in taken} == {1}
        await source.probe()
        for each in taken:
            await each.ack()
        await nothing_left(connection)


async def test_the_byte_limit_is_divided_and_lowering_it_removes_nothing(opened: Opened) -> None:
    body = b"x" * 50_000
    one = await opened(1, ingest_max_bytes=4_000_000)
    for _ in range(40):  # 2 MB, more than the half of a half
        await NatsIngest(one).accept(make_envelope(body), body)
    four = await opened(4, ingest_max_bytes=4_000_000)

    async def limits(connection: Connection) -> list[int]:
        return [
            (await connection.api(f"STREAM.INFO.{ingest_stream(each)}"))["config"]["max_bytes"]
            for each in await list_partitions(connection)
        ]

    assert await limits(four) == [1_000_000] * 4
    assert (await measure_backlog(four)).messages == 40
    into = NatsIngest(four)
    for _ in range(30):  # the first one takes none of them
        await into.accept(make_envelope(body), body)
    assert (await stream_messages(four))["INGEST"] == 40
    with pytest.raises(Full):
        for _ in range(60):
            await into.accept(make_envelope(body), body)
    with pytest.raises(Full):
        await into.probe()
    kept = (await measure_backlog(four)).messages
    again = await opened(2, ingest_max_bytes=4_000_000)
    assert await limits(again) == [2_000_000] * 2 + [8 * 1024**2] * 2
    assert (await measure_backlog(again)).messages == kept


async def test_each_partition_has_all_lanes_and_what_is_put_aside_stays_in_it(
    opened: Opened,
) -> None:
    connection = await opened(2)
    names = (await connection.api("CONSUMER.NAMES.INGEST_1"))["consumers"]
    assert sorted(names) == sorted(
        [INGEST_CONSUMER, RETRY_CONSUMER, FRAMES_CONSUMER, UNSCANNED_CONSUMER]
    )
    sent = [make_envelope(BODY) for _ in range(3)]
    await connection.request("partition.1.retry.mx", encode_record(make_envelope(BODY), BODY))
    before = datetime.now(UTC)
    frame = encode_frame([encode_record(each, BODY) for each in sent])
    await connection.request("partition.1.frames.mx.3", frame)
    backlog = await measure_backlog(connection)
    assert (backlog.messages, backlog.retrying) == (4, 1)
    assert backlog.oldest is not None
    assert backlog.oldest_first is not None
    assert backlog.oldest < before <= backlog.oldest_first
    async with (
        NatsIngestSource(connection) as source,
        NatsIngestSource(connection, RETRY_CONSUMER, messages=16, max_bytes=0) as retries,
    ):
        taken = await take(source, 3)
        assert {each.subject for each in taken} == {"partition.1.ingest.mx"}
        await taken[1].set_aside()
        for each in taken:
            await each.ack()
        again = await take(retries, 2)
        assert {each.subject for each in again} == {"partition.1.retry.mx"}
        assert identity(taken[1]) in map(identity, again)
        for each in again:
            await each.ack()
        await nothing_left(connection)


async def test_what_waits_to_be_scanned_stays_in_its_partition(opened: Opened) -> None:
    connection = await opened(3)
    into = NatsIngest(connection)
    sent = [make_envelope(BODY) for _ in range(6)]
    for each in sent:
        await into.accept(each, BODY, unscanned=True)
    assert set((await stream_messages(connection)).values()) == {2}
    assert await NatsUnscannedCount(connection).unscanned() == 6
    unscanned = NatsUnscanned(connection)
    assert (await unscanned.backlog()).messages == 6
    async with NatsIngestSource(connection, UNSCANNED_CONSUMER, messages=32, max_bytes=0) as lane:
        judged, *_ = await take(lane, 6)
        subject = judged.subject.replace("unscanned", "ingest")
        envelope = decode_record(judged.octets).envelope
        for _ in range(2):  # known by its id
            await NatsScannedLane(connection).publish(judged.subject, envelope, BODY)
        await judged.ack()
    waiting = await unscanned.stored_before(datetime.now(UTC), 100)
    assert len(waiting) == 5
    assert len(await unscanned.stored_before(datetime.now(UTC), 4)) == 4
    for message in waiting:
        await unscanned.move(
            message, message.octets, str(decode_record(message.octets).envelope.id)
        )
    assert await unscanned.stored_before(datetime.now(UTC), 100) == []
    assert set((await stream_messages(connection)).values()) == {2}
    async with NatsIngestSource(connection) as source:
        taken = await take(source, 6)
        assert {identity(each) for each in taken} == {each.id for each in sent}
        assert subject in {each.subject for each in taken}


async def test_strays_are_found_in_every_partition(opened: Opened) -> None:
    connection = await opened(2)
    strays = NatsStrays(connection)
    for partition in (0, 1):
        stream = ingest_stream(partition)
        await connection.api(f"CONSUMER.DELETE.{stream}.{INGEST_CONSUMER}")
        elsewhere = {
            "name": INGEST_CONSUMER,
            "durable_name": INGEST_CONSUMER,
            "filter_subject": in_partition("ingest.none", partition),
            "ack_policy": "explicit",
            "deliver_policy": "all",
        }
        await connection.api(
            f"CONSUMER.CREATE.{stream}.{INGEST_CONSUMER}",
            {"stream_name": stream, "config": elsewhere},
        )
        for _ in range(2):
            record = encode_record(make_envelope(BODY), BODY)
            await connection.request(in_partition("ingest.mx", partition), record)
    found = await strays.find(100)
    assert [each.subject for each in found] == ["ingest.mx"] * 2 + ["partition.1.ingest.mx"] * 2
    assert len(await strays.find(3)) == 3
    for each in found:
        await each.ack()
    assert set((await stream_messages(connection)).values()) == {0}


async def test_what_returns_from_dead_goes_to_the_first_partition(opened: Opened) -> None:
    connection = await opened(2)
    dead = NatsDeadLetters(connection)
    await dead.park(b"record", "id", "reason", "partition.1.ingest.submission")
    (parked,) = await dead.parked(0, 10)
    assert await dead.retry(parked.sequence)
    async with NatsIngestSource(connection) as source:
        (again,) = await take(source, 1)
        assert (again.subject, again.octets) == ("ingest.submission", b"record")


async def test_the_number_goes_up_and_down_under_load(opened: Opened) -> None:
    """Delivery, whose settings say one, reads all; the publishers disagree for a while."""
    reader = await opened(1)
    got: Counter[UUID] = Counter()
    async with NatsIngestSource(reader) as source:

        async def deliver() -> None:
            while True:
                for each in await source.take(512, 1 << 24):
                    got[identity(each)] += 1
                    await each.ack()

        delivering = asyncio.create_task(deliver())
        first, wide = NatsIngest(reader), NatsIngest(await opened(4))
        narrow = NatsIngest(await opened(2))
        sent = await accept(first, 50, at_once=5)
        for each in await asyncio.gather(
            accept(first, 150, at_once=10), accept(wide, 300, at_once=10)
        ):
            sent += each
        assert await list_partitions(reader) == (0, 1, 2, 3)
        for each in await asyncio.gather(
            accept(narrow, 200, at_once=10), accept(wide, 100, at_once=5)
        ):
            sent += each
        sent += await accept(first, 50, at_once=5)
        await until(lambda: len(got) == len(sent), what="the messages of all partitions")
        await nothing_left(reader)
        delivering.cancel()
    assert got == Counter(sent)


async def test_partitions_that_do_not_exist_yet_are_passed_over(opened: Opened) -> None:
    """As while smtp-in has the new number and delivery the old one."""
    await opened(1)
    early = await opened(8, "smtp-in")
    into = NatsIngest(early, timeout=BUSY_SECONDS)
    sent = await accept(into, 100, at_once=20)
    await into.probe()
    reader = await opened(1)
    assert (await measure_backlog(reader)).messages == 100
    assert len(await stream_messages(reader)) == 1
    async with NatsIngestSource(reader) as source:
        assert Counter(map(identity, await take(source, 100))) == Counter(sent)


async def test_with_the_users_of_a_release_before_there_is_one_partition(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = await opened(3)
    relay = await opened(3, "relay")
    with pytest.raises(Denied):
        await relay.request("$JS.API.STREAM.NAMES", timeout=None)
    assert await list_partitions(relay) == (0,)
    monkeypatch.setattr(
        "posthorn.adapters.nats.ingest_publish.in_partition",
        lambda subject, partition: f"denied.{partition}.{subject}" if partition else subject,
    )
    into = NatsIngest(await opened(3, "smtp-in"), timeout=BUSY_SECONDS)
    await accept(into, 60, at_once=20)
    assert await stream_messages(keeper) | {"INGEST": 0} == dict.fromkeys(
        ("INGEST", "INGEST_1", "INGEST_2"), 0
    )
    assert (await measure_backlog(keeper)).messages == 60


async def test_a_removed_partition_costs_no_sender_a_fault_and_comes_again(
    opened: Opened,
) -> None:
    keeper = await opened(3)
    mx = await opened(3, "smtp-in")
    into = NatsIngest(mx, timeout=BUSY_SECONDS)
    async with NatsIngestSource(keeper) as source:
        await until(lambda: len(source._lanes) == 6, what="the lanes")
        await keeper.api("STREAM.DELETE.INGEST_2")
        sent = await accept(into, 100, at_once=20)
        taken = await take(source, 100)
        assert Counter(map(identity, taken)) == Counter(sent)
        await ensure_layout(keeper, keeper.settings)
        assert await list_partitions(keeper) == (0, 1, 2)


async def test_senders_get_a_fault_only_when_no_partition_exists(
    nats: Nats, opened: Opened
) -> None:
    async with connect(nats_settings(nats, ingest_partitions=2), "keeper"):
        pass
    mx = await opened(2, "smtp-in")
    into = NatsIngest(mx, timeout=BUSY_SECONDS)
    client = await connect_library(nats.url)  # of no process that would create them again
    for stream, faults in (("INGEST", False), ("INGEST_1", True)):
        assert await client.jetstream().delete_stream(stream)
        if not faults:
            await accept(into, 10)
            await into.probe()
            await opened(2, "smtp-in")  # a process that starts now waits for none
            continue
        with pytest.raises(Unavailable):
            await accept(into, 1)
        with pytest.raises(Unavailable):
            await into.probe()
    await client.close()
    keeper = await opened(2)
    sent = await accept(into, 30)
    async with NatsIngestSource(keeper) as source:
        assert {identity(each) for each in await take(source, 30)} == set(sent)


async def test_what_a_silent_partition_has_got_goes_to_no_other_and_the_rest_does(
    opened: Opened,
) -> None:
    keeper = await opened(3)
    mx = await opened(3, "smtp-in")
    await keeper.api("STREAM.DELETE.INGEST_1")
    got: list[tuple[str, str]] = []

    async def swallow(message: Msg) -> None:
        got.append((message.subject, (message.headers or {})["Nats-Msg-Id"]))

    silent = await keeper.subscribe("partition.1.>", swallow)
    for _ in range(2):  # the library's first ping may overtake
        await keeper.client.flush()
    into = NatsIngest(mx, timeout=3.0)
    sent = [make_envelope(BODY) for _ in range(40)]
    tasks = []
    for each in sent:
        tasks.append(asyncio.create_task(into.accept(each, BODY)))
        await asyncio.sleep(0.02)

    def kept() -> list[Envelope]:
        done = [task.done() and not task.cancelled() and not task.exception() for task in tasks]
        return [each for each, stored in zip(sent, done, strict=True) if stored]

    def in_doubt() -> int:
        return sum(messages_under(subject) for subject, _ in set(got))

    await until(lambda: got and len(kept()) + in_doubt() == 40, what="the others' being stored")
    others = (await measure_backlog(keeper)).messages
    assert others == len(kept()) < 40
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    doubtful = next(each for each in sent if each not in kept())
    before = len(got)

    async def try_again() -> None:
        """A later call with the same id goes there as well."""
        while True:
            with suppress(Unavailable):
                return await into.accept(doubtful, BODY)

    trying = asyncio.create_task(try_again())
    await until(lambda: len(got) > before)
    await silent.unsubscribe()
    await ensure_layout(keeper, keeper.settings)
    await asyncio.wait_for(trying, BUSY_SECONDS)
    assert {subject.split(".")[1] for subject, _ in got} == {"1"}
    assert (await stream_messages(keeper))["INGEST_1"] == 1
    assert (await measure_backlog(keeper)).messages == others + 1


async def test_partitions_share_the_buffers_and_none_waits_behind_anothers_backlog(
    opened: Opened,
) -> None:
    connection = await opened(4)
    for _ in range(300):
        record = encode_record(make_envelope(BODY), BODY)
        await connection.publish("partition.1.ingest.mx", record)
    await connection.client.flush()
    for partition in (0, 2, 3):
        record = encode_record(make_envelope(BODY), BODY)
        await connection.request(in_partition("ingest.mx", partition), record)
    async with NatsIngestSource(connection, messages=200) as source:
        await until(lambda: len(source._lanes) == 8)

        def buffered() -> int:
            return sum(len(lane._buffer) for lane in source._lanes)

        await until(lambda: buffered() >= 53)
        assert {lane._share.messages for lane in source._lanes} == {50}
        taken: list[Delivery] = []
        while len(taken) < 160:
            taken += await asyncio.wait_for(source.take(20, 1 << 24), BUSY_SECONDS)
        by_partition = Counter(each.subject for each in taken)
        assert len(by_partition) == 4


def test_a_share_is_a_part_of_what_one_buffer_held_and_has_room_for_the_largest() -> None:
    share = Share(512, 16 * 1024**2)
    assert (share.messages, share.max_bytes) == (512, 16 * 1024**2)
    share.partitions = 4
    assert (share.messages, share.max_bytes) == (128, 4 * 1024**2)
    share.partitions = 64
    assert (share.messages, share.max_bytes) == (8, LARGEST_BYTES)
    retries = Share(16, 4 * 1024**2)
    retries.partitions = 64
    assert retries.messages == 1


async def test_a_poison_message_parks_alone_whatever_its_partition(
    nats: Nats, database_url: str, tmp_path: Path
) -> None:
    async with delivery_env(nats, database_url, tmp_path / "blobs", ingest_partitions=3) as env:
        (account,) = await env.seed.accounts(1)

        def message(**facts: object) -> Envelope:
            return replace(make_envelope(BODY, to=("user0@example.test",)), **facts)  # type: ignore[arg-type]

        good = [message() for _ in range(4)]
        poison = message()
        poison = replace(poison, body=replace(poison.body, return_path_octets=2**40))
        forged = message(role="submission")
        for partition, messages in ((1, (good[0], poison, forged)), (2, (good[1], good[2]))):
            frame = encode_frame([encode_record(each, BODY) for each in messages])
            subject = in_partition(f"frames.mx.{len(messages)}", partition)
            await env.nats.request(subject, frame)
        for partition in (0, 2):  # published twice by processes that did not know of each other
            record = encode_record(good[3], BODY)
            await env.nats.request(in_partition("ingest.mx", partition), record)
        await env.deliver(7)
        await env.try_again(1)
        assert await env.bodies(account) == [BODY] * 4
        parked = {each.message_id.partition("-")[0] for each in await env.dead.parked(0, 10)}
        assert parked == {"unreadable", str(poison.id).partition("-")[0]}
        await env.settled()
        await env.seed.sums_hold()


async def test_storage_that_is_reserved_for_ingest_suffices_for_any_number(
    opened: Opened,
) -> None:
    """The bundled NATS reserves no more than the limits of all streams: a partition grows only
    once others have shrunk."""
    most = 900 * 10**9  # of the 10**12 of the test's server
    for number, first in ((1, most), (4, most // 4), (2, most // 2), (3, most // 3), (1, most)):
        connection = await opened(number, ingest_max_bytes=most)
        config = (await connection.api("STREAM.INFO.INGEST"))["config"]
        assert config["max_bytes"] == first, number
        assert len(await list_partitions(connection)) >= number
