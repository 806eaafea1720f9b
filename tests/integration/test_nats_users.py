"""NATS users of the parts on a real server: what each does works, and what the mx could do with
another's rights does not."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from nats.aio.client import Client
from nats.errors import TimeoutError as NoAnswerError

from posthorn.adapters.nats.bans import NatsBanList, NatsBans
from posthorn.adapters.nats.bucket import NatsDirectoryBucket
from posthorn.adapters.nats.connection import Connection, connect
from posthorn.adapters.nats.dead_letters import NatsDeadLetters
from posthorn.adapters.nats.directory import NatsDirectory
from posthorn.adapters.nats.event_log import NatsEventLog
from posthorn.adapters.nats.events import NatsEvents, NatsTrace
from posthorn.adapters.nats.ingest import NatsIngest
from posthorn.adapters.nats.ingest_consumer import NatsIngestSource
from posthorn.adapters.nats.installation import DirectoryMark
from posthorn.adapters.nats.notifications import NatsNotifications, NatsNotifier
from posthorn.adapters.nats.permissions import USERS, inbox_prefix
from posthorn.adapters.nats.scan_server import NatsScanServer
from posthorn.adapters.nats.scanner import NatsScanner
from posthorn.adapters.nats.strays import NatsStrays
from posthorn.adapters.nats.stream_state import NatsStreamState
from posthorn.adapters.nats.unscanned_count import NatsUnscannedCount
from posthorn.model.directory_entry import AddressEntry, RecipientStatus
from posthorn.model.envelope import decode_record
from posthorn.model.events import ACCEPTED, Event
from posthorn.model.streams import MOST_PARTITIONS, RETRY_CONSUMER, UNSCANNED_CONSUMER
from posthorn.model.verdict import Verdict
from posthorn.ports.bans import Ban
from posthorn.ports.scan import MessageQuestion, Report, SenderFacts, SenderQuestion
from posthorn.runtime.settings import NatsSettings
from posthorn.wire.address import parse_address
from posthorn_local.embedded import Nats
from tests.support.builders import make_envelope
from tests.support.polling import BUSY_SECONDS, until

PARTS = [user.part for user in USERS]
STREAMS = ("INGEST", "DEAD", "EVENTS", "KV_directory", "COUNTERS", "KV_bans", "KV_greylist")
ALICE = parse_address("alice@example.test")


class Parts:
    """A connection as each part."""

    def __init__(self, nats: Nats, stack: AsyncExitStack) -> None:
        self._nats = nats
        self._stack = stack

    async def open(self, part: str, partitions: int = 1) -> Connection:
        settings = NatsSettings.model_validate(
            {"nats_url": self._nats.url_of(part), "ingest_partitions": partitions}
        )
        return await self._stack.enter_async_context(connect(settings, part, part))


@pytest.fixture
async def parts(nats: Nats) -> AsyncIterator[Parts]:
    async with AsyncExitStack() as stack:
        yield Parts(nats, stack)


@pytest.fixture
async def filled(parts: Parts) -> Connection:
    """Layout and directory as api makes them. Return api's connection."""
    api = await parts.open("api")
    bucket = NatsDirectoryBucket(api)
    await bucket.put(str(ALICE), AddressEntry(RecipientStatus.DELIVERABLE))
    await bucket.mark_filled()
    return api


@pytest.mark.parametrize("part", ["api", "delivery", "relay", "submission"])
async def test_whoever_opens_the_database_may_look_for_the_mark(
    parts: Parts, filled: Connection, part: str
) -> None:
    copy = await DirectoryMark(await parts.open(part)).read()
    assert copy.mark is None and copy.holds_data, "there are entries, and no mark yet"


