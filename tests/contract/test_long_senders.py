"""Senders too long to be rewritten, on PostgreSQL: stored with the forward, found again,
bounded, and forgotten (ADR 27)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from asyncpg import DataError

from posthorn.adapters.postgres.database import Database
from posthorn.adapters.postgres.mailboxes.delivery import PostgresMailboxes
from posthorn.adapters.postgres.mailboxes.segments import PostgresSegmentCatalog
from posthorn.adapters.postgres.queue.enqueue import QueuePolicy
from posthorn.adapters.postgres.schema import DEFAULT_TENANT
from posthorn.model.forward_limits import ForwardLimits
from posthorn.model.outbound import Notify, Outbound, QueueState, RecipientDsn
from posthorn.ports.segments import SegmentMessage
from posthorn.runtime.queue_settings import ForwardSettings
from posthorn.wire.srs import rewrite_long, token_of
from tests.support.builders import make_message, make_segment
from tests.support.databases import as_part, pool
from tests.support.seed import DatabaseSeed

KEY = b"k" * 32
DAY = 20_000
DAY_SECONDS = 86_400
ONE, OTHER = (f"bounces+{'0' * 60}{number}@mailer.example" for number in (1, 2))


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with pool(as_part(database_url, "delivery"), database_pool=8) as opened:
        yield opened


@pytest.fixture
async def seed(database_url: str) -> AsyncIterator[DatabaseSeed]:
    async with pool(database_url) as own:
        made = DatabaseSeed(own)
        for name in ("example.test", "other.test"):
            await made.domain(name)
        yield made


def forwarded(
    sender: str, *aliases: str, day: int = DAY, token: str | None = None
) -> SegmentMessage:
    """A message from the sender, forwarded by each of the aliases."""
    outbound = tuple(
        Outbound(
            f"to{number}@far.test",
            "far.test",
            rewrite_long(sender, alias.rpartition("@")[2], KEY, day),
            alias,
            tenant=DEFAULT_TENANT,
            alias=alias,
            long_token=token_of(sender) if token is None else token,
        )
        for number, alias in enumerate(aliases)
    )
    made = make_message((), reverse_path=sender, received_at=day * DAY_SECONDS + 5.0)
    return replace(made, outbound=outbound, tenant=DEFAULT_TENANT)


async def stored(seed: DatabaseSeed) -> list[tuple[str, str, int]]:
    """Domain, sender, and day since the epoch."""
    return await seed.rows(
        "SELECT domain, sender, used_on - '1970-01-01'::date FROM long_senders ORDER BY domain, sender"
    )


async def paths(seed: DatabaseSeed) -> list[str]:
    return [
        path
        for (path,) in await seed.rows("SELECT reverse_path FROM outbound_recipients ORDER BY id")
    ]


async def test_a_sender_is_stored_with_the_forward_and_found_by_its_token(
    seed: DatabaseSeed, mailboxes: PostgresMailboxes
) -> None:
    await mailboxes.deliver(
        [make_segment([forwarded(ONE, "a@example.test", "b@example.test", "a@other.test")])]
    )
    assert await stored(seed) == [("example.test", ONE, DAY), ("other.test", ONE, DAY)]
    assert await paths(seed) == [
        rewrite_long(ONE, f"{name}.test", KEY, DAY) for name in ("example", "example", "other")
    ]
    transactions = (
        "SELECT xmin::text FROM long_senders UNION SELECT xmin::text FROM outbound_recipients"
    )
    assert len(await seed.rows(transactions)) == 1
    here, elsewhere = ("example.test", token_of(ONE)), ("nowhere.test", token_of(ONE))
    assert await mailboxes.long_senders([here, elsewhere, ("example.test", token_of(OTHER))]) == {
        here: ONE
    }
    assert await mailboxes.long_senders([]) == {}


async def test_a_sender_keeps_its_row_and_the_row_its_last_day(
    seed: DatabaseSeed, mailboxes: PostgresMailboxes
) -> None:
    for day in (DAY, DAY + 3, DAY + 1):
        await mailboxes.deliver([make_segment([forwarded(ONE, "a@example.test", day=day)])])
    assert await stored(seed) == [("example.test", ONE, DAY + 3)]
    assert "" not in await paths(seed)


async def test_a_message_placed_again_stores_and_charges_nothing(seed: DatabaseSeed) -> None:
    mailboxes = PostgresMailboxes(seed.database, QueuePolicy(limits=ForwardLimits(long_senders=2)))
    message = forwarded(ONE, "a@example.test")
    await mailboxes.deliver([make_segment([message])])
    before = await seed.rows("SELECT key, full_at FROM throttles")
    assert [key for key, _ in before] == ["long-senders:example.test"]
    await seed.rows("DELETE FROM long_senders")
    await mailboxes.deliver([make_segment([message])])
    assert (await stored(seed), await seed.rows("SELECT key, full_at FROM throttles")) == (
        [],
        before,
    )


async def test_a_batch_that_fails_stores_and_charges_nothing(
    seed: DatabaseSeed, database: Database
) -> None:
    mailboxes = PostgresMailboxes(database, QueuePolicy(limits=ForwardLimits(long_senders=2)))
    poison = forwarded(OTHER, "a@example.test")
    # the queue takes it no more, at the end
    too_large = replace(poison.outbound[0], dsn=RecipientDsn(Notify(1 << 20)))
    with pytest.raises(DataError):
        await mailboxes.deliver(
            [
                make_segment(
                    [forwarded(ONE, "a@example.test"), replace(poison, outbound=(too_large,))]
                )
            ]
        )
    assert (await stored(seed), await seed.rows("SELECT key FROM throttles")) == ([], [])


async def test_a_domain_stores_so_many_new_ones_an_hour_and_goes_on_with_those_it_knows(
    seed: DatabaseSeed, database: Database
) -> None:
    mailboxes = PostgresMailboxes(database, QueuePolicy(limits=ForwardLimits(long_senders=2)))
    names = [f"{'x' * 60}{number}@mailer.example" for number in range(4)]
    await mailboxes.deliver(
        [make_segment([forwarded(name, "a@example.test") for name in names[:3]])]
    )
    assert [sender for _, sender, _ in await stored(seed)] == names[:2]
    assert [bool(path) for path in await paths(seed)] == [True, True, False]
    await mailboxes.deliver(
        [
            make_segment(
                [
                    forwarded(name, "a@example.test", "a@other.test", day=DAY + 1)
                    for name in (names[0], names[3])
                ]
            )
        ]
    )
    assert [path.partition("@")[2] for path in (await paths(seed))[3:]] == [
        "example.test",
        "other.test",
        "",
        "other.test",
    ]
    assert await seed.rows("SELECT DISTINCT state FROM outbound_recipients") == [("queued",)]
    await seed.rows("UPDATE throttles SET full_at = full_at - interval '30 minutes'")
    await mailboxes.deliver([make_segment([forwarded(names[3], "a@example.test")])])
    assert (await paths(seed))[-1], "half an hour makes room for one"


def test_the_settings_bound_them_unless_told_not_to(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ForwardSettings.load().forward_limits.long_senders == 1000
    for given, limit in (("25", 25), ("0", None)):
        monkeypatch.setenv("POSTHORN_FORWARD_LONG_SENDERS_PER_HOUR", given)
        assert ForwardSettings.load().forward_limits.long_senders == limit


async def test_what_is_not_sent_now_or_not_by_a_token_stores_nothing(
    seed: DatabaseSeed, mailboxes: PostgresMailboxes
) -> None:
    held = forwarded(ONE, "a@example.test")
    ended = replace(held.outbound[0], state=QueueState.BOUNCED)
    await mailboxes.deliver(
        [
            make_segment(
                [replace(held, outbound=(ended,)), forwarded(OTHER, "a@example.test", token="")]
            )
        ]
    )
    assert await stored(seed) == []


async def test_of_two_senders_with_one_token_the_second_is_not_stored(
    seed: DatabaseSeed, mailboxes: PostgresMailboxes
) -> None:
    token = token_of(ONE)
    await mailboxes.deliver([make_segment([forwarded(ONE, "a@example.test")])])
    await mailboxes.deliver(
        [make_segment([forwarded(OTHER, "a@example.test", token=token, day=DAY + 1)])]
    )
    assert await stored(seed) == [("example.test", ONE, DAY)]
    assert [bool(path) for path in await paths(seed)] == [True, False]


async def test_batches_at_once_with_the_same_senders_all_store_them(
    seed: DatabaseSeed, database: Database
) -> None:
    mailboxes = PostgresMailboxes(database, QueuePolicy(limits=ForwardLimits(long_senders=1000)))
    names = [f"{'y' * 60}{number:02}@mailer.example" for number in range(20)]
    batches = (names, names[::-1], names[10:] + names[:10])
    await asyncio.gather(
        *(
            mailboxes.deliver([make_segment([forwarded(name, "a@example.test") for name in batch])])
            for batch in batches
        )
    )
    assert [sender for _, sender, _ in await stored(seed)] == names
    assert "" not in await paths(seed)


async def test_rows_are_forgotten_when_no_address_can_name_them_any_more(
    seed: DatabaseSeed, mailboxes: PostgresMailboxes, database: Database
) -> None:
    await mailboxes.deliver(
        [make_segment([forwarded(name, "a@example.test") for name in (ONE, OTHER)])]
    )
    await seed.rows(
        "UPDATE long_senders SET used_on = (now() AT TIME ZONE 'UTC')::date - CASE WHEN sender = $1 THEN 24 ELSE 23 END",
        ONE,
    )
    catalog = PostgresSegmentCatalog(database)
    assert await catalog.forget_long_senders(24, 10) == 0
    assert await catalog.forget_long_senders(23, 10) == 1
    assert [sender for _, sender, _ in await stored(seed)] == [OTHER]
    await seed.rows("UPDATE long_senders SET used_on = '2000-01-01'")
    await seed.rows("INSERT INTO long_senders VALUES ('a.test', 'x', 'x@y', '2000-01-02')")
    assert await catalog.forget_long_senders(23, 1) == 1
    assert [domain for domain, _, _ in await stored(seed)] == ["a.test"], "the oldest first"
