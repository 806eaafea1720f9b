"""Frames on INGEST: messages that arrive together are stored together, and each is a message of
its own all the same (ADR 34)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from posthorn.adapters.nats.connection import Connection, connect
from posthorn.adapters.nats.ingest import NatsIngest
from posthorn.adapters.nats.ingest_backlog import measure_backlog
from posthorn.adapters.nats.ingest_consumer import NatsIngestSource
from posthorn.adapters.nats.ingest_publish import QueuedMessage
from posthorn.adapters.nats.layout import ensure_layout
from posthorn.adapters.nats.strays import NatsStrays
from posthorn.model.envelope import Envelope, decode_record, encode_record
from posthorn.model.frame import encode_frame
from posthorn.model.streams import FRAMES, FRAMES_CONSUMER, INGEST, RETRY_CONSUMER
from posthorn.ports.errors import Full
from posthorn.ports.ingest import Delivery
from posthorn_local.embedded import Nats
from tests.support.builders import make_envelope
from tests.support.delivery_env import DeliveryEnv, delivery_env
from tests.support.jetstream import nats_settings, take
from tests.support.polling import BUSY_SECONDS, LONG_SECONDS, until

BODY = b"Subject: hello\r\n\r\nworld\r\n"


async def by_subject(connection: Connection) -> dict[str, int]:
    """Stream messages on INGEST by subject."""
    info = await connection.api(f"STREAM.INFO.{INGEST}", {"subjects_filter": ">"})
    return info["state"].get("subjects") or {}


async def accept_all(into: NatsIngest, messages: list[Envelope], body: bytes = BODY) -> None:
    await asyncio.gather(*(into.accept(each, body) for each in messages))


def ids(taken: list[Delivery]) -> list[UUID]:
    return [decode_record(each.octets).envelope.id for each in taken]


async def stored(connection: Connection, messages: int) -> bool:
    return (await measure_backlog(connection)).messages == messages


async def empty(connection: Connection) -> None:
    async def nothing() -> bool:
        return await by_subject(connection) == {}

    await until(nothing, what="the stream's becoming empty")


async def publish_frame(connection: Connection, *messages: Envelope, role: str = "mx") -> None:
    data = encode_frame([encode_record(each, BODY) for each in messages])
    await connection.request(f"frames.{role}.{len(messages)}", data)


async def test_the_first_goes_alone_and_those_that_come_meanwhile_go_together(
    connection: Connection,
) -> None:
    sent = [make_envelope(BODY) for _ in range(30)]
    await accept_all(NatsIngest(connection), sent)
    assert await by_subject(connection) == {"ingest.mx": 1, "frames.mx.29": 1}
    backlog = await measure_backlog(connection)
    assert (backlog.messages, backlog.retrying) == (30, 0)
    async with NatsIngestSource(connection) as source:
        taken = await take(source, 30)
        assert sorted(ids(taken)) == sorted(each.id for each in sent)
        assert {each.subject for each in taken} == {"ingest.mx"}
        assert {each.attempt for each in taken} == {1}
        for each in taken[:-1]:
            await each.ack()
            await each.ack()  # only the first counts
        await connection.client.flush()
        assert (await measure_backlog(connection)).messages in (1, 29)  # the frame stays whole
        await taken[-1].ack()
        await empty(connection)


async def test_a_frame_is_bounded_by_count_and_bytes_and_has_one_role(
    connection: Connection,
) -> None:
    await accept_all(NatsIngest(connection), [make_envelope(BODY) for _ in range(150)])
    assert (await by_subject(connection))["frames.mx.64"] == 2
    assert (await measure_backlog(connection)).messages == 150
    await connection.api(f"STREAM.PURGE.{INGEST}")
    large = b"x" * 400_000
    await accept_all(NatsIngest(connection), [make_envelope(large) for _ in range(9)], large)
    assert set(await by_subject(connection)) <= {"ingest.mx", "frames.mx.2"}
    assert (await measure_backlog(connection)).messages == 9
    await connection.api(f"STREAM.PURGE.{INGEST}")
    mixed = [
        replace(make_envelope(BODY), role=role) for role in ("send", "notice") for _ in range(5)
    ]
    await accept_all(NatsIngest(connection), mixed)
    assert await by_subject(connection) == {
        "ingest.api": 1,
        "frames.api.4": 1,
        "frames.notice.5": 1,
    }


async def test_a_setting_turns_frames_off(connection: Connection) -> None:
    into = NatsIngest(connection, frames=False)
    await accept_all(into, [make_envelope(BODY) for _ in range(100)])
    assert await by_subject(connection) == {"ingest.mx": 100}


async def test_what_waits_for_the_scanning_tier_goes_singly(connection: Connection) -> None:
    into = NatsIngest(connection)
    await asyncio.gather(
        *(into.accept(make_envelope(BODY), BODY, unscanned=True) for _ in range(80))
    )
    assert await by_subject(connection) == {"unscanned.mx": 80}


async def test_one_that_is_given_back_brings_its_frame_again_and_no_other(
    connection: Connection,
) -> None:
    sent = [make_envelope(BODY) for _ in range(5)]
    await publish_frame(connection, *sent[:3])
    await publish_frame(connection, *sent[3:])
    async with NatsIngestSource(connection) as source:
        taken = await take(source, 5)
        assert ids(taken) == [each.id for each in sent]
        await taken[1].nak(0.2)
        await taken[1].nak(60)
        for each in (taken[0], *taken[2:]):
            await each.ack()
        again = await take(source, 3)
        assert ids(again) == [each.id for each in sent[:3]]
        assert {each.attempt for each in again} == {2}
        for each in again:
            await each.ack()
        await empty(connection)


async def test_a_frame_in_the_buffer_or_in_hand_is_given_back_whole(nats: Nats) -> None:
    async with (
        connect(nats_settings(nats), "one") as one,
        connect(nats_settings(nats), "two") as two,
    ):
        sent = [make_envelope(BODY) for _ in range(8)]
        async with NatsIngestSource(one) as source:
            await publish_frame(one, *sent)
            in_hand = await source.take(2, 1 << 20)
            assert len(in_hand) == 2
        for each in in_hand:
            await each.nak(0)
        async with NatsIngestSource(two) as source:
            assert ids(await take(source, 8)) == [each.id for each in sent]


async def test_reports_of_progress_hold_a_frame_and_are_few(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    await publish_frame(connection, *(make_envelope(BODY) for _ in range(40)))
    published: list[bytes] = []
    publish = connection.publish

    async def count(subject: str, payload: bytes = b"", *more: Any) -> None:
        published.append(payload)
        await publish(subject, payload, *more)

    async with NatsIngestSource(connection) as source:
        taken = await take(source, 40)
        monkeypatch.setattr(connection, "publish", count)
        for each in taken:
            await each.in_progress()
        assert published == [b"+WPI"]
        for each in taken:
            await each.ack()
        assert published == [b"+WPI", b"+ACK"]


async def test_one_is_put_aside_alone_and_once(connection: Connection) -> None:
    sent = [make_envelope(BODY) for _ in range(3)]
    await publish_frame(connection, *sent)
    async with (
        NatsIngestSource(connection) as source,
        NatsIngestSource(connection, RETRY_CONSUMER) as retries,
    ):
        taken = await take(source, 3)
        for each in (taken[1], taken[1], taken[2]):
            await each.set_aside()
        assert (await measure_backlog(connection)).retrying == 2
        for each in taken:
            await each.ack()
        aside = await take(retries, 2)
        assert ids(aside) == [sent[1].id, sent[2].id]
        assert {each.subject for each in aside} == {"retry.mx"}


async def test_a_frame_whose_answer_was_lost_is_stored_once(connection: Connection) -> None:
    into = NatsIngest(connection, timeout=1.0)
    sent = [make_envelope(BODY) for _ in range(20)]
    answered, lost = into._answered, 2

    async def lose_two(answer: Any) -> None:
        nonlocal lost
        lost -= 1
        if lost < 0:
            await answered(answer)

    into._inbox._on_message = lose_two
    await accept_all(into, sent)
    assert await by_subject(connection) == {"ingest.mx": 1, "frames.mx.19": 1}


@pytest.mark.parametrize("pause", [0.0, 0.3])  # shorter and longer than messages gather
async def test_no_message_waits_behind_a_publish_that_is_not_answered(
    connection: Connection, monkeypatch: pytest.MonkeyPatch, pause: float
) -> None:
    into = NatsIngest(connection, timeout=LONG_SECONDS)
    answered, lost = into._answered, 1

    async def lose_one(answer: Any) -> None:
        nonlocal lost
        lost -= 1
        if lost < 0:
            await answered(answer)

    monkeypatch.setattr(into._inbox, "_on_message", lose_one)
    unanswered = asyncio.create_task(into.accept(make_envelope(BODY), BODY))
    await until(lambda: stored(connection, 1))
    await asyncio.sleep(pause)
    async with asyncio.timeout(BUSY_SECONDS):  # sooner than the first is tried again
        await into.accept(make_envelope(BODY), BODY)
    assert not unanswered.done()
    unanswered.cancel()


async def test_an_answer_that_comes_while_its_message_waits_to_be_sent_again_holds_up_no_other(
    connection: Connection,
) -> None:
    """A frame is answered late: the first of its messages is tried again, behind others."""
    into = NatsIngest(connection, timeout=BUSY_SECONDS)
    loop = asyncio.get_running_loop()
    first, second, other = (
        QueuedMessage(str(each.id), "ingest.mx", encode_record(each, BODY), loop.create_future())
        for each in (make_envelope(BODY) for _ in range(3))
    )
    await into._inbox.open()
    await into._send_to(0, [first, second])
    (token,) = into._in_flight
    for message in (first, other):
        into._enqueue(message)
    async with asyncio.timeout(BUSY_SECONDS):
        await asyncio.gather(*(message.kept for message in (first, second, other)))
    assert token not in into._in_flight
    assert await by_subject(connection) == {"frames.mx.2": 1, "ingest.mx": 1}


async def test_frames_stay_while_an_older_release_has_taken_their_lane_away(
    connection: Connection,
) -> None:
    sent = [make_envelope(BODY) for _ in range(4)]
    await publish_frame(connection, *sent[:3])
    config = (await connection.api(f"STREAM.INFO.{INGEST}"))["config"]
    older = [subject for subject in config["subjects"] if subject != FRAMES]
    await connection.api(f"STREAM.UPDATE.{INGEST}", {**config, "subjects": older})
    await NatsIngest(connection).accept(sent[3], BODY)
    await ensure_layout(connection, connection.settings)
    async with NatsIngestSource(connection) as source:
        taken = await take(source, 4)
        assert sorted(ids(taken)) == sorted(each.id for each in sent)
        for each in taken:
            await each.ack()
        await empty(connection)


async def test_without_a_lane_of_frames_messages_go_singly(connection: Connection) -> None:
    """As while a release before this one keeps the stream."""
    config = (await connection.api(f"STREAM.INFO.{INGEST}"))["config"]
    older = [subject for subject in config["subjects"] if subject != FRAMES]
    await connection.api(f"STREAM.UPDATE.{INGEST}", {**config, "subjects": older})
    into = NatsIngest(connection, timeout=LONG_SECONDS)
    async with asyncio.timeout(BUSY_SECONDS):  # no message waited for an answer in vain
        await accept_all(into, [make_envelope(BODY) for _ in range(40)])
        await accept_all(into, [make_envelope(BODY) for _ in range(40)])
    assert await by_subject(connection) == {"ingest.mx": 80}


async def test_only_who_reads_frames_adds_their_lane(nats: Nats) -> None:
    """So that no frame is published while all delivery processes are of a release before."""

    async def lanes(part: str) -> tuple[bool, bool]:
        async with connect(nats_settings(nats, nats_url=nats.url_of(part)), part) as connection:
            info = await connection.api(f"STREAM.INFO.{INGEST}")
            return FRAMES in info["config"]["subjects"], info["state"]["consumer_count"] == 4

    assert await lanes("api") == (False, False)
    assert await lanes("delivery") == (True, True)
    assert await lanes("api") == (True, True)


async def test_a_user_who_may_not_publish_frames_sends_singly(
    nats: Nats, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As while NATS has the users of a release before this one."""
    monkeypatch.setattr(
        "posthorn.adapters.nats.ingest_publish.frame_subject",
        lambda subject, number: f"frames.submission.{number}",
    )
    async with connect(nats_settings(nats, nats_url=nats.url_of("smtp-in")), "mx") as mx:
        into = NatsIngest(mx, timeout=LONG_SECONDS)
        async with asyncio.timeout(BUSY_SECONDS):
            await accept_all(into, [make_envelope(BODY) for _ in range(40)])
        assert await by_subject(connection) == {"ingest.mx": 40}