class Intruder:
    """Whoever has taken over a part and speaks NATS with its password."""

    def __init__(self, client: Client, errors: list[Exception]) -> None:
        self.client = client
        self.errors = errors

    async def is_refused(self, subject: str, payload: bytes = b"") -> bool:
        """Return whether a publish is refused by the server."""
        before = len(self.errors)
        await self.client.publish(subject, payload, reply=f"{inbox_prefix('smtp-in')}.x")
        return await self._was_told("permissions violation for publish", before)

    async def hears(self, subject: str) -> bool:
        """Return whether a subscription is taken by the server."""
        before = len(self.errors)
        subscription = await self.client.subscribe(subject)
        refused = await self._was_told("permissions violation for subscription", before)
        with suppress(Exception):
            await subscription.unsubscribe()
        return not refused

    async def _was_told(self, refusal: str, before: int) -> bool:
        """Return whether such an error has come. The library tells of it in a task of its own,
        maybe after the flush."""
        for _ in range(10):
            await self.client.flush()
            if any(refusal in str(error).lower() for error in self.errors[before:]):
                return True
            await asyncio.sleep(0.02)
        return False


@asynccontextmanager
async def intruding(nats: Nats, part: str) -> AsyncIterator[Intruder]:
    """Connect as a part that was taken over."""
    errors: list[Exception] = []

    async def note(error: Exception) -> None:
        errors.append(error)

    client = Client()
    await client.connect(
        nats.url_of(part),
        error_cb=note,
        inbox_prefix=inbox_prefix(part),
        max_reconnect_attempts=0,
    )
    yield Intruder(client, errors)
    await client.close()


@pytest.fixture
async def intruder(nats: Nats, filled: Connection) -> AsyncIterator[Intruder]:
    async with intruding(nats, "smtp-in") as made:
        yield made


@pytest.mark.parametrize(
    ("part", "role"),
    [("smtp-in", "mx"), ("submission", "submission"), ("relay", "notice"), ("api", "send")],
)
async def test_each_publisher_reaches_delivery_under_its_own_subject(
    parts: Parts, filled: Connection, part: str, role: str
) -> None:
    sent = replace(make_envelope(), role=role)
    ingest = NatsIngest(await parts.open(part))
    await ingest.probe()
    body = b"Subject: hello\r\n\r\nworld\r\n"
    # batches among them
    await asyncio.gather(*(ingest.accept(replace(sent, id=uuid4()), body) for _ in range(60)))
    async with NatsIngestSource(await parts.open("delivery")) as source:
        await source.probe()
        taken: list[Any] = []
        while len(taken) < 60:
            taken += await asyncio.wait_for(source.take(100, 1 << 20), BUSY_SECONDS)
        assert {each.subject for each in taken} == {f"ingest.{'api' if role == 'send' else role}"}
        assert {decode_record(each.octets).envelope.role for each in taken} == {role}
        await taken[0].in_progress()
        for each in taken:
            await each.ack()

        async def empty() -> bool:
            return (await source.backlog()).messages == 0

        await until(empty)


@pytest.mark.parametrize(
    ("part", "role", "number"),
    [
        ("smtp-in", "mx", MOST_PARTITIONS),
        ("submission", "submission", 3),
        ("relay", "notice", 3),
        ("api", "send", 3),
    ],
)
async def test_each_part_does_its_work_in_all_partitions(
    parts: Parts, filled: Connection, part: str, role: str, number: int
) -> None:
    delivery, body = await parts.open("delivery", number), b"Subject: hello\r\n\r\nworld\r\n"
    publisher = NatsIngest(await parts.open(part, number))
    for _ in range(number):
        await publisher.accept(replace(make_envelope(), role=role), body)
    assert (await NatsStreamState(filled).backlog()).messages == number
    assert await NatsUnscannedCount(filled).unscanned() == 0
    async with NatsIngestSource(delivery) as source, NatsIngestSource(delivery, RETRY_CONSUMER):
        taken: list[Any] = []
        while len(taken) < number:
            taken += await asyncio.wait_for(source.take(100, 1 << 20), BUSY_SECONDS)
        assert len({each.subject for each in taken}) == number, "each partition has got one"
        await source.probe()
        await taken[1].set_aside()
        backlog = await source.backlog()
        assert (backlog.messages, backlog.retrying) == (number + 1, 1)
        assert backlog.oldest_first is not None
        for each in taken:
            await each.in_progress()
            await each.ack()

        async def acknowledged() -> bool:
            return (await source.backlog()).messages == 1

        await until(acknowledged)
        assert await NatsStrays(delivery).find(10) == []
    # the API, which reads no message, counts them as well
    seen = await NatsStreamState(filled).backlog()
    assert (seen.messages, seen.retrying, seen.oldest_first) == (1, 1, None)


