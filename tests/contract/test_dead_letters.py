"""The port DeadLetters on JetStream: what is parked stays until somebody decides."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta

import pytest

from posthorn.adapters.nats.connection import Connection, connect
from posthorn.adapters.nats.dead_letters import NatsDeadLetters
from posthorn.adapters.nats.ingest import NatsIngest
from posthorn.adapters.nats.ingest_consumer import NatsIngestSource
from posthorn.model.envelope import decode_record, encode_record
from posthorn.ports.errors import Full, Unavailable
from posthorn_local.embedded import Nats
from tests.support.builders import make_envelope
from tests.support.jetstream import nats_settings
from tests.support.polling import BUSY_SECONDS

BODY = b"Subject: hello\r\n\r\nworld\r\n"


async def test_what_is_parked_is_listed_with_its_reason(connection: Connection) -> None:
    dead = NatsDeadLetters(connection)
    assert await dead.parked(0, 10) == []
    before = datetime.now(UTC) - timedelta(seconds=1)
    for number in range(5):
        await dead.park(b"octets %d" % number, f"id-{number}", f"reason {number}")
    found = await dead.parked(0, 3)
    assert [(each.message_id, each.reason, each.octets) for each in found] == [
        (f"id-{number}", f"reason {number}", 8) for number in range(3)
    ]
    assert all(before < each.parked_at < datetime.now(UTC) + timedelta(seconds=1) for each in found)
    assert [each.message_id for each in await dead.parked(found[-1].sequence, 10)] == [
        "id-3",
        "id-4",
    ]
    assert await dead.parked(99, 10) == []
    async with NatsIngestSource(connection) as source:
        backlog = await source.backlog()
        assert backlog.dead == 5
        assert backlog.oldest_dead is not None
        assert before < backlog.oldest_dead


async def test_the_same_fault_of_the_same_message_is_parked_once(connection: Connection) -> None:
    dead = NatsDeadLetters(connection)
    await dead.park(b"x", "id", "reason")
    await dead.park(b"x", "id", "reason")
    await dead.park(b"x", "id", "another reason")
    assert [each.reason for each in await dead.parked(0, 10)] == ["reason", "another reason"]


@pytest.mark.parametrize(
    "reason", ["line\r\nNats-Msg-Id: forged\r\n\r\nbody", "grüße \0\x7f", "x" * 5000, ""]
)
async def test_no_reason_breaks_the_headers(connection: Connection, reason: str) -> None:
    dead = NatsDeadLetters(connection)
    await dead.park(b"octets", "id", reason)
    (found,) = await dead.parked(0, 10)
    assert (found.message_id, found.octets) == ("id", 6)
    assert len(found.reason) <= 400
    assert found.reason.isprintable()


async def test_a_retried_message_is_on_ingest_as_it_was_and_off_dead(
    connection: Connection,
) -> None:
    dead, sent = NatsDeadLetters(connection), make_envelope(BODY)
    await NatsIngest(connection).accept(sent, BODY)  # so that the stream knows the message's own id
    async with NatsIngestSource(connection) as source:
        (first,) = await source.take(10, 1 << 20)
        await dead.park(first.octets, str(sent.id), "reason")
        await first.ack()
        (parked,) = await dead.parked(0, 10)
        assert await dead.retry(parked.sequence)
        assert await dead.parked(0, 10) == []
        (again,) = await asyncio.wait_for(source.take(10, 1 << 20), BUSY_SECONDS)
        assert decode_record(again.octets).envelope == sent
        assert decode_record(again.octets).body == BODY
        assert not await dead.retry(parked.sequence)


async def test_a_retried_message_that_fails_again_is_parked_again(connection: Connection) -> None:
    dead, sent = NatsDeadLetters(connection), make_envelope(BODY)
    octets = encode_record(sent, BODY)
    async with NatsIngestSource(connection) as source:
        for _ in range(3):
            await dead.park(octets, str(sent.id), "reason")
            (parked,) = await dead.parked(0, 10)
            assert await dead.retry(parked.sequence)
            (delivery,) = await asyncio.wait_for(source.take(10, 1 << 20), BUSY_SECONDS)
            await delivery.ack()
        await dead.park(octets, str(sent.id), "reason")
        await dead.park(octets, str(sent.id), "reason")
    assert len(await dead.parked(0, 10)) == 1


@pytest.mark.parametrize("is_cut_short", [True, False])
async def test_a_message_that_fails_again_before_its_retry_is_over_is_not_lost(
    connection: Connection, monkeypatch: pytest.MonkeyPatch, is_cut_short: bool
) -> None:
    dead, sent = NatsDeadLetters(connection), make_envelope(BODY)
    octets = encode_record(sent, BODY)
    async with NatsIngestSource(connection) as source:
        discard = dead.discard

        async def fail_again_first(sequence: int) -> bool:
            monkeypatch.undo()
            (failing,) = await asyncio.wait_for(source.take(10, 1 << 20), BUSY_SECONDS)
            for _ in range(2):  # the acknowledgement is lost once
                await dead.park(octets, str(sent.id), "reason", failing.subject, failing.stored_as)
            await failing.ack()
            if is_cut_short:
                raise Unavailable("nats", "no answer in time")
            return await discard(sequence)

        await dead.park(octets, str(sent.id), "reason")
        (parked,) = await dead.parked(0, 10)
        monkeypatch.setattr(dead, "discard", fail_again_first)
        with pytest.raises(Unavailable) if is_cut_short else nullcontext():
            await dead.retry(parked.sequence)
        if is_cut_short:
            assert await dead.retry(parked.sequence)
        (again,) = await dead.parked(0, 10)
        assert again.sequence > parked.sequence


async def test_a_discarded_message_is_gone(connection: Connection) -> None:
    dead = NatsDeadLetters(connection)
    await dead.park(b"x", "id", "reason")
    await dead.park(b"y", "other", "reason")
    first, _ = await dead.parked(0, 10)
    assert await dead.discard(first.sequence)
    assert not await dead.discard(first.sequence)
    assert [each.message_id for each in await dead.parked(0, 10)] == ["other"]


@pytest.mark.parametrize("sequence", [-1, 0, 7])
async def test_a_sequence_that_never_was_is_not_there(
    connection: Connection, sequence: int
) -> None:
    dead = NatsDeadLetters(connection)
    await dead.park(b"x", "id", "reason")
    assert not await dead.retry(sequence)
    assert not await dead.discard(sequence)
    assert len(await dead.parked(-5, 10)) == 1


async def test_a_full_dead_drops_nothing(nats: Nats) -> None:
    async with connect(nats_settings(nats, dead_max_bytes=50_000), "test") as connection:
        dead = NatsDeadLetters(connection)
        kept = 0
        with pytest.raises(Full):
            for number in range(20):
                await dead.park(b"x" * 10_000, f"id-{number}", "reason")
                kept += 1
        assert [each.message_id for each in await dead.parked(0, 100)] == [
            f"id-{number}" for number in range(kept)
        ]


async def test_retry_into_a_full_ingest_leaves_the_message_on_dead(nats: Nats) -> None:
    async with connect(nats_settings(nats, ingest_max_bytes=1000), "test") as connection:
        dead = NatsDeadLetters(connection)
        await dead.park(b"x" * 2000, "id", "reason")
        (parked,) = await dead.parked(0, 10)
        with pytest.raises(Full):
            await dead.retry(parked.sequence)
        assert len(await dead.parked(0, 10)) == 1


async def test_without_a_server_every_call_says_so(nats: Nats, connection: Connection) -> None:
    dead = NatsDeadLetters(connection)
    await dead.park(b"x", "id", "reason")
    nats.stop(kill=True)
    for attempt in (
        dead.park(b"x", "id", "reason"),
        dead.parked(0, 10),
        dead.retry(1),
        dead.discard(1),
    ):
        with pytest.raises(Unavailable):
            await asyncio.wait_for(attempt, BUSY_SECONDS)


async def test_a_retried_message_comes_back_as_of_the_role_that_published_it(
    connection: Connection,
) -> None:
    """From whichever lane it was parked; what an older release parked comes under the subject of
    that release."""
    dead, came = NatsDeadLetters(connection), []
    await dead.park(b"x", "first", "reason", "ingest.submission")
    await dead.park(b"x", "second", "reason", "retry.api")
    await dead.park(b"x", "third", "reason")
    async with NatsIngestSource(connection) as source:
        for parked in await dead.parked(0, 10):
            assert await dead.retry(parked.sequence)
            (again,) = await asyncio.wait_for(source.take(10, 1 << 20), BUSY_SECONDS)
            came.append(again.subject)
            await again.ack()
    assert came == ["ingest.submission", "ingest.api", "ingest.0"]