async def test_a_full_stream_takes_what_it_can_of_a_frame(nats: Nats) -> None:
    body = b"x" * 10_000
    async with connect(nats_settings(nats, ingest_max_bytes=100_000), "test") as connection:
        into = NatsIngest(connection)
        answers = await asyncio.gather(
            *(into.accept(make_envelope(body), body) for _ in range(30)), return_exceptions=True
        )
        assert {type(answer) for answer in answers} == {type(None), Full}
        assert answers.count(None) == (await measure_backlog(connection)).messages > 5


async def test_a_frame_that_no_consumer_knows_of_is_found_message_by_message(
    connection: Connection,
) -> None:
    sent = [make_envelope(BODY) for _ in range(3)]
    await publish_frame(connection, *sent)
    await connection.api(f"CONSUMER.DELETE.{INGEST}.{FRAMES_CONSUMER}")
    await connection.api(
        f"CONSUMER.CREATE.{INGEST}.{FRAMES_CONSUMER}",
        {
            "stream_name": INGEST,
            "config": {
                "name": FRAMES_CONSUMER,
                "durable_name": FRAMES_CONSUMER,
                "filter_subject": "frames.none.*",
                "ack_policy": "explicit",
                "deliver_policy": "all",
            },
        },
    )
    found = await NatsStrays(connection).find(100)
    assert ids(list(found)) == [each.id for each in sent]
    for each in found[:-1]:
        await each.ack()
    assert await by_subject(connection) == {"frames.mx.3": 1}
    await found[-1].ack()
    assert await by_subject(connection) == {}