@pytest.mark.parametrize("part", ["smtp-in", "submission", "api"])
async def test_doors_read_the_directory_and_see_its_changes(
    parts: Parts, filled: Connection, part: str
) -> None:
    async with NatsDirectory(await parts.open(part)) as directory:

        async def live() -> bool:
            return directory.is_live

        await until(live)
        assert await directory.standing(ALICE) is RecipientStatus.DELIVERABLE
        await NatsDirectoryBucket(filled).put(str(ALICE), AddressEntry(RecipientStatus.SUSPENDED))

        async def changed() -> bool:
            return await directory.standing(ALICE) is RecipientStatus.SUSPENDED

        await until(changed)
    assert str(ALICE) in await NatsDirectoryBucket(filled).entries()


async def test_delivery_parks_and_the_api_lists_retries_and_discards(
    parts: Parts, filled: Connection
) -> None:
    delivery = await parts.open("delivery")
    for number in range(2):
        await NatsDeadLetters(delivery).park(
            b"octets", f"id-{number}", "reason", "ingest.submission"
        )
    dead = NatsDeadLetters(filled)
    first, second = await dead.parked(0, 10)
    assert await dead.discard(first.sequence)
    assert await dead.retry(second.sequence)
    async with NatsIngestSource(delivery) as source:
        (again,) = await asyncio.wait_for(source.take(10, 1 << 20), BUSY_SECONDS)
        assert (again.subject, again.octets) == ("ingest.submission", b"octets")


async def test_delivery_wakes_the_relay(parts: Parts, filled: Connection) -> None:
    async with NatsNotifications(await parts.open("relay")) as wakes:
        NatsNotifier(await parts.open("delivery")).notify(["example.org"])
        assert "example.org" in await wakes.wait(BUSY_SECONDS)


class Echo:
    """A scanning tier that knows nothing."""

    def __init__(self) -> None:
        self.reports: list[Report] = []

    async def sender(self, question: SenderQuestion) -> SenderFacts:
        return SenderFacts(greylist_seconds=3)

    async def message(self, question: MessageQuestion) -> Verdict:
        return Verdict(1.0)

    def report(self, reports: Sequence[Report]) -> None:
        self.reports += reports


async def test_the_mx_asks_and_reports_to_scan_and_learns_of_its_bans(
    parts: Parts, filled: Connection
) -> None:
    scan, mx, tier = await parts.open("scan"), await parts.open("smtp-in"), Echo()
    scanner = NatsScanner(mx)
    async with NatsScanServer(scan, tier), NatsBans(mx) as bans:
        for _ in range(3):
            facts = await scanner.sender(SenderQuestion("192.0.2.1", "h", "a@example.org"))
            assert facts.greylist_seconds == 3
        asked = MessageQuestion("id", "192.0.2.1", "h", "", (), 1.0, "mx", b"Subject: x\r\n\r\n")
        assert await scanner.message(asked) == Verdict(1.0)
        scanner.report(Report("192.0.2.1", "refused"))
        await until(lambda: tier.reports)
        ban_list = NatsBanList(scan)
        await ban_list.ban("192.0.2.1", Ban(time.time() + 60), 120)
        assert await ban_list.last("192.0.2.1")
        await until(lambda: bans.until("192.0.2.1"))
        answer = await scan.request("counters.1.refused.192.0.2.1", b"", {"Nats-Incr": "+2"})
        assert json.loads(answer.data)["val"] == "2"
        assert b"KV_greylist" in (await scan.request("$KV.greylist.x", b"1")).data


