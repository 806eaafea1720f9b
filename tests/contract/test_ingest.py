"""The ports Ingest and IngestSource on JetStream: what is accepted is kept, and comes out until
it is done."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from contextlib import AsyncExitStack

import pytest
import structlog

from posthorn.adapters.nats import ingest_lane as source
from posthorn.adapters.nats import layout
from posthorn.adapters.nats.connection import Connection, connect
from posthorn.adapters.nats.ingest import NatsIngest
from posthorn.adapters.nats.ingest_backlog import measure_backlog
from posthorn.adapters.nats.ingest_consumer import NatsIngestSource
from posthorn.adapters.nats.urls import split_urls
from posthorn.model.envelope import decode_record
from posthorn.model.streams import INGEST, INGEST_CONSUMER
from posthorn.ports.errors import Full, Unavailable
from posthorn.ports.ingest import Delivery
from posthorn.runtime.settings import NatsSettings
from posthorn_local.embedded import Nats, free_port
from tests.support.builders import make_envelope
from tests.support.jetstream import nats_settings, restart, take_awaited
from tests.support.polling import BUSY_SECONDS, LONG_SECONDS, until

BODY = b"Subject: hello\r\n\r\nworld\r\n"


@pytest.fixture
def short_ack_wait(monkeypatch: pytest.MonkeyPatch) -> float:
    """A second instead of ten."""
    monkeypatch.setattr(layout, "ACK_WAIT", 1.0)
    monkeypatch.setattr(source, "ACK_WAIT", 1.0)
    monkeypatch.setattr(source, "_TICK", 0.1)
    return 1.0


async def take_all(found: NatsIngestSource, number: int) -> list[Delivery]:
    taken: list[Delivery] = []
    async with asyncio.timeout(BUSY_SECONDS):
        while len(taken) < number:
            taken += await found.take(512, 1 << 24)
    return taken


async def buffered(found: NatsIngestSource, number: int) -> None:
    """Wait until so many messages are in the buffer."""
    await until(lambda: sum(len(lane._buffer) for lane in found._lanes) == number)


async def kept(connection: Connection) -> int:
    return (await measure_backlog(connection)).messages


async def nothing_left(connection: Connection) -> None:
    async def empty() -> bool:
        return await kept(connection) == 0

    await until(empty, what="the stream's becoming empty")


async def test_what_is_accepted_comes_out_as_it_went_in(connection: Connection) -> None:
    sent = make_envelope(BODY, to=("alice@example.test", "grüße@example.test"))
    await NatsIngest(connection).accept(sent, BODY)
    async with NatsIngestSource(connection) as found:
        (delivery,) = await found.take(10, 1 << 20)
        record = decode_record(delivery.octets)
        assert (record.envelope, record.body, delivery.attempt) == (sent, BODY, 1)
        assert (await found.backlog()).messages == 1
        await delivery.ack()
        await nothing_left(connection)


async def test_a_large_message_carries_the_key_of_its_blob(connection: Connection) -> None:
    sent = make_envelope(BODY, blob="bodies/1")
    await NatsIngest(connection).accept(sent, None)
    async with NatsIngestSource(connection) as found:
        (delivery,) = await found.take(10, 1 << 20)
        assert decode_record(delivery.octets).envelope.blob == "bodies/1"
        assert decode_record(delivery.octets).body is None


async def test_a_repeated_message_is_kept_once(connection: Connection) -> None:
    ingest, sent = NatsIngest(connection), make_envelope(BODY)
    await ingest.accept(sent, BODY)
    await ingest.accept(sent, BODY)
    assert await kept(connection) == 1


async def test_a_lone_message_is_given_at_once(connection: Connection) -> None:
    ingest = NatsIngest(connection)
    async with NatsIngestSource(connection) as found:
        waits = []
        for _ in range(20):
            timers, delivery = await take_awaited(
                found, lambda: ingest.accept(make_envelope(BODY), BODY)
            )
            waits.append(timers)
            await delivery.ack()
    assert sorted(waits)[10] == 0, "nothing is waited for but the server's answers"


async def test_all_that_waits_is_given_at_once(connection: Connection) -> None:
    ingest = NatsIngest(connection)
    async with NatsIngestSource(connection) as found:
        for _ in range(100):
            await ingest.accept(make_envelope(BODY), BODY)
        await buffered(found, 100)
        assert len(await found.take(512, 1 << 24)) == 100


async def test_a_batch_keeps_to_both_limits_but_holds_at_least_one(connection: Connection) -> None:
    ingest, big = NatsIngest(connection), b"x" * 100_000
    for _ in range(6):
        await ingest.accept(make_envelope(big), big)
    async with NatsIngestSource(connection) as found:
        await buffered(found, 6)
        assert len(await found.take(2, 1 << 24)) == 2
        assert len(await found.take(512, 250_000)) == 2
        assert len(await found.take(512, 10)) == 1
        assert len(await found.take(512, 10)) == 1


async def test_many_accepted_at_once_are_each_kept_once(connection: Connection) -> None:
    ingest = NatsIngest(connection)
    sent = [make_envelope(b"%d\r\n" % number) for number in range(400)]
    await asyncio.gather(
        *(ingest.accept(each, b"%d\r\n" % number) for number, each in enumerate(sent))
    )
    async with NatsIngestSource(connection) as found:
        taken = [decode_record(each.octets) for each in await take_all(found, 400)]
        assert sorted(record.envelope.id for record in taken) == sorted(each.id for each in sent)
        assert all(record.body == b"%d\r\n" % sent.index(record.envelope) for record in taken)


async def test_more_than_the_buffer_holds_comes_in_the_end(connection: Connection) -> None:
    ingest = NatsIngest(connection)
    await asyncio.gather(*(ingest.accept(make_envelope(BODY), BODY) for _ in range(150)))
    async with NatsIngestSource(connection, messages=20) as found:
        for delivery in await take_all(found, 150):
            await delivery.ack()
        await nothing_left(connection)


async def test_the_byte_limit_answers_full_and_drops_nothing(nats: Nats) -> None:
    body = b"x" * 10_000
    async with connect(nats_settings(nats, ingest_max_bytes=100_000), "test") as connection:
        ingest = NatsIngest(connection)
        accepted = 0
        with pytest.raises(Full):
            for _ in range(20):
                await ingest.accept(make_envelope(body), body)
                accepted += 1
        with pytest.raises(Full):
            await ingest.probe()
        assert accepted == await kept(connection) > 5
        async with NatsIngestSource(connection) as found:
            for delivery in await take_all(found, accepted):
                await delivery.ack()
            await nothing_left(connection)
        await ingest.accept(make_envelope(body), body)
        await ingest.probe()


async def test_a_burst_into_a_nearly_full_stream_gives_each_sender_a_true_answer(
    nats: Nats,
) -> None:
    body = b"x" * 10_000
    async with connect(nats_settings(nats, ingest_max_bytes=1_000_000), "test") as connection:
        ingest = NatsIngest(connection)
        answers = await asyncio.gather(
            *(ingest.accept(make_envelope(body), body) for _ in range(200)), return_exceptions=True
        )
        assert {type(answer) for answer in answers} == {type(None), Full}
        assert answers.count(None) == await kept(connection) > 50


async def test_a_limit_that_changed_in_the_settings_changes_the_stream(nats: Nats) -> None:
    for limit in (2_000_000, 1_000_000):
        async with connect(nats_settings(nats, ingest_max_bytes=limit), "test") as connection:
            assert (await connection.api(f"STREAM.INFO.{INGEST}"))["config"]["max_bytes"] == limit


async def test_two_processes_may_make_the_streams_at_once(nats: Nats) -> None:
    async with AsyncExitStack() as stack:
        settings = nats_settings(nats)
        opened = await asyncio.gather(
            *(stack.enter_async_context(connect(settings, "test")) for _ in range(4))
        )
        assert all(connection.is_up for connection in opened)


async def test_what_is_given_back_comes_again_after_its_delay(connection: Connection) -> None:
    await NatsIngest(connection).accept(make_envelope(BODY), BODY)
    async with NatsIngestSource(connection) as found:
        (delivery,) = await found.take(1, 1)
        began = time.monotonic()
        await delivery.nak(0.3)
        (delivery,) = await found.take(1, 1)
        assert delivery.attempt == 2
        assert time.monotonic() - began > 0.25


async def test_what_a_dead_process_had_taken_comes_again(nats: Nats, short_ack_wait: float) -> None:
    async with connect(nats_settings(nats), "test") as connection:
        await NatsIngest(connection).accept(make_envelope(BODY), BODY)
        async with connect(nats_settings(nats), "dying") as dying:
            taking = NatsIngestSource(dying)
            async with taking:
                await taking.take(1, 1)  # neither done nor given back
        async with NatsIngestSource(connection) as found:
            (delivery,) = await asyncio.wait_for(found.take(1, 1), BUSY_SECONDS)
            assert delivery.attempt == 2


async def test_what_is_worked_on_or_waits_in_the_buffer_is_not_given_to_another(
    nats: Nats, short_ack_wait: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "ACK_WAIT", 6.0)
    monkeypatch.setattr(source, "ACK_WAIT", 6.0)
    async with (
        connect(nats_settings(nats), "one") as one,
        connect(nats_settings(nats), "two") as two,
    ):
        for _ in range(2):
            await NatsIngest(one).accept(make_envelope(BODY), BODY)
        async with NatsIngestSource(one) as first:
            await buffered(first, 2)
            (worked_on,) = await first.take(1, 1)  # the other one stays in the buffer
            async with NatsIngestSource(two) as second:
                stolen = asyncio.create_task(second.take(1, 1))
                for _ in range(15):
                    await asyncio.sleep(0.5)
                    await worked_on.in_progress()
                assert not stolen.done()
                stolen.cancel()
            (waiting,) = await first.take(1, 1)
            assert waiting.attempt == 1


async def test_closing_gives_the_buffer_back_at_once(
    nats: Nats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "ACK_WAIT", LONG_SECONDS)
    monkeypatch.setattr(source, "ACK_WAIT", LONG_SECONDS)
    async with (
        connect(nats_settings(nats), "one") as one,
        connect(nats_settings(nats), "two") as two,
    ):
        async with NatsIngestSource(one) as first:
            for _ in range(10):
                await NatsIngest(two).accept(make_envelope(BODY), BODY)
            await buffered(first, 10)
        async with NatsIngestSource(two) as found:
            assert len(await take_all(found, 10)) == 10


async def test_without_a_server_accepting_and_taking_say_so_in_time_and_nothing_is_kept_for_later(
    nats: Nats, connection: Connection
) -> None:
    ingest = NatsIngest(connection, timeout=0.3)
    async with NatsIngestSource(connection) as found:
        taking = asyncio.create_task(found.take(1, 1))
        await asyncio.sleep(0.1)
        nats.stop(kill=True)
        with pytest.raises(Unavailable):
            await asyncio.wait_for(taking, BUSY_SECONDS)
        with pytest.raises(Unavailable):
            await asyncio.wait_for(found.take(1, 1), BUSY_SECONDS)
        for attempt in (ingest.accept(make_envelope(BODY), BODY), ingest.probe(), found.backlog()):
            with pytest.raises(Unavailable):
                await asyncio.wait_for(attempt, BUSY_SECONDS)
        restart(nats)
        await connection.wait_up(BUSY_SECONDS)
        assert await kept(connection) == 0
        await NatsIngest(connection).accept(make_envelope(BODY), BODY)
        assert len(await asyncio.wait_for(found.take(1, 1), BUSY_SECONDS)) == 1


async def test_what_was_unsent_when_the_connection_broke_is_not_sent_later(
    nats: Nats, connection: Connection
) -> None:
    assert nats.process
    # whatever is still flushed meets a server that never reads it
    nats.process.send_signal(signal.SIGSTOP)
    client = connection.client
    client._pending.append(b"PUB ingest.0 5\r\nstale\r\n")
    client._pending_data_size += 23
    nats.stop(kill=True)

    async def down() -> bool:
        return not connection.is_up

    await until(down)
    assert (client._pending, client.pending_data_size) == ([], 0)
    restart(nats)
    await NatsIngest(connection).accept(make_envelope(BODY), BODY)
    assert await kept(connection) == 1


async def test_a_server_killed_under_load_costs_nothing_and_doubles_nothing(
    nats: Nats, connection: Connection
) -> None:
    ingest = NatsIngest(connection)
    sent = [make_envelope(BODY) for _ in range(600)]
    queue = iter(sent)

    async def send() -> None:
        for each in queue:
            await ingest.accept(each, BODY)

    async with NatsIngestSource(connection) as found:
        senders = asyncio.gather(*(send() for _ in range(30)))
        taken = {decode_record(each.octets).envelope.id for each in await take_all(found, 50)}
        nats.stop(kill=True)
        await asyncio.sleep(0.2)
        restart(nats)
        await asyncio.wait_for(senders, BUSY_SECONDS)
        assert await kept(connection) == len(sent)  # nothing was done() yet
        async with asyncio.timeout(BUSY_SECONDS):
            # a killed server may forget that it sent some, and send them again
            while len(taken) < len(sent):
                taken |= {
                    decode_record(each.octets).envelope.id
                    for each in await found.take(512, 1 << 24)
                }
        assert taken == {each.id for each in sent}


async def test_a_consumer_that_was_deleted_is_made_anew(connection: Connection) -> None:
    async with NatsIngestSource(connection) as found:
        await asyncio.sleep(0.1)
        await connection.api(f"CONSUMER.DELETE.{INGEST}.{INGEST_CONSUMER}")
        await NatsIngest(connection).accept(make_envelope(BODY), BODY)
        assert len(await asyncio.wait_for(found.take(1, 1), BUSY_SECONDS)) == 1


async def test_a_stream_that_was_deleted_is_made_anew(connection: Connection) -> None:
    ingest = NatsIngest(connection)
    await ingest.accept(make_envelope(BODY), BODY)
    await connection.api(f"STREAM.DELETE.{INGEST}")
    await ingest.accept(make_envelope(BODY), BODY)
    assert await kept(connection) == 1


async def test_a_connection_that_the_server_closed_for_good_is_replaced(
    connection: Connection,
) -> None:
    ingest = NatsIngest(connection)
    async with NatsIngestSource(connection) as found:
        before = connection.client
        await before._process_err("'invalid subject'")  # as when the server sends -ERR

        async def replaced() -> bool:
            return connection.client is not before and connection.is_up

        await until(replaced, what="a new connection")
        await ingest.accept(make_envelope(BODY), BODY)
        assert len(await asyncio.wait_for(found.take(1, 1), BUSY_SECONDS)) == 1


async def test_a_server_that_comes_late_is_waited_for(nats: Nats) -> None:
    nats.stop()
    async with AsyncExitStack() as stack:
        connecting = asyncio.create_task(
            stack.enter_async_context(connect(nats_settings(nats), "test"))
        )
        await asyncio.sleep(0.4)
        assert not connecting.done()
        restart(nats)
        connection = await asyncio.wait_for(connecting, BUSY_SECONDS)
        await NatsIngest(connection).accept(make_envelope(BODY), BODY)


async def test_wrong_credentials_are_told_in_the_log_without_being_shown(nats: Nats) -> None:
    wrong = NatsSettings.model_validate(
        {"nats_url": f"nats://posthorn:very%2Fsecret@127.0.0.1:{nats.port}"}
    )
    with structlog.testing.capture_logs() as lines:
        await _fails_to_connect(wrong, lambda: "POSTHORN_NATS_URL" in str(lines))
    assert "secret" not in str(lines)
    refusals = [line for line in lines if "POSTHORN_NATS_URL" in str(line)]
    assert {line["log_level"] for line in refusals} == {"error"}
    # the server closes the connection behind its refusal, and the next try may see that alone
    assert all("ConnectionResetError" in str(line) for line in lines if line not in refusals)


async def test_a_wrong_address_is_told_in_the_log_without_credentials() -> None:
    wrong = NatsSettings.model_validate(
        {"nats_url": f"nats://posthorn:secret@127.0.0.1:{free_port()}"}
    )
    with structlog.testing.capture_logs() as lines:
        await _fails_to_connect(wrong, lambda: "Connect" in str(lines))
    assert "secret" not in str(lines)


async def _fails_to_connect(settings: NatsSettings, is_told: Callable[[], bool]) -> None:
    async def try_it() -> None:
        async with connect(settings, "test"):
            pass

    trying = asyncio.create_task(try_it())
    await until(is_told, what="a line in the log")
    assert not trying.done()
    trying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await trying


def test_urls_are_split_from_their_credentials() -> None:
    assert split_urls("nats://us%40er:pa%3Ass@one:4222,two:4223") == (
        ["nats://one:4222", "nats://two:4223"],
        "us@er",
        "pa:ss",
    )
    assert split_urls("tls://token@one") == (["tls://one"], "token", None)
    with pytest.raises(SystemExit, match="POSTHORN_NATS_URL"):
        split_urls("nats://user:secret@one:notaport")
