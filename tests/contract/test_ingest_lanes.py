"""The two lanes of INGEST: streams of an older release are given the second one in place, and
both releases work side by side. What no consumer knows of is found."""

from __future__ import annotations

from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from posthorn.adapters.nats.connection import Connection
from posthorn.adapters.nats.ingest_consumer import NatsIngestSource
from posthorn.adapters.nats.layout import consumers, ensure_layout, streams
from posthorn.adapters.nats.strays import NatsStrays
from posthorn.model.streams import (
    FRAMES,
    FRAMES_CONSUMER,
    INGEST,
    INGEST_CONSUMER,
    RETRY_CONSUMER,
    UNSCANNED_CONSUMER,
)
from posthorn_delivery.repairer import Repairer
from posthorn_local.embedded import Nats
from tests.support.delivery_env import delivery_env
from tests.support.jetstream import take
from tests.support.polling import until

BODY = b"Subject: hello\r\n\r\nworld\r\n"


class Older:
    """What a release without the retry lane does when it connects."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        settings = connection.settings
        self.stream = {**streams(settings)[0], "subjects": ["ingest.*"]}
        self.consumer = {
            name: value for name, value in consumers()[0].items() if name != "filter_subject"
        }

    async def ensure(self) -> None:
        present = (await self._connection.api(f"STREAM.INFO.{INGEST}"))["config"]
        await self._connection.api(f"STREAM.UPDATE.{INGEST}", {**present, **self.stream})
        await self._connection.api(
            f"CONSUMER.CREATE.{INGEST}.{INGEST_CONSUMER}",
            {"stream_name": INGEST, "config": self.consumer},
        )

    async def begin(self) -> None:
        """Bring the stream to the state in which such a release leaves it."""
        await self._connection.api(f"STREAM.DELETE.{INGEST}")
        await self._connection.api(f"STREAM.CREATE.{INGEST}", self.stream)
        await self.ensure()


async def layout(connection: Connection) -> tuple[list[str], dict[str, str]]:
    found = (await connection.api(f"STREAM.INFO.{INGEST}"))["config"]["subjects"]
    names = (await connection.api(f"CONSUMER.NAMES.{INGEST}"))["consumers"]
    filters = {}
    for name in names:
        config = (await connection.api(f"CONSUMER.INFO.{INGEST}.{name}"))["config"]
        filters[name] = config.get("filter_subject", "")
    return found, filters


LANES = {
    INGEST_CONSUMER: "ingest.*",
    RETRY_CONSUMER: "retry.*",
    UNSCANNED_CONSUMER: "unscanned.*",
    FRAMES_CONSUMER: FRAMES,
}
NOW = (list(LANES.values()), LANES)


async def test_a_stream_of_the_release_before_is_given_its_further_lanes_in_place(
    connection: Connection,
) -> None:
    older = Older(connection)
    await older.begin()
    for number in range(5):
        await connection.request("ingest.0", b"%d" % number)
    async with NatsIngestSource(connection) as source:
        (first,) = await source.take(1, 1)
        await ensure_layout(connection, connection.settings)
        assert await layout(connection) == NOW
        await first.set_aside()
        await first.ack()
        assert [each.octets for each in await take(source, 4)] == [b"1", b"2", b"3", b"4"]
        async with NatsIngestSource(connection, RETRY_CONSUMER) as retries:
            (again,) = await take(retries, 1)
            assert (again.octets, again.subject) == (b"0", "retry.0")


async def test_the_release_before_starts_and_takes_beside_this_one(connection: Connection) -> None:
    older = Older(connection)
    await connection.request("ingest.0", b"first")
    async with NatsIngestSource(connection) as source:
        (delivery,) = await take(source, 1)
        await delivery.set_aside()
        await delivery.ack()
        await older.ensure()  # it takes the subjects and the filter away, as it knows neither
        await connection.request("ingest.0", b"second")
        taken = await take(source, 2)  # now the first lane has the retries, too
        assert {each.octets for each in taken} == {b"first", b"second"}
        await ensure_layout(connection, connection.settings)
        assert await layout(connection) == NOW
        for each in taken:
            await each.ack()
        async with NatsIngestSource(connection, RETRY_CONSUMER) as retries:
            # what the first lane had from the second one may come a second time, which the ids make
            # harmless
            (again,) = await take(retries, 1)
            assert again.octets == b"first"
            await again.ack()

            async def empty() -> bool:
                return bool(
                    (await connection.api(f"STREAM.INFO.{INGEST}"))["state"]["messages"] == 0
                )

            await until(empty)


async def test_the_age_of_first_deliveries_leaves_the_retry_lane_out(
    connection: Connection,
) -> None:
    async with NatsIngestSource(connection) as source:
        assert (await source.backlog()).oldest_first is None
        await connection.request("retry.mx", b"long ago")
        backlog = await source.backlog()
        assert (backlog.messages, backlog.retrying, backlog.oldest_first) == (1, 1, None)
        assert backlog.oldest is not None
        before = datetime.now(UTC)
        await connection.request("ingest.mx", b"now")
        backlog = await source.backlog()
        assert (backlog.messages, backlog.retrying) == (2, 1)
        assert backlog.oldest is not None
        assert backlog.oldest_first is not None
        assert backlog.oldest < before <= backlog.oldest_first


async def lose(connection: Connection, *subjects: str, record: bytes = b"lost") -> None:
    """Put messages on the stream which its consumers step over: they look elsewhere while these
    arrive."""
    settings = consumers()
    for wanted in settings:
        await configure(
            connection,
            {**wanted, "filter_subject": wanted["filter_subject"].replace("*", "elsewhere")},
        )
    for subject in subjects:
        await connection.request(subject, record)
    for wanted in settings:
        subject = wanted["filter_subject"].replace("*", "elsewhere")
        await connection.request(subject, b"elsewhere")
        async with NatsIngestSource(connection, wanted["name"]) as source:
            (delivery,) = await take(source, 1)
            await delivery.ack()

            async def acknowledged(name: str = wanted["name"]) -> bool:
                return bool(
                    (await connection.api(f"CONSUMER.INFO.{INGEST}.{name}"))["num_ack_pending"] == 0
                )

            await until(acknowledged)
    for wanted in settings:
        await configure(connection, wanted)


async def configure(connection: Connection, wanted: dict[str, Any]) -> None:
    await connection.api(
        f"CONSUMER.CREATE.{INGEST}.{wanted['name']}", {"stream_name": INGEST, "config": wanted}
    )


async def test_what_no_consumer_knows_of_is_found_in_every_lane_and_what_they_know_is_not(
    connection: Connection,
) -> None:
    strays = NatsStrays(connection)
    assert await strays.find(100) == []
    await connection.request("ingest.mx", b"waits")
    assert await strays.find(100) == []
    async with NatsIngestSource(connection) as source:
        (delivery,) = await take(source, 1)
        assert await strays.find(100) == []
        await delivery.ack()
    await lose(connection, "ingest.mx", "ingest.api", "retry.mx", "unscanned.mx")
    found = await strays.find(100)
    assert [each.subject for each in found] == [
        *("ingest.mx", "ingest.api", "retry.mx", "unscanned.mx")
    ]
    assert [each.subject for each in await strays.find(2)] == ["ingest.mx", "ingest.api"]
    await connection.request("ingest.mx", b"waits")  # also while others wait
    assert len(await strays.find(100)) == 4
    await found[0].set_aside()
    for each in found:
        await each.ack()
        await each.ack()
    assert await strays.find(100) == []
    async with (
        NatsIngestSource(connection) as source,
        NatsIngestSource(connection, RETRY_CONSUMER) as retries,
    ):
        assert [each.octets for each in await take(source, 1)] == [b"waits"]
        assert [(each.octets, each.subject) for each in await take(retries, 1)] == [
            (b"lost", "retry.mx")
        ]


async def test_strays_are_delivered_once_and_the_stream_becomes_empty(
    nats: Nats, database_url: str, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        env = await stack.enter_async_context(delivery_env(nats, database_url, tmp_path / "blobs"))
        (account,) = await env.seed.accounts(1)
        placed = await env.send(BODY, "user0@example.test")
        (delivery,) = await env.take(1)
        await env.deliverer.deliver([delivery])
        await env.settled()
        await env.source.stop()
        await lose(env.nats, "ingest.0", record=delivery.octets)  # delivered, and still there
        other = delivery.octets.replace(
            str(placed.id).encode(), b"0190a0b4-0000-7000-8000-000000000000"
        )
        await lose(env.nats, "ingest.0", record=other)  # never delivered
        leads = [True, True, False]

        async def lead(_: float) -> bool:
            return leads.pop()

        repairer = Repairer(NatsStrays(env.nats), env.deliverer, lead)
        assert await repairer.look() == 0  # another process leads
        assert await repairer.look() == 0  # seen for the first time
        assert await env.left() == 2
        assert await repairer.look() == 2
        assert await env.left() == 0
        assert await env.bodies(account) == [BODY] * 2
        await env.seed.sums_hold()
