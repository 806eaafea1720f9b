"""The collector on real PostgreSQL and a real directory: what is dead goes, and nothing else
ever does."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from prometheus_client import REGISTRY

from posthorn.adapters.blobs.files import FileBlobs
from posthorn.adapters.postgres.database import Database
from posthorn.adapters.postgres.mailboxes.delivery import PostgresMailboxes
from posthorn.adapters.postgres.mailboxes.maildrops import PostgresMaildrops
from posthorn.adapters.postgres.mailboxes.segments import PostgresSegmentCatalog
from posthorn.model.blob_range import BlobRange
from posthorn.ports.blobs import BODIES, SEGMENTS, TRASH, BlobInfo, BlobMissing
from posthorn.ports.errors import Full, Unavailable
from posthorn.ports.ingest import Backlog
from posthorn.ports.segments import Segment, SegmentMessage
from posthorn.runtime.ids import new_id
from posthorn.wire.srs import VALID_DAYS
from posthorn_delivery.collector import Collector, CollectorBrakes, Round
from posthorn_delivery.collector_settings import CollectorSettings
from tests.support.builders import make_message
from tests.support.databases import pool
from tests.support.polling import BUSY_SECONDS
from tests.support.seed import DatabaseSeed

HOUR = 3600.0
EMPTY = Backlog(messages=0, octets=0, oldest=None, dead=0, oldest_dead=None)


class DatedBlobs(FileBlobs):
    """Blobs in a directory, whose times follow a clock of the test's own."""

    ahead = 0.0
    is_full = False

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._put_at: dict[str, datetime] = {}

    def now(self) -> float:
        return time.time() + self.ahead

    async def put(self, key: str, parts: Sequence[bytes]) -> None:
        if self.is_full:
            raise Full("blobs", "no space left")
        self._put_at[key] = datetime.fromtimestamp(self.now(), UTC)
        await super().put(key, parts)

    async def move(self, key: str, to: str) -> None:
        await super().move(key, to)
        self._put_at[to] = datetime.fromtimestamp(self.now(), UTC)

    async def list(self, prefix: str) -> AsyncIterator[BlobInfo]:
        async for blob in super().list(prefix):
            yield replace(blob, modified_at=self._put_at[blob.key])


