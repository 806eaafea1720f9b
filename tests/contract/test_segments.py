"""The port SegmentCatalog on PostgreSQL: one collector, and no message lost while its octets
move."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from uuid import UUID

import asyncpg
import pytest

from posthorn.adapters.postgres.database import Connection, Database
from posthorn.adapters.postgres.mailboxes.delivery import PostgresMailboxes
from posthorn.adapters.postgres.mailboxes.maildrops import PostgresMaildrops
from posthorn.adapters.postgres.mailboxes.segments import PostgresSegmentCatalog
from posthorn.model.blob_range import BlobRange
from posthorn.ports.segments import DeadSegment, LiveMessage, Segment, SegmentMessage
from posthorn.runtime.ids import new_id
from tests.support.builders import make_message, make_segment
from tests.support.databases import as_part, pool, until_waiting
from tests.support.seed import DatabaseSeed

pytestmark = pytest.mark.usefixtures("sound")


@pytest.fixture
async def segments(database_url: str) -> AsyncIterator[PostgresSegmentCatalog]:
    async with pool(as_part(database_url, "delivery"), database_pool=8) as own:
        yield PostgresSegmentCatalog(own)


class StoredMail(DatabaseSeed):
    """Accounts with mail."""

    async def place(self, *messages: SegmentMessage) -> Segment:
        packed, offset = [], 0
        for each in messages:
            packed.append(replace(each, blob_range=BlobRange(offset, each.blob_range.length)))
            offset += each.blob_range.length
        made = make_segment(packed)
        await PostgresMailboxes(self.database).deliver([made])
        return made

    async def delete(self, account: int, *uids: int) -> None:
        holder = new_id()
        maildrops = PostgresMaildrops(self.database)
        await maildrops.open(account, holder)
        await maildrops.commit(account, holder, uids)

    async def age(self, part: Segment, seconds: float) -> None:
        await self.rows(
            "UPDATE segments SET created_at = now() - make_interval(secs => $2) WHERE id = $1",
            part.id,
            seconds,
        )

    async def state(self, part: UUID) -> tuple[int, bool]:
        """Live octets, and whether the segment is marked for removal."""
        live, condemned = (
            await self.rows(
                "SELECT live_octets, condemned_at IS NOT NULL FROM segments WHERE id = $1", part
            )
        )[0]
        return live, condemned


@pytest.fixture
def mail(database: Database) -> StoredMail:
    return StoredMail(database)


class TestLead:
    async def test_there_is_one_collector_until_its_time_runs_out(
        self, mail: StoredMail, database: Database, segments: PostgresSegmentCatalog
    ) -> None:
        other = PostgresSegmentCatalog(database)
        assert await segments.lead(60)
        assert await segments.lead(60)
        assert not await other.lead(60)
        await mail.rows("UPDATE leaderships SET expires_at = now() - interval '1 second'")
        assert await other.lead(60)
        assert not await segments.lead(60)

    async def test_of_many_at_once_one_leads(self, database: Database) -> None:
        assert (
            sum(
                await asyncio.gather(*(PostgresSegmentCatalog(database).lead(60) for _ in range(8)))
            )
            == 1
        )


class TestMostlyDead:
    async def test_segments_with_few_live_octets_come_oldest_first(
        self, mail: StoredMail, segments: PostgresSegmentCatalog
    ) -> None:
        (ada,) = await mail.accounts(1)
        half = await mail.place(make_message([ada], size=50), make_message([], size=50))
        dead = await mail.place(make_message([], size=80))
        full = await mail.place(make_message([ada], size=80))
        for part, seconds in ((half, 500), (dead, 900), (full, 900)):
            await mail.age(part, seconds)
        both = [DeadSegment(dead.id, dead.key, 80, 0), DeadSegment(half.id, half.key, 100, 50)]
        assert await segments.mostly_dead(0.5, 400, 10) == both
        assert await segments.mostly_dead(0.5, 400, 1) == both[:1]
        assert await segments.mostly_dead(0.49, 400, 10) == both[:1]
        assert await segments.mostly_dead(0.5, 600, 10) == both[:1]
        assert await segments.mostly_dead(0.5, 1000, 10) == []
        assert await segments.partly_dead(400, 10) == both
        assert await segments.partly_dead(400, 1) == both[:1]
        assert await segments.partly_dead(600, 10) == both[:1]
        assert {part.id for part in await segments.mostly_dead(1.0, 0, 10)} == {
            half.id,
            dead.id,
            full.id,
        }

    async def test_condemned_segments_and_empty_ones(
        self, mail: StoredMail, segments: PostgresSegmentCatalog
    ) -> None:
        (ada,) = await mail.accounts(1)
        empty = await mail.place(make_message([ada], size=0))
        known = make_message([ada])
        await mail.place(known)
        await mail.place(known)  # condemned at once
        assert await segments.mostly_dead(0.0, 0, 10) == [DeadSegment(empty.id, empty.key, 0, 0)]


class TestMove:
    async def test_the_living_move_and_the_old_segment_is_marked(
        self, mail: StoredMail, segments: PostgresSegmentCatalog
    ) -> None:
        (ada,) = await mail.accounts(1)
        stays, goes, last = (make_message([ada], size=size) for size in (10, 20, 30))
        old = await mail.place(stays, goes, last)
        await mail.delete(ada, 2)
        assert await segments.live_messages(old.id) == [
            LiveMessage(stays.envelope.id, BlobRange(0, 10)),
            LiveMessage(last.envelope.id, BlobRange(30, 30)),
        ]
        new = Segment(new_id(), "segments/new", 25, ())
        moved = {stays.envelope.id: BlobRange(0, 10), last.envelope.id: BlobRange(10, 15, "zstd")}
        assert await segments.move(old.id, new, moved)
        assert await segments.live_messages(old.id) == []
        assert await segments.live_messages(new.id) == [
            LiveMessage(stays.envelope.id, BlobRange(0, 10)),
            LiveMessage(last.envelope.id, BlobRange(10, 15, "zstd")),
        ]
        assert await mail.state(old.id) == (0, True)
        assert await mail.state(new.id) == (25, False)
        assert not await segments.move(old.id, None, {})  # once is enough
        await mail.delete(ada, 1, 3)
        assert await mail.state(new.id) == (0, False)
        await mail.sums_hold()

    async def test_a_wholly_dead_segment_is_marked_without_a_new_one(
        self, mail: StoredMail, segments: PostgresSegmentCatalog
    ) -> None:
        (ada,) = await mail.accounts(1)
        old = await mail.place(make_message([ada]))
        await mail.delete(ada, 1)
        assert await segments.move(old.id, None, {})
        assert await mail.state(old.id) == (0, True)

    @pytest.mark.parametrize("named", ["too few", "too many", "none"])
    async def test_others_than_named_are_live_so_nothing_is_done(
        self, mail: StoredMail, segments: PostgresSegmentCatalog, named: str
    ) -> None:
        (ada,) = await mail.accounts(1)
        first, second = make_message([ada]), make_message([ada])
        old = await mail.place(first, second)
        moved = {first.envelope.id: BlobRange(0, 1000), second.envelope.id: BlobRange(1000, 1000)}
        if named == "too few":
            del moved[second.envelope.id]
        elif named == "too many":
            await mail.delete(ada, 2)
        else:
            moved = {}
        new = Segment(new_id(), "segments/new", 2000, ()) if moved else None
        assert not await segments.move(old.id, new, moved)
        assert await mail.value("SELECT count(*) FROM segments") == 1
        assert not (await mail.state(old.id))[1]
        await mail.sums_hold()

    async def test_a_segment_nobody_knows_cannot_be_moved(
        self, mail: StoredMail, segments: PostgresSegmentCatalog
    ) -> None:
        assert not await segments.move(new_id(), None, {})
        with pytest.raises(ValueError, match="without a segment"):
            await segments.move(new_id(), None, {new_id(): BlobRange(0, 1)})

    async def test_moving_and_deleting_at_once_keep_every_sum(
        self, database_url: str, mail: StoredMail, segments: PostgresSegmentCatalog
    ) -> None:
        ada, bob = await mail.accounts(2)
        for _ in range(6):
            old = await mail.place(*(make_message([ada, bob]) for _ in range(10)))
            live = await segments.live_messages(old.id)
            new = Segment(new_id(), f"segments/{new_id()}", 10_000, ())
            mine, yours = await mail.inbox(ada), await mail.inbox(bob)
            await asyncio.gather(
                segments.move(old.id, new, {each.id: each.blob_range for each in live}),
                mail.delete(ada, *(uid for uid, _ in mine)),
                mail.delete(bob, *(uid for uid, _ in yours[:5])),
            )
            await mail.sums_hold()
            await mail.delete(bob, *(uid for uid, _ in await mail.inbox(bob)))
        assert await mail.value("SELECT sum(live_octets) FROM segments") == 0
        await mail.sums_hold()

    async def test_a_deletion_that_waits_for_the_move_counts_at_the_new_place(
        self, database_url: str, mail: StoredMail, segments: PostgresSegmentCatalog
    ) -> None:
        (ada,) = await mail.accounts(1)
        moving = make_message([ada], size=10)
        old = await mail.place(moving)
        new = new_id()
        other: Connection = await asyncpg.connect(database_url)
        async with other.transaction():
            # what move() does, stopped before its commit
            await other.execute(
                "SELECT FROM messages WHERE id = $1 FOR NO KEY UPDATE", moving.envelope.id
            )
            await other.execute(
                "INSERT INTO segments (id, key, octets, live_octets) VALUES ($1, 'segments/new', 7, 7)",
                new,
            )
            deleting = asyncio.create_task(mail.delete(ada, 1))
            await until_waiting(other)
            await other.execute("UPDATE messages SET segment_id = $1, stored_octets = 7", new)
            await other.execute(
                "UPDATE segments SET live_octets = 0, condemned_at = now() WHERE id = $1", old.id
            )
        await deleting
        await other.close()
        assert await mail.state(old.id) == (0, True)
        assert await mail.state(new) == (0, False)
        await mail.sums_hold()

    @pytest.mark.parametrize("rewritten", [False, True])
    async def test_a_segment_that_gets_more_messages_meanwhile_is_not_condemned(
        self, database_url: str, mail: StoredMail, segments: PostgresSegmentCatalog, rewritten: bool
    ) -> None:
        """Later transactions of a batch, and other clients, add messages to a segment."""
        (ada,) = await mail.accounts(1)
        gone, stays, late = (make_message([ada], size=10) for _ in range(3))
        half = await mail.place(*([gone, stays] if rewritten else [gone]))
        await mail.delete(ada, 1)
        live = await segments.live_messages(half.id)
        new = Segment(new_id(), "segments/new", 10, ()) if rewritten else None
        other: Connection = await asyncpg.connect(database_url)
        async with other.transaction():
            # what deliver() does with the other half, stopped before its commit
            await other.execute(
                "INSERT INTO messages SELECT (jsonb_populate_record(m, jsonb_build_object('id', $2::uuid, 'refs', 1))).*"
                " FROM messages m WHERE id = $1",
                gone.envelope.id,
                late.envelope.id,
            )
            await other.execute(
                "UPDATE segments SET live_octets = live_octets + 10, condemned_at = NULL WHERE id = $1",
                half.id,
            )
            moving = asyncio.create_task(
                segments.move(half.id, new, {each.id: each.blob_range for each in live})
            )
            await until_waiting(other)
        assert not await moving
        await other.close()
        assert await mail.state(half.id) == (20 if rewritten else 10, False)
        assert {each.id for each in await segments.live_messages(half.id)} == {
            late.envelope.id,
            *(each.id for each in live),
        }

    async def test_messages_added_after_the_condemnation_take_the_segment_back(
        self, mail: StoredMail, segments: PostgresSegmentCatalog
    ) -> None:
        (ada,) = await mail.accounts(1)
        first, late = make_message([ada], size=10), make_message([ada], size=10)
        half = await mail.place(first)
        await mail.delete(ada, 1)
        assert await segments.move(half.id, None, {})
        await PostgresMailboxes(mail.database).deliver([replace(half, messages=(late,))])
        assert await mail.state(half.id) == (10, False)
        await mail.sums_hold()


class TestRemoval:
    async def test_a_condemned_segment_with_a_live_message_is_not_removed(
        self, mail: StoredMail, segments: PostgresSegmentCatalog
    ) -> None:
        (ada,) = await mail.accounts(1)
        dead, live = await mail.place(make_message([])), await mail.place(make_message([ada]))
        await mail.rows(
            "UPDATE segments SET live_octets = 0, condemned_at = now() - interval '1 hour'"
        )
        assert await segments.condemned(60, 10) == [(dead.id, dead.key)]
        assert await mail.state(live.id) == (1000, False)
        await mail.sums_hold()

    async def test_condemned_segments_wait_before_they_go(
        self, mail: StoredMail, segments: PostgresSegmentCatalog
    ) -> None:
        (ada,) = await mail.accounts(1)
        kept, first, second = [
            await mail.place(make_message([ada] if live else [])) for live in (True, False, False)
        ]
        for part, seconds in ((first, 100), (second, 200)):
            assert await segments.move(part.id, None, {})
            await mail.rows(
                "UPDATE segments SET condemned_at = now() - make_interval(secs => $2) WHERE id = $1",
                *(part.id, float(seconds)),
            )
        assert await segments.condemned(50, 10) == [(second.id, second.key), (first.id, first.key)]
        assert await segments.condemned(50, 1) == [(second.id, second.key)]
        assert await segments.condemned(150, 10) == [(second.id, second.key)]
        await segments.removed([second.id, kept.id, new_id()])  # what lives stays, whoever says so
        assert {row[0] for row in await mail.rows("SELECT id FROM segments")} == {kept.id, first.id}
        assert (
            await mail.value(
                "SELECT segment_id FROM messages WHERE id = $1", second.messages[0].envelope.id
            )
            is None
        )
        await segments.removed([])
        await mail.sums_hold()

    async def test_redelivery_after_everything_was_removed_stays_harmless(
        self, mail: StoredMail, segments: PostgresSegmentCatalog
    ) -> None:
        (ada,) = await mail.accounts(1)
        late = make_message([ada])
        old = await mail.place(late)
        await mail.delete(ada, 1)
        assert await segments.move(old.id, None, {})
        await segments.removed([old.id])
        again = await mail.place(late)
        assert await mail.inbox(ada) == []
        assert await mail.state(again.id) == (0, True)
        await mail.sums_hold()

    async def test_keys_without_a_segment_are_told(
        self, mail: StoredMail, segments: PostgresSegmentCatalog
    ) -> None:
        (ada,) = await mail.accounts(1)
        known = await mail.place(make_message([ada]))
        assert await segments.unknown_keys([known.key, "segments/lost", "bodies/lost"]) == {
            "segments/lost",
            "bodies/lost",
        }
        assert await segments.unknown_keys([]) == set()

    async def test_messages_are_forgotten_long_after_they_were_placed(
        self, mail: StoredMail, segments: PostgresSegmentCatalog
    ) -> None:
        (ada,) = await mail.accounts(1)
        live, read, fresh = (
            make_message([ada]),
            make_message([ada]),
            make_message([ada], received_at=1.0),
        )
        await mail.place(*(replace(each, header=b"h") for each in (live, read, fresh)))
        await mail.rows("INSERT INTO message_structures SELECT id, 1, '', '' FROM messages")
        await mail.delete(ada, 2, 1)  # fresh was received first of all, live last but one
        gone = {row[0] for row in await mail.rows("SELECT id FROM messages WHERE refs = 0")}
        # placed just now, however long ago they were received
        assert await segments.forget_messages(3600, 10) == 0
        await mail.rows("UPDATE messages SET placed_at = now() - interval '2 hours'")
        assert await segments.forget_messages(3600, 1) == 1
        assert await segments.forget_messages(3600, 10) == 1
        left = {row[0] for row in await mail.rows("SELECT id FROM messages")}
        assert left == {live.envelope.id, read.envelope.id, fresh.envelope.id} - gone
        for table in ("message_headers", "message_structures"):
            assert {row[0] for row in await mail.rows(f"SELECT message_id FROM {table}")} == left
        await mail.sums_hold()