@pytest.mark.parametrize("partition", ["", "partition.1."])
async def test_scan_alone_reads_the_unscanned_lane_and_moves_its_messages(
    parts: Parts, filled: Connection, partition: str
) -> None:
    delivery = await parts.open("delivery", 2)
    waits = f"{partition}unscanned.mx"
    await (await parts.open("smtp-in")).request(waits, b"record", {"Nats-Msg-Id": "1"})
    scan = await parts.open("scan")
    async with (
        NatsIngestSource(scan, UNSCANNED_CONSUMER) as lane,
        NatsIngestSource(delivery) as first,
    ):
        (waiting,) = await asyncio.wait_for(lane.take(10, 1 << 20), BUSY_SECONDS)
        assert waiting.octets == b"record"
        await waiting.in_progress()
        await scan.request(f"{partition}ingest.mx", b"judged", {"Nats-Msg-Id": "1.scanned"})
        await waiting.ack()
        (moved,) = await asyncio.wait_for(first.take(10, 1 << 20), BUSY_SECONDS)
        assert (moved.subject, moved.octets) == (f"{partition}ingest.mx", b"judged")
        await moved.ack()


@pytest.mark.parametrize("part", ["smtp-in", "submission", "relay", "scan"])
async def test_a_part_starts_while_another_partition_serves_than_the_first(
    nats: Nats, parts: Parts, filled: Connection, part: str
) -> None:
    await parts.open("delivery", 2)
    client = Client()
    await client.connect(nats.url)
    await client.jetstream().delete_stream("INGEST")
    await client.close()
    assert (await asyncio.wait_for(parts.open(part, 2), BUSY_SECONDS)).is_up


@pytest.mark.parametrize(
    "subject",
    [
        "ingest.submission",
        "partition.1.ingest.submission",
        "retry.mx",
        "$JS.API.CONSUMER.MSG.NEXT.INGEST_1.delivery",
        "$KV.directory.x",
        "_INBOX.smtp-in.x",
        "_INBOX.api.x",
    ],
)
async def test_scan_publishes_nothing_else_and_answers_only_whom_it_was_asked_by(
    nats: Nats, filled: Connection, subject: str
) -> None:
    async with intruding(nats, "scan") as intruder:
        assert await intruder.is_refused(subject)


@pytest.mark.parametrize("part", PARTS)
async def test_every_part_records_events_that_the_api_reads(
    parts: Parts, filled: Connection, part: str
) -> None:
    event = Event(make_envelope().id, time.time(), ACCEPTED, {"by": part})
    async with NatsEvents(await parts.open(part)) as events:
        events.record(event)
    assert await NatsTrace(filled).events_of(event.message) == [event]
    log = NatsEventLog(filled)
    await log.extent()
    assert len((await log.after(0, 1)).messages) == 1


async def test_the_streams_are_made_by_delivery_too(nats: Nats, parts: Parts) -> None:
    waiting = asyncio.create_task(parts.open("smtp-in"))
    await asyncio.sleep(0.5)
    assert not waiting.done(), "a door makes no streams"
    await parts.open("delivery")
    assert (await asyncio.wait_for(waiting, BUSY_SECONDS)).is_up


@pytest.mark.parametrize(
    "subject",
    [
        "ingest.submission",
        "ingest.api",
        "ingest.notice",
        "ingest.0",
        "retry.mx",
        "dead.0",
        "relay.wake",
        "unscanned.submission",
        "partition.1.ingest.submission",
        "partition.1.frames.api.2",
        "partition.1.retry.mx",
        "partition.1.unscanned.submission",
        "$JS.API.STREAM.UPDATE.INGEST_1",
        "$JS.API.DIRECT.GET.INGEST_1",
        "$JS.API.CONSUMER.MSG.NEXT.INGEST_1.delivery",
        "$JS.ACK.INGEST_1.delivery.1.1.1.1.0",
        "$KV.directory.filled",
        "$KV.bans.192.0.2.1",
        "$KV.greylist.x",
        "counters.1.refused.192.0.2.1",
        "$JS.API.CONSUMER.MSG.NEXT.INGEST.scan",
        "$JS.API.STREAM.CREATE.EXTRA",
        "$JS.API.STREAM.NAMES",
        "$JS.API.STREAM.SNAPSHOT.INGEST",
        *(
            f"$JS.API.STREAM.{what}.{stream}"
            for what in ("DELETE", "PURGE", "UPDATE", "MSG.GET", "MSG.DELETE")
            for stream in STREAMS
        ),
        *(f"$JS.API.DIRECT.GET.{stream}" for stream in STREAMS),
        *(
            f"$JS.API.CONSUMER.CREATE.{stream}"
            for stream in STREAMS
            if stream not in ("KV_directory", "KV_bans")
        ),
        *(f"$JS.API.CONSUMER.CREATE.{stream}.spy" for stream in STREAMS),
        "$JS.API.CONSUMER.DURABLE.CREATE.INGEST.spy",
        "$JS.API.CONSUMER.DELETE.INGEST.delivery",
        "$JS.API.CONSUMER.MSG.NEXT.INGEST.delivery",
        "$JS.ACK.INGEST.delivery.1.1.1.1.0",
        "_INBOX.delivery.forged",
        "heartbeats.delivery",
        "heartbeats.submission",
    ],
)
async def test_whoever_takes_the_mx_over_cannot_publish(intruder: Intruder, subject: str) -> None:
    assert await intruder.is_refused(subject)