class Store(DatabaseSeed):
    """Accounts, blobs, and time that can be made to pass."""

    def __init__(self, database: Database, blobs: DatedBlobs) -> None:
        super().__init__(database)
        self.blobs = blobs
        self.backlog: Backlog | Unavailable = EMPTY
        self.bodies: dict[UUID, bytes] = {}
        self.settings = CollectorSettings()
        self.released = False
        self.uncertain: Unavailable | None = None
        self.segments = PostgresSegmentCatalog(database)

    def now(self) -> float:
        return self.blobs.now()

    def collector(self, **settings: object) -> Collector:
        async def backlog() -> Backlog:
            if isinstance(self.backlog, Unavailable):
                raise self.backlog
            return self.backlog

        chosen = CollectorSettings.model_construct(**{**self.settings.model_dump(), **settings})
        brakes = CollectorBrakes.from_settings(chosen, lambda: self.released)
        return Collector(
            self.segments,
            self.blobs,
            backlog,
            chosen,
            self.now,
            certain=self._certain,
            brakes=brakes,
        )

    async def _certain(self) -> None:
        if self.uncertain is not None:
            raise self.uncertain

    async def pass_time(self, seconds: float) -> None:
        """Make everything that is there so much older."""
        self.blobs.ahead += seconds
        for statement in (
            "UPDATE segments SET created_at = created_at - make_interval(secs => $1),"
            " condemned_at = condemned_at - make_interval(secs => $1)",
            "UPDATE messages SET placed_at = placed_at - make_interval(secs => $1)",
            "UPDATE leaderships SET expires_at = expires_at - make_interval(secs => $1)",
        ):
            await self.rows(statement, seconds)

    async def place(self, account: int, *sizes: int) -> Segment:
        """Put a segment with messages of these sizes and place them."""
        messages, parts, offset = [], [], 0
        for size in sizes:
            one = make_message([account], size=size)
            body = os.urandom(size)
            messages.append(SegmentMessage(one.envelope, BlobRange(offset, size), one.accounts))
            self.bodies[one.envelope.id] = body
            parts.append(body)
            offset += size
        number = new_id()
        made = Segment(number, f"{SEGMENTS}{number}", offset, tuple(messages))
        await self.blobs.put(made.key, parts)
        await PostgresMailboxes(self.database).deliver([made])
        return made

    async def place_large(self, account: int, size: int) -> Segment:
        """A message with a blob of its own, as smtp-in writes it."""
        one = make_message([account], size=size)
        self.bodies[one.envelope.id] = os.urandom(size)
        made = Segment(one.envelope.id, f"{BODIES}{one.envelope.id}", size, (one,))
        await self.blobs.put(made.key, [self.bodies[one.envelope.id]])
        await PostgresMailboxes(self.database).deliver([made])
        return made

    async def delete(self, account: int, messages: Sequence[UUID]) -> None:
        holder = new_id()
        maildrops = PostgresMaildrops(self.database)
        located = await maildrops.locate(account, (await maildrops.open(account, holder)).uids)
        await maildrops.commit(
            account, holder, [uid for uid, at in located.items() if at.message in set(messages)]
        )

    async def living_read_back(self) -> int:
        """Every message that is referred to reads as it was placed. Return how many there are."""
        rows = await self.rows(
            "SELECT m.id, s.key, m.offset_octets, m.stored_octets FROM messages m"
            " LEFT JOIN segments s ON s.id = m.segment_id WHERE m.refs > 0"
        )
        for message, key, offset, length in rows:
            assert await self.blobs.read(key, offset, length) == self.bodies[message]
        return len(rows)

    async def keys(self) -> set[str]:
        """Of all blobs but those in the trash."""
        return {blob.key async for blob in self.blobs.list("") if not blob.key.startswith(TRASH)}

    async def trash(self) -> set[str]:
        return {blob.key async for blob in self.blobs.list(TRASH)}


@pytest.fixture
async def store(database_url: str, tmp_path: Path) -> AsyncIterator[Store]:
    blobs = DatedBlobs(tmp_path / "blobs")
    await blobs.open()
    async with pool(database_url) as database:
        yield Store(database, blobs)
    blobs.close()


def _ids(segment: Segment) -> list[UUID]:
    return [each.envelope.id for each in segment.messages]


async def test_a_dead_segment_goes_after_the_grace_period_and_not_before(store: Store) -> None:
    (account,) = await store.accounts(1)
    dead, alive = await store.place(account, 1000, 2000), await store.place(account, 500)
    await store.delete(account, _ids(dead))
    collector = store.collector()
    assert await collector.collect_once() == Round(condemned=1, octets=3000)
    assert await store.keys() == {dead.key, alive.key}, "a reader may be at it"
    await store.pass_time(store.settings.collector_grace_seconds - 60)
    assert (await collector.collect_once()).removed == 0
    await store.pass_time(61)
    assert (await collector.collect_once()).removed == 1
    assert await store.keys() == {alive.key}
    assert await store.value("SELECT count(*) FROM segments") == 1
    assert await collector.collect_once() == Round()
    assert await store.living_read_back() == 1


async def test_on_a_full_disk_what_frees_space_is_done(store: Store) -> None:
    (account,) = await store.accounts(1)
    dead = await store.place(account, 100)
    await store.delete(account, _ids(dead))
    mostly = await store.place(account, 1000, 300)
    await store.delete(account, [_ids(mostly)[0]])
    await store.collector().collect_once()
    await store.pass_time(
        store.settings.collector_grace_seconds + store.settings.collector_rewrite_age_seconds
    )
    store.blobs.is_full = True
    with pytest.raises(Full):
        await store.collector().collect_once()
    assert await store.keys() == {mostly.key}
    store.blobs.is_full = False
    assert (await store.collector().collect_once()).rewritten == 1