def poison(identity: UUID | None = None) -> Envelope:
    """A message that no transaction takes: a length beyond what its column holds."""
    bad = make_envelope(BODY, to=("user0@example.test",), identity=identity)
    return replace(bad, body=replace(bad.body, return_path_octets=2**40))


@pytest.fixture
async def env(nats: Nats, database_url: str, tmp_path: Path) -> Any:
    async with delivery_env(nats, database_url, tmp_path / "blobs") as made:
        yield made


async def test_a_poison_message_parks_alone_and_its_neighbours_are_delivered_once(
    env: DeliveryEnv,
) -> None:
    (account,) = await env.seed.accounts(1)
    good = [make_envelope(BODY, to=("user0@example.test",)) for _ in range(4)]
    forged = replace(make_envelope(BODY), role="submission")
    bad = poison()
    await publish_frame(env.nats, good[0], bad, good[1], forged, good[2])
    # a publish whose answer was lost, sent again among others
    await publish_frame(env.nats, good[1], good[3], good[0])
    await env.deliver(8)
    await env.try_again(1)
    assert await env.bodies(account) == [BODY] * 4
    parked = await env.dead.parked(0, 10)
    assert [each.message_id.partition("-")[0] for each in parked[:1]] == ["unreadable"]
    assert [each.message_id for each in parked[1:]] == [str(bad.id)]
    await env.settled()
    await env.seed.sums_hold()


async def test_what_is_no_frame_is_parked_whole_under_its_publishers_role(
    env: DeliveryEnv,
) -> None:
    await env.nats.request("frames.mx.3", b'{"v":2,"lengths":[1]}\nx')
    await env.deliver(1)
    (parked,) = await env.dead.parked(0, 10)
    assert "version 2" in parked.reason
    message = await env.nats.request("$JS.API.DIRECT.GET.DEAD", b'{"seq": %d}' % parked.sequence)
    assert (message.headers or {})["Posthorn-Role"] == "mx"
    await env.settled()