async def test_the_mx_may_publish_its_own_subject(intruder: Intruder) -> None:
    """So that the refusals above are of the subject, not of all."""
    assert not await intruder.is_refused("ingest.mx")
    assert not await intruder.is_refused("partition.1.ingest.mx")


@pytest.mark.parametrize(
    "subject",
    [
        ">",
        "ingest.>",
        "ingest.mx",
        "_INBOX.>",
        "_INBOX.api.>",
        "$JS.>",
        "$KV.>",
        "relay.wake",
        "events.>",
        "scan.>",
        "scan.message",
        "delivery.>",
        "delivery.correspondents",
        "heartbeats.*",
    ],
)
async def test_whoever_takes_the_mx_over_cannot_listen(intruder: Intruder, subject: str) -> None:
    assert not await intruder.hears(subject)
    assert await intruder.hears(f"{inbox_prefix('smtp-in')}.anything")


async def test_a_watch_cannot_be_turned_on_other_subjects(
    intruder: Intruder, filled: Connection
) -> None:
    """A push consumer's deliver subject is not held against the user's permissions: see
    ``permissions``."""
    before = (await filled.api("STREAM.INFO.INGEST"))["state"]["last_seq"]
    for target in (
        "ingest.submission",
        "$JS.API.STREAM.PURGE.INGEST",
        "$JS.API.STREAM.DELETE.KV_directory",
        "dead.0",
    ):
        config = {"deliver_subject": target, "deliver_policy": "all", "ack_policy": "none"}
        wish = json.dumps({"stream_name": "KV_directory", "config": config}).encode()
        with suppress(NoAnswerError):
            await intruder.client.request("$JS.API.CONSUMER.CREATE.KV_directory", wish, timeout=2)
        config["filter_subject"] = "$KV.bans.>"
        wish = json.dumps({"stream_name": "KV_bans", "config": config}).encode()
        with suppress(NoAnswerError):
            await intruder.client.request("$JS.API.CONSUMER.CREATE.KV_bans", wish, timeout=2)
    await asyncio.sleep(0.5)
    assert (await filled.api("STREAM.INFO.INGEST"))["state"]["last_seq"] == before
    assert (await filled.api("STREAM.INFO.DEAD"))["state"]["messages"] == 0
    assert (await filled.api("STREAM.INFO.KV_directory"))["state"]["messages"] == 2


async def test_a_connection_that_names_no_part_is_the_one_that_its_url_names(
    nats: Nats, filled: Connection
) -> None:
    settings = NatsSettings.model_validate({"nats_url": nats.url_of("api")})
    async with connect(settings, "a command") as connection:
        assert str(ALICE) in await NatsDirectoryBucket(connection).entries()


@pytest.mark.parametrize("part", PARTS)
def test_no_user_may_do_everything(part: str) -> None:
    (user,) = (user for user in USERS if user.part == part)
    assert not {">", "$JS.>", "$JS.API.>", "*"} & {*user.publish, *user.subscribe}
    assert user.variable == f"NATS_{part.upper().replace('-', '_')}_PASSWORD"