async def test_a_segment_mostly_dead_is_written_anew_with_its_living(store: Store) -> None:
    (account,) = await store.accounts(1)
    old = await store.place(account, 1000, 300, 4000, 200, 3000)
    await store.delete(account, [_ids(old)[place] for place in (0, 2, 4)])
    collector = store.collector()
    assert await collector.collect_once() == Round(), "too young"
    await store.pass_time(store.settings.collector_rewrite_age_seconds + 1)
    assert await collector.collect_once() == Round(rewritten=1, octets=8000)
    assert await store.living_read_back() == 2
    (new_key,) = await store.keys() - {old.key}
    assert [blob.size async for blob in store.blobs.list(new_key)] == [500]
    await store.pass_time(store.settings.collector_grace_seconds + 1)
    assert (await collector.collect_once()).removed == 1
    assert await store.keys() == {new_key}
    assert await store.living_read_back() == 2
    await store.sums_hold()


async def test_a_segment_half_alive_stays(store: Store) -> None:
    (account,) = await store.accounts(1)
    half = await store.place(account, 1000, 1000)
    await store.delete(account, _ids(half)[:1])
    await store.pass_time(29 * 24 * HOUR)
    done = await store.collector().collect_once()
    assert (done.rewritten, done.condemned, done.removed) == (0, 0, 0)
    assert await store.keys() == {half.key}


async def test_what_is_deleted_beside_much_that_lives_is_gone_after_a_month(store: Store) -> None:
    day = 24 * HOUR
    (account,) = await store.accounts(1)
    old = await store.place(account, *(100 for _ in range(10)))
    collector = store.collector()
    await store.delete(account, _ids(old)[:1])
    await store.pass_time(29 * day)
    assert (await collector.collect_once()).rewritten == 0
    await store.pass_time(2 * day)
    assert (await collector.collect_once()).rewritten == 1
    await store.pass_time(HOUR)
    await store.delete(account, _ids(old)[1:2])
    assert (await collector.collect_once()).rewritten == 0, "once in a month"
    (left,) = await store.keys()
    assert [blob.size async for blob in store.blobs.list(left)] == [900]
    assert await store.living_read_back() == 8


async def test_living_bodies_far_apart_are_moved_one_by_one(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("posthorn_delivery.collector._SPAN_OCTETS", 1000)
    (account,) = await store.accounts(1)
    old = await store.place(account, 100, 5000, 100)
    await store.delete(account, _ids(old)[1:2])
    await store.pass_time(HOUR)
    assert (await store.collector().collect_once()).rewritten == 1
    assert await store.living_read_back() == 2


async def test_a_large_body_is_removed_but_never_written_anew(store: Store) -> None:
    (account,) = await store.accounts(1)
    dead, alive = await store.place_large(account, 9000), await store.place_large(account, 9000)
    await store.delete(account, _ids(dead))
    # as if it were mostly dead
    await store.rows("UPDATE segments SET octets = 90000 WHERE id = $1", alive.id)
    await store.pass_time(HOUR)
    collector = store.collector()
    done = await collector.collect_once()
    assert (done.condemned, done.rewritten) == (1, 0)
    await store.pass_time(HOUR)
    await collector.collect_once()
    assert await store.keys() == {alive.key}
    assert await store.living_read_back() == 1


async def test_deletes_while_a_segment_is_written_anew_lose_nothing(store: Store) -> None:
    (account,) = await store.accounts(1)
    old = await store.place(account, 5000, 100, 100)
    await store.delete(account, _ids(old)[:1])
    await store.pass_time(HOUR)
    put = store.blobs.put

    async def put_slowly(key: str, parts: Sequence[bytes]) -> None:
        await put(key, parts)
        await store.delete(account, _ids(old)[1:2])

    store.blobs.put = put_slowly  # type: ignore[method-assign]
    assert (await store.collector().collect_once()).rewritten == 0
    store.blobs.put = put  # type: ignore[method-assign]
    assert await store.keys() == {old.key}, "the new blob, which nothing names, is gone at once"
    assert await store.living_read_back() == 1
    assert (await store.collector().collect_once()).rewritten == 1
    assert await store.living_read_back() == 1
    await store.sums_hold()


async def test_a_damaged_blob_does_not_hold_up_the_others(store: Store) -> None:
    (account,) = await store.accounts(1)
    lost, short, good = [await store.place(account, 5000, 100) for _ in range(3)]
    for segment in (lost, short, good):
        await store.delete(account, _ids(segment)[:1])
    await store.blobs.delete(lost.key)
    await store.blobs.put(short.key, [b"x" * 5000])
    await store.pass_time(HOUR)
    assert (await store.collector().collect_once()).rewritten == 1
    rows = await store.rows("SELECT key FROM segments WHERE condemned_at IS NULL")
    assert {lost.key, short.key} < {key for (key,) in rows}, (
        "they stay named, for whoever restores them"
    )


async def test_orphans_go_when_they_are_old_and_never_when_they_are_young(store: Store) -> None:
    (account,) = await store.accounts(1)
    named = await store.place(account, 100)
    await store.blobs.put("segments/orphan", [b"left by a crash between PUT and commit"])
    collector = store.collector()
    assert (await collector.collect_once()).orphans == 0
    await store.pass_time(store.settings.collector_orphan_interval_seconds + 1)
    assert (await collector.collect_once()).orphans == 0, "suspected for the first time"
    await store.pass_time(store.settings.collector_orphan_interval_seconds)
    await store.blobs.put("segments/young", [b"a batch has just written it"])
    await store.pass_time(60)
    assert (await collector.collect_once()).orphans == 1
    assert await store.keys() == {named.key, "segments/young"}
    assert await store.trash() == {"trash/segments/orphan"}
    assert await store.living_read_back() == 1


async def test_the_search_for_orphans_waits_for_its_interval(store: Store) -> None:
    collector = store.collector()
    await collector.collect_once()
    await store.blobs.put("segments/orphan", [b"x"])
    await store.pass_time(7 * HOUR)
    assert (await collector.collect_once()).orphans == 0, "the first search that finds it"
    await store.pass_time(5 * HOUR)
    assert (await collector.collect_once()).orphans == 0
    await store.pass_time(2 * HOUR)
    assert (await collector.collect_once()).orphans == 1


async def test_many_orphans_go_in_one_search(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("posthorn_delivery.orphans._SWEEP_PAGE", 7)
    (account,) = await store.accounts(1)
    named = {(await store.place(account, 10)).key for _ in range(5)}
    for number in range(20):
        await store.blobs.put(
            f"segments/{new_id()}" if number % 2 else f"segments/orphan-{number}", [b"x"]
        )
    collector = store.collector()
    assert await _search(store, collector) == 0
    assert await _search(store, collector) == 20
    assert await store.keys() == named
    assert len(await store.trash()) == 20


async def _search(store: Store, collector: Collector) -> int:
    await store.pass_time(7 * HOUR)
    return (await collector.collect_once()).orphans


def _waiting(store: Store, *, seconds: float) -> Backlog:
    return Backlog(3, 3000, datetime.fromtimestamp(store.now() - seconds, UTC), 0, None)


async def test_a_body_without_a_row_goes_at_the_second_search(store: Store) -> None:
    await store.blobs.put(
        "bodies/orphan", [b"the connection broke before the end of data was confirmed"]
    )
    collector = store.collector()
    assert await _search(store, collector) == 0
    assert await store.keys() == {"bodies/orphan"}
    assert await _search(store, collector) == 1
    assert await store.keys() == set()


async def test_a_body_stays_while_its_message_may_be_parked(store: Store) -> None:
    await store.blobs.put("bodies/parked", [b"x"])
    collector = store.collector()
    for _ in range(3):
        store.backlog = Backlog(0, 0, None, 1, datetime.fromtimestamp(store.now(), UTC))
        assert await _search(store, collector) == 0
    # an administrator retried it: it is on INGEST for a moment, then placed or parked
    store.backlog = EMPTY
    assert await _search(store, collector) == 0
    store.backlog = Backlog(0, 0, None, 1, datetime.fromtimestamp(store.now(), UTC))
    assert await _search(store, collector) == 0
    store.backlog = EMPTY
    assert await _search(store, collector) == 0, "what was seen before it was parked counts no more"
    assert await store.keys() == {"bodies/parked"}
    assert await _search(store, collector) == 1


async def test_a_body_stays_while_the_stream_does_not_move_or_is_as_old(store: Store) -> None:
    await store.blobs.put("bodies/waiting", [b"x"])
    collector = store.collector()
    for _ in range(3):
        store.backlog = _waiting(store, seconds=-7 * HOUR + 900)
        assert await _search(store, collector) == 0
    assert await store.keys() == {"bodies/waiting"}
    store.backlog = _waiting(store, seconds=-7 * HOUR + 5)
    assert await _search(store, collector) == 0
    store.backlog = _waiting(store, seconds=-7 * HOUR + 5)
    assert await _search(store, collector) == 1


async def test_a_body_that_was_placed_meanwhile_stays(store: Store) -> None:
    (account,) = await store.accounts(1)
    one = make_message([account], size=4)
    await store.blobs.put(f"{BODIES}{one.envelope.id}", [b"body"])
    store.bodies[one.envelope.id] = b"body"
    collector = store.collector()
    assert await _search(store, collector) == 0
    key = f"{BODIES}{one.envelope.id}"
    await PostgresMailboxes(store.database).deliver([Segment(one.envelope.id, key, 4, (one,))])
    assert await _search(store, collector) == 0
    assert await store.living_read_back() == 1


async def test_without_knowing_the_backlog_no_orphan_goes_but_the_rest_is_done(
    store: Store,
) -> None:
    (account,) = await store.accounts(1)
    dead = await store.place(account, 100)
    await store.delete(account, _ids(dead))
    await store.blobs.put("segments/orphan", [b"x"])
    await store.pass_time(2 * HOUR)
    store.backlog = Unavailable("nats")
    collector = store.collector()
    with pytest.raises(Unavailable, match="nats"):
        await collector.collect_once()
    assert await store.value("SELECT count(*) FROM segments WHERE condemned_at IS NOT NULL") == 1
    assert await store.keys() == {dead.key, "segments/orphan"}
    store.backlog = EMPTY
    assert await _search(store, collector) == 0
    assert await _search(store, collector) == 1


async def test_ids_of_dead_messages_are_kept_for_a_week(store: Store) -> None:
    (account,) = await store.accounts(1)
    first = await store.place(account, 100, 100)
    await store.delete(account, _ids(first)[:1])
    collector = store.collector()
    await store.pass_time(6 * 24 * HOUR)
    assert (await collector.collect_once()).forgotten == 0
    assert await PostgresMailboxes(store.database).deliver([first]) == 0, (
        "a late redelivery does nothing"
    )
    await store.pass_time(25 * HOUR)
    assert (await collector.collect_once()).forgotten == 1
    assert await store.value("SELECT count(*) FROM messages") == 1


async def test_one_of_many_processes_collects_and_another_takes_over(store: Store) -> None:
    (account,) = await store.accounts(1)
    dead = await store.place(account, 100)
    leader = store.collector()
    assert await leader.collect_once() == Round()
    await store.delete(account, _ids(dead))
    store.segments = PostgresSegmentCatalog(store.database)
    other = store.collector()
    assert await other.collect_once() == Round(), "the first one leads"
    await store.pass_time(store.settings.collector_interval_seconds + 61)  # it has gone
    assert (await other.collect_once()).condemned == 1
    assert await leader.collect_once() == Round()


async def test_a_store_that_fails_ends_the_round_and_the_next_goes_on(store: Store) -> None:
    (account,) = await store.accounts(1)
    for _ in range(3):
        await store.delete(account, _ids(await store.place(account, 100)))
    collector = store.collector(collector_interval_seconds=0.02)
    await collector.collect_once()
    await store.pass_time(HOUR)
    delete, calls = store.blobs.delete, 0

    async def fail_twice(key: str) -> None:
        nonlocal calls
        calls += 1
        if calls in (1, 3):
            raise Unavailable("blobs", "down")
        await delete(key)

    store.blobs.delete = fail_twice  # type: ignore[method-assign]
    running = asyncio.create_task(collector.run())
    try:
        async with asyncio.timeout(BUSY_SECONDS):
            while await store.keys() or await store.value("SELECT count(*) FROM segments"):
                await asyncio.sleep(0.01)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert calls >= 4


async def test_more_than_one_batch_is_worked_off_in_a_round(store: Store) -> None:
    (account,) = await store.accounts(1)
    dead = [await store.place(account, 100) for _ in range(7)]
    mostly = [await store.place(account, 900, 100) for _ in range(7)]
    await store.delete(account, [each for segment in dead for each in _ids(segment)])
    await store.delete(account, [_ids(segment)[0] for segment in mostly])
    await store.pass_time(HOUR)
    collector = store.collector(collector_batch=2)
    done = await collector.collect_once()
    assert (done.condemned, done.rewritten) == (7, 7)
    await store.pass_time(HOUR)
    assert (await collector.collect_once()).removed == 14
    assert await store.living_read_back() == 7
    assert len(await store.keys()) == 7


@pytest.mark.parametrize("random_seed", range(6))
async def test_whatever_happens_every_living_message_reads_back(
    store: Store, random_seed: int
) -> None:
    """Deliveries, redeliveries, deletions, crashes and rounds of two collectors, in any order
    and at once."""
    chance = random.Random(random_seed)
    accounts = await store.accounts(3)
    collectors = [store.collector(collector_batch=chance.choice((1, 3, 50))) for _ in range(2)]
    placed: list[Segment] = []

    async def deliver() -> None:
        placed.append(
            await store.place(chance.choice(accounts), *chance.choices((10, 100, 1000, 5000), k=6))
        )

    async def deliver_large() -> None:
        placed.append(await store.place_large(chance.choice(accounts), 7000))

    async def redeliver() -> None:
        if placed:
            again = chance.choice(placed)
            number = again.id if again.key.startswith(BODIES) else new_id()
            copy = Segment(
                number, again.key.replace(str(again.id), str(number)), again.octets, again.messages
            )
            bodies = [store.bodies[each.envelope.id] for each in again.messages]
            await store.blobs.put(copy.key, bodies)
            await PostgresMailboxes(store.database).deliver([copy])

    async def crash() -> None:
        await store.blobs.put(f"{chance.choice((SEGMENTS, BODIES))}{new_id()}", [b"left behind"])

    async def delete() -> None:
        account = chance.choice(accounts)
        inbox = [message for _, message in await store.inbox(account)]
        await store.delete(
            account, chance.sample(inbox, round(len(inbox) * chance.choice((0.3, 0.8, 1))))
        )

    async def collect() -> None:
        await chance.choice(collectors).collect_once()

    async def read() -> None:
        await store.living_read_back()

    for _ in range(25):
        await asyncio.gather(
            chance.choice((deliver, deliver, deliver_large, redeliver, crash))(), collect()
        )
        await delete()
        await asyncio.gather(collect(), chance.choice((deliver, crash, read))())
        await store.pass_time(chance.choice((1, 700, 2000, 8 * HOUR)))
    alive = await store.living_read_back()
    await store.sums_hold()
    for account in accounts:
        await store.delete(account, [message for _, message in await store.inbox(account)])
    for _ in range(3):
        await store.pass_time(8 * HOUR)
        for collector in collectors:
            await collector.collect_once()
    assert alive
    assert await store.keys() == set(), "and in the end nothing is left"
    assert await store.value("SELECT count(*) FROM segments") == 0


async def test_a_reader_that_located_a_message_has_time_to_read_it(store: Store) -> None:
    (account,) = await store.accounts(1)
    old = await store.place(account, 5000, 100)
    await store.delete(account, _ids(old)[:1])
    ((key, offset, length),) = await store.rows(
        "SELECT s.key, offset_octets, stored_octets FROM messages m JOIN segments s ON s.id = m.segment_id WHERE refs > 0"
    )
    await store.pass_time(HOUR)
    collector = store.collector()
    await collector.collect_once()
    assert await store.blobs.read(key, offset, length) == store.bodies[_ids(old)[1]], (
        "moved, and still there"
    )
    await store.pass_time(HOUR)
    await collector.collect_once()
    with pytest.raises(BlobMissing):
        await store.blobs.read(key, offset, length)


async def test_the_lower_limits_protect_what_is_in_use() -> None:
    for name, value in (
        ("collector_grace_seconds", 999),
        ("collector_orphan_age_seconds", 1799),
        ("collector_forget_age_seconds", 3600),
        ("collector_live_share", 1.0),
    ):
        with pytest.raises(ValueError, match=name):
            CollectorSettings(**{name: value})  # type: ignore[arg-type]
    assert timedelta(seconds=CollectorSettings().collector_forget_age_seconds) == timedelta(days=7)


async def test_what_lies_in_the_trash_for_long_is_deleted_and_not_before(store: Store) -> None:
    await store.blobs.put("segments/orphan", [b"x"])
    collector = store.collector()
    assert (await _search(store, collector), await _search(store, collector)) == (0, 1)
    await store.pass_time(store.settings.collector_trash_seconds - 2 * HOUR)
    assert (await collector.collect_once()).discarded == 0
    assert await store.trash() == {"trash/segments/orphan"}
    await store.pass_time(7 * HOUR)
    assert (await collector.collect_once()).discarded == 1
    assert await store.trash() == set()


@pytest.mark.parametrize("why", ["parked", "unknown"])
async def test_a_body_stays_in_the_trash_while_its_message_may_wait(store: Store, why: str) -> None:
    body, segment = f"{TRASH}{BODIES}{new_id()}", f"{TRASH}{SEGMENTS}{new_id()}"
    for key in (body, segment):
        await store.blobs.put(key, [b"of a message in a restored backup"])
    await store.pass_time(8 * 24 * HOUR)
    if why == "parked":
        store.backlog = replace(EMPTY, dead=1)
        assert await _search(store, store.collector()) == 0
    else:
        store.backlog = Unavailable("nats", "it is away")
        with pytest.raises(Unavailable):
            await store.collector().collect_once()
    assert await store.trash() == {body}
    store.backlog = EMPTY
    await _search(store, store.collector())
    assert await store.trash() == set()


async def test_what_a_row_names_after_all_comes_back_from_the_trash(store: Store) -> None:
    (account,) = await store.accounts(1)
    segment = await store.place(account, 100, 200)
    row = (await store.rows("SELECT id, key, octets, live_octets FROM segments"))[0]
    await store.rows("UPDATE messages SET segment_id = NULL")
    await store.rows("DELETE FROM segments")  # as by a database that was put back
    collector = store.collector()
    assert (await _search(store, collector), await _search(store, collector)) == (0, 1)
    assert await store.keys() == set()
    await store.rows(
        "INSERT INTO segments (id, key, octets, live_octets) VALUES ($1, $2, $3, $4)", *row
    )
    await store.rows("UPDATE messages SET segment_id = $1", row[0])
    assert (await store.collector().collect_once()).rescued == 1, (
        "the first search of a process looks there"
    )
    assert await store.keys() == {segment.key}
    assert await store.living_read_back() == 2


async def test_a_search_that_finds_many_orphans_moves_none_until_the_brake_is_let_go(
    store: Store,
) -> None:
    (account,) = await store.accounts(1)
    named = (await store.place(account, 10)).key
    orphans = {f"segments/orphan-{number}" for number in range(12)}
    for key in orphans:
        await store.blobs.put(key, [b"x"])
    collector = store.collector(collector_orphan_most=11)
    for _ in range(3):
        assert await _search(store, collector) == 0
    assert await store.keys() == {named, *orphans}
    assert _brake("orphans") == 1
    store.released = True
    assert await _search(store, collector) == 12
    assert await store.keys() == {named}
    assert _brake("orphans") == 0


async def test_bodies_of_refused_messages_do_not_hold_the_brake(store: Store) -> None:
    for number in range(12):
        await store.blobs.put(f"{BODIES}refused-{number}", [])
    await store.blobs.put(f"{SEGMENTS}orphan", [b"x"])
    collector = store.collector(collector_orphan_most=1)
    assert (await _search(store, collector), await _search(store, collector)) == (0, 13)
    assert await store.keys() == set()


async def test_a_share_of_orphans_may_go_where_there_are_many_blobs(store: Store) -> None:
    (account,) = await store.accounts(1)
    for _ in range(18):
        await store.place(account, 10)
    for number in range(2):
        await store.blobs.put(f"segments/orphan-{number}", [b"x"])
    strict = store.collector(collector_orphan_most=0, collector_orphan_most_share=0.09)
    assert (await _search(store, strict), await _search(store, strict)) == (0, 0)
    lenient = store.collector(collector_orphan_most=0, collector_orphan_most_share=0.1)
    assert (await _search(store, lenient), await _search(store, lenient)) == (0, 2)


async def test_mail_that_stood_long_is_not_removed_at_once_in_great_numbers(store: Store) -> None:
    (account,) = await store.accounts(1)
    old = [await store.place(account, 10) for _ in range(4)]
    await store.pass_time(48 * HOUR)
    young = [await store.place(account, 10) for _ in range(3)]
    for segment in (*old, *young):
        await store.delete(account, _ids(segment))
    collector = store.collector(collector_removal_most=3)
    await collector.collect_once()
    await store.pass_time(HOUR)
    assert (await collector.collect_once()).removed == 3, (
        "what lived for less than a day is no part of it"
    )
    assert await store.keys() == {segment.key for segment in old}
    assert _brake("removal") == 1
    store.released = True
    assert (await collector.collect_once()).removed == 4
    assert await store.keys() == set()
    assert _brake("removal") == 0


async def test_a_share_of_what_stood_long_may_go(store: Store) -> None:
    (account,) = await store.accounts(1)
    old = [await store.place(account, 10) for _ in range(10)]
    await store.pass_time(48 * HOUR)
    for segment in old[:2]:
        await store.delete(account, _ids(segment))
    collector = store.collector(collector_removal_most=0)
    await collector.collect_once()
    await store.pass_time(HOUR)
    assert (await collector.collect_once()).removed == 2, "a fifth"


async def test_nothing_goes_while_it_is_not_certain_that_the_stores_belong_together(
    store: Store,
) -> None:
    (account,) = await store.accounts(1)
    dead, alive = await store.place(account, 10), await store.place(account, 10)
    await store.delete(account, _ids(dead))
    await store.collector().collect_once()
    await store.blobs.put("segments/orphan", [b"x"])
    await store.pass_time(24 * HOUR)
    store.uncertain = Unavailable("installation", "another one")
    collector = store.collector()
    for _ in range(3):
        with pytest.raises(Unavailable, match="another one"):
            await _search(store, collector)
    assert await store.keys() == {dead.key, alive.key, "segments/orphan"}
    store.uncertain = None
    await _search(store, collector)
    await _search(store, collector)
    assert await store.keys() == {alive.key}


def _brake(name: str) -> float | None:
    return REGISTRY.get_sample_value("posthorn_brake_holding", {"brake": name})


async def test_long_senders_are_forgotten_after_the_time_of_their_addresses(store: Store) -> None:
    await store.rows(
        "INSERT INTO long_senders SELECT 'example.test', n, 'sender@far.test', (now() AT TIME ZONE 'UTC')::date - n"
        "  FROM generate_series(0, 30) AS n"
    )
    collector = store.collector()
    assert (await collector.collect_once()).long_senders == 30 - VALID_DAYS - 2
    kept = await store.value(
        "SELECT max((now() AT TIME ZONE 'UTC')::date - used_on) FROM long_senders"
    )
    assert kept == VALID_DAYS + 2
