"""The whole life of stored mail against a model, in any order, over stores that fail: what somebody may
still read is there byte by byte and belongs to them, and in the end nothing is left."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO
from uuid import UUID

import pytest
import zstandard
from pydantic import SecretStr

from posthorn.adapters.blobs.config import open_blobs
from posthorn.adapters.postgres.database import Database
from posthorn.adapters.postgres.directory.accounts import PostgresAccounts
from posthorn.adapters.postgres.imap.placing import PostgresPlacing
from posthorn.adapters.postgres.imap.view import PostgresMailboxView
from posthorn.adapters.postgres.mailboxes.delivery import PostgresMailboxes
from posthorn.adapters.postgres.mailboxes.maildrops import PostgresMaildrops
from posthorn.adapters.postgres.mailboxes.messages import PostgresAccountMail
from posthorn.adapters.postgres.mailboxes.quarantine import PostgresQuarantine
from posthorn.adapters.postgres.mailboxes.retention import PostgresRetention
from posthorn.adapters.postgres.mailboxes.segments import PostgresSegmentCatalog
from posthorn.adapters.postgres.queue.administration import PostgresQueueAdministration
from posthorn.adapters.postgres.schema import DEFAULT_TENANT, INBOX
from posthorn.model.blob_range import BlobRange
from posthorn.model.envelope import Body
from posthorn.model.filter_decision import Decision
from posthorn.model.filter_policy import Action
from posthorn.ports.blobs import BODIES, SEGMENTS, TRASH, BlobInfo, BlobMissing, Blobs
from posthorn.ports.errors import Unavailable
from posthorn.ports.filing import Withheld
from posthorn.ports.ingest import Backlog
from posthorn.ports.mailbox_view import DELETED
from posthorn.ports.placing import NewMessage
from posthorn.ports.segments import DeadSegment, Segment, SegmentMessage
from posthorn.runtime.ids import new_id
from posthorn.runtime.settings import BlobSettings
from posthorn_delivery.collector import Collector
from posthorn_delivery.collector_settings import CollectorSettings
from posthorn_delivery.packer import SEGMENT_HOLDS_SECONDS
from tests.support.builders import make_message, make_outbound
from tests.support.databases import pool
from tests.support.seed import FOLDERS, DatabaseSeed

HOUR, DAY = 3600.0, 86_400.0
STEPS = 60


class Faults:
    """Chance, and how often something fails."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.share = 0.08

    def strike(self, *kinds: str) -> str:
        """Return how this call fails; nothing: it does not."""
        return self.chance.choice(kinds) if self.chance.random() < self.share else ""


class FaultyBlobs:
    """A store under a clock of the test's own. Calls fail before or after they are done, or are done
    when nobody expects them any more; listings are stale or end early."""

    def __init__(self, blobs: Blobs, faults: Faults) -> None:
        self._blobs, self._faults = blobs, faults
        self._put_at: dict[str, float] = {}
        self._deleted: list[BlobInfo] = []
        self.late: list[tuple[str, bytes]] = []
        self.ahead = 0.0

    def now(self) -> float:
        return time.time() + self.ahead

    async def put(self, key: str, parts: Sequence[bytes]) -> None:
        struck = self._faults.strike("before", "after", "late")
        if struck == "late":
            self.late.append((key, b"".join(parts)))
        elif struck != "before":
            await self._blobs.put(key, parts)
            self._put_at[key] = self.now()
        if struck:
            raise Unavailable("blobs", f"PUT, {struck}")

    async def put_file(self, key: str, file: BinaryIO, size: int) -> None:
        await self.put(key, [file.read(size)])

    async def land(self) -> None:
        """Do what was thought to have failed."""
        late, self.late = self.late, []
        for key, octets in late:
            await self._blobs.put(key, [octets])
            self._put_at[key] = self.now()

    async def read(self, key: str, offset: int, length: int) -> bytes:
        return await self._blobs.read(key, offset, length)

    def stream(
        self, key: str, offset: int, length: int, chunk: int = 262_144
    ) -> AsyncIterator[bytes]:
        return self._blobs.stream(key, offset, length, chunk)

    async def delete(self, key: str) -> None:
        struck = self._faults.strike("before", "after")
        if struck != "before":
            await self._blobs.delete(key)
            self._deleted.append(self._info(key))
        if struck:
            raise Unavailable("blobs", f"DELETE, {struck}")

    async def move(self, key: str, to: str) -> None:
        struck = self._faults.strike("before", "after", "half")
        if struck == "half":
            octets = await self._whole(key)
            await self._blobs.put(to, [octets])
        elif struck != "before":
            await self._blobs.move(key, to)
        if struck != "before":
            self._put_at[to] = self.now()
        if struck:
            raise Unavailable("blobs", f"move, {struck}")

    async def list(self, prefix: str) -> AsyncIterator[BlobInfo]:
        struck = self._faults.strike("stale", "short", "broken")
        if struck == "stale":
            for blob in self._deleted:
                if blob.key.startswith(prefix):
                    yield blob
        count = 0
        async for blob in self._blobs.list(prefix):
            count += 1
            if count > 3 and struck == "short":
                return
            if count > 3 and struck == "broken":
                raise Unavailable("blobs", "LIST")
            yield replace(self._info(blob.key), size=blob.size)

    async def probe(self, *, writes: bool = True) -> None:
        await self._blobs.probe(writes=writes)

    def _info(self, key: str) -> BlobInfo:
        return BlobInfo(key, 1, datetime.fromtimestamp(self._put_at.get(key, self.now()), UTC))

    async def _whole(self, key: str) -> bytes:
        async for blob in self._blobs.list(key):
            if blob.key == key:
                return await self._blobs.read(key, 0, blob.size)
        raise BlobMissing("blobs", "no such blob")


class FaultyCatalog(PostgresSegmentCatalog):
    """Postgres, whose answers are lost at times."""

    def __init__(self, database: Database, faults: Faults) -> None:
        super().__init__(database)
        self._faults = faults

    async def mostly_dead(
        self, live_share: float, older_than: float, limit: int
    ) -> Sequence[DeadSegment]:
        self._fail("before")
        return await super().mostly_dead(live_share, older_than, limit)

    async def partly_dead(self, older_than: float, limit: int) -> Sequence[DeadSegment]:
        self._fail("before")
        return await super().partly_dead(older_than, limit)

    async def move(self, old: UUID, new: Segment | None, moved: Mapping[UUID, BlobRange]) -> bool:
        done = await super().move(old, new, moved)
        self._fail("after")
        return done

    async def removed(self, segments: Collection[UUID]) -> None:
        self._fail("before")
        await super().removed(segments)

    def _fail(self, when: str) -> None:
        if struck := self._faults.strike(when):
            raise Unavailable("postgres", struck)


@dataclass
class Waiting:
    """A large message on INGEST or DEAD."""

    segment: Segment
    content: bytes
    account: int
    came_at: float
    is_parked: bool = False


class World(DatabaseSeed):
    """The system, and what ought to be true of it."""

    def __init__(self, database: Database, blobs: FaultyBlobs, faults: Faults) -> None:
        super().__init__(database)
        self.blobs, self.faults, self.chance = blobs, faults, faults.chance
        self.mailboxes = PostgresMailboxes(database)
        self.view = PostgresMailboxView(database)
        self.placing = PostgresPlacing(database, blobs)
        self.mail = PostgresAccountMail(database)
        self.quarantine = PostgresQuarantine(database)
        self.retention = PostgresRetention(database)
        self.collectors = [self._collector() for _ in range(2)]
        self.contents: dict[UUID, bytes] = {}
        self.held: defaultdict[int, Counter[tuple[int, bytes]]] = defaultdict(Counter)
        """By account: mailbox and content."""
        self.deleted: defaultdict[int, list[tuple[float, bytes]]] = defaultdict(list)
        self.withheld: dict[UUID, tuple[int, bytes]] = {}
        self.halves: list[tuple[float, Segment, int]] = []
        self.waiting: list[Waiting] = []
        self.names: dict[int, str] = {}
        self.undelete_days = self.chance.choice((0, 2))

    def _collector(self) -> Collector:
        settings = CollectorSettings(collector_batch=self.chance.choice((1, 3, 50)))
        return Collector(
            FaultyCatalog(self.database, self.faults),
            self.blobs,
            self.backlog,
            settings,
            self.blobs.now,
        )

    async def backlog(self) -> Backlog:
        on_ingest = [each.came_at for each in self.waiting if not each.is_parked]
        parked = [each.came_at for each in self.waiting if each.is_parked]

        def oldest(times: list[float]) -> datetime | None:
            return datetime.fromtimestamp(min(times), UTC) if times else None

        return Backlog(len(on_ingest), 0, oldest(on_ingest), len(parked), oldest(parked))

    # --- what happens

    async def begin(self) -> None:
        await self.domain("example.test")
        await self.rows("UPDATE domains SET undelete_days = $1", self.undelete_days)
        for _ in range(3):
            await self.new_account()

    async def new_account(self) -> None:
        name = f"user{len(self.names)}@example.test"
        self.names[await self.account(name)] = name

    def someone(self) -> int:
        return self.chance.choice([each for each in self.names if self.names[each]])

    def content(self) -> bytes:
        size = self.chance.choice((0, 30, 3000))
        return b"Subject: %s\r\n\r\n" % os.urandom(8).hex().encode() + b"x" * size + b"\r\n"

    def message(self, content: bytes, accounts: Sequence[int], offset: int) -> SegmentMessage:
        made = make_message(accounts)
        self.contents[made.envelope.id] = content
        envelope = replace(made.envelope, body=Body.from_message(content))
        return replace(made, envelope=envelope, blob_range=BlobRange(offset, len(content)))

    async def deliver(self) -> None:
        """A batch: to mailboxes, to the queue, to quarantine; maybe half of it for now."""
        contents = [self.content() for _ in range(6)]
        messages, offset = [], 0
        for number, content in enumerate(contents):
            account = self.someone()
            one = self.message(content, [account] if number < 4 else [], offset)
            if number == 4:
                out = make_outbound("somebody@elsewhere.test")
                one = replace(one, outbound=(out,), tenant=DEFAULT_TENANT)
            if number == 5:
                decision = Decision(Action.QUARANTINE, "score", 9.0, "")
                copy = Withheld(new_id(), self.names[account], account, DEFAULT_TENANT, decision)
                one = replace(one, withheld=(copy,), tenant=DEFAULT_TENANT)
            messages.append(one)
            offset += len(content)
        identity = new_id()
        segment = Segment(identity, f"{SEGMENTS}{identity}", offset, tuple(messages))
        with suppress(Unavailable):
            await self.blobs.put(segment.key, contents)
            cut = self.chance.choice((1, 3, 6))
            await self.place(replace(segment, messages=segment.messages[:cut]))
            if cut < 6:
                rest = replace(segment, messages=segment.messages[cut:])
                self.halves.append((self.blobs.now(), rest, cut))

    async def place(self, segment: Segment) -> None:
        there = {account for account, name in self.names.items() if name}
        kept = [
            message
            for message in segment.messages
            if {*message.accounts, *(each.account for each in message.withheld)} <= there
        ]
        await self.mailboxes.deliver([replace(segment, messages=tuple(kept))])
        for message in kept:
            content = self.contents[message.envelope.id]
            for account in message.accounts:
                self.held[account][INBOX, content] += 1
            for copy in message.withheld:
                assert copy.account is not None
                self.withheld[copy.id] = copy.account, content

    async def deliver_rest(self) -> None:
        while self.halves:
            written_at, segment, _ = self.halves.pop()
            if self.blobs.now() - written_at < SEGMENT_HOLDS_SECONDS:
                await self.place(segment)

    async def accept_large(self) -> None:
        content, account = self.content() + b"large" * 100, self.someone()
        one = self.message(content, [account], 0)
        segment = Segment(one.envelope.id, f"{BODIES}{one.envelope.id}", len(content), (one,))
        with suppress(Unavailable):
            await self.blobs.put(segment.key, [content])
            self.waiting.append(Waiting(segment, content, account, self.blobs.now()))

    async def deliver_large(self) -> None:
        for each in self.chance.sample(self.waiting, len(self.waiting) // 2):
            if each.is_parked:  # an administrator retries it
                each.is_parked, each.came_at = False, self.blobs.now()
            elif self.chance.random() < 0.3:
                each.is_parked, each.came_at = True, self.blobs.now()
            else:
                assert await self.blobs.read(each.segment.key, 0, each.segment.octets)
                await self.place(each.segment)
                self.waiting.remove(each)

    async def append(self) -> None:
        account, content = self.someone(), self.content()
        box = self.chance.choice(FOLDERS)
        with suppress(Unavailable):
            message = NewMessage(content, None, 0, (), None)
            if self.chance.random() < 0.3:

                async def pieces() -> AsyncIterator[bytes]:
                    yield content

                uploaded = await self.placing.upload(pieces())
                message = NewMessage(None, uploaded, 0, (), None)
            placed = await self.placing.place(account, box[1], [message])
            assert placed is not None
            ((number,),) = await self.rows(
                "SELECT message_id FROM mailbox_entries WHERE account_id = $1 AND mailbox_id = $2 AND uid = $3",
                *(account, box[0], placed.uids[0]),
            )
            self.contents[number] = content
            self.held[account][box[0], content] += 1

    async def copy_or_move(self) -> None:
        account, uids, source = await self.some()
        to, name = self.chance.choice(FOLDERS)[:2]
        move = self.chance.random() < 0.5
        copied = await self.view.copy(account, source, list(uids), name, move=move)
        assert copied is not None
        for message in uids.values():
            content = self.contents[message]
            self.held[account][to, content] += 1
            if move:
                self.take(account, source, content)

    async def expunge(self) -> None:
        account, uids, box = await self.some()
        await self.view.store(account, box, list(uids), "+", DELETED, [])
        await self.view.expunge(account, box, None)
        self.drop(account, box, uids.values())

    async def pop(self) -> None:
        await self.pop_these(*(await self.some(INBOX))[:2])

    async def pop_everything(self) -> None:
        """As all clients do that keep nothing on the server."""
        for account in [each for each, name in self.names.items() if name]:
            await self.pop_these(account, dict(await self.inbox(account)))

    async def pop_these(self, account: int, uids: Mapping[int, UUID]) -> None:
        holder, maildrops = new_id(), PostgresMaildrops(self.database)
        await maildrops.open(account, holder)
        await maildrops.commit(account, holder, list(uids))
        self.drop(account, INBOX, uids.values())

    async def undelete(self) -> None:
        account = self.someone()
        found = await self.mail.deleted(None, self.names[account], None, 100)
        if not found:
            return
        number = self.chance.choice(found)[0].message
        back = await self.rows(
            "SELECT mailbox_id FROM deleted_entries WHERE account_id = $1 AND message_id = $2"
            " AND deleted_at > now() - make_interval(days => $3)",
            *(account, number, self.undelete_days),
        )
        await self.mail.undelete_message(None, self.names[account], number)
        content = self.contents[number]
        for (box,) in back:
            self.held[account][box, content] += 1
            times = sorted(at for at, each in self.deleted[account] if each == content)
            self.deleted[account].remove((times[-1], content))

    async def decide(self) -> None:
        """Release or delete copies in quarantine."""
        for number in self.chance.sample(list(self.withheld), len(self.withheld) // 2):
            account, content = self.withheld.pop(number)
            if self.chance.random() < 0.5:
                await self.quarantine.release(None, number)
                self.held[account][INBOX, content] += 1
            else:
                await self.quarantine.delete(None, number)

    async def cancel(self) -> None:
        administration = PostgresQueueAdministration(self.database)
        rows = await self.rows("SELECT id FROM outbound_recipients WHERE closed_at IS NULL")
        for (number,) in rows:
            await administration.act(None, "cancel", number)

    async def delete_account(self) -> None:
        account = self.someone()
        await PostgresAccounts(self.database).delete_account(None, self.names[account])
        self.names[account] = ""
        self.held.pop(account, None)
        self.deleted.pop(account, None)
        self.withheld = {
            number: copy for number, copy in self.withheld.items() if copy[0] != account
        }
        await self.new_account()

    async def some(self, box: int | None = None) -> tuple[int, dict[int, UUID], int]:
        """Choose some messages of a mailbox: return account, ids by UID, mailbox."""
        account = self.someone()
        box = box or self.chance.choice(FOLDERS)[0]
        rows = await self.rows(
            "SELECT uid, message_id FROM mailbox_entries WHERE account_id = $1 AND mailbox_id = $2 ORDER BY uid",
            *(account, box),
        )
        return account, dict(self.chance.sample(rows, self.chance.randint(0, len(rows)))), box

    def take(self, account: int, box: int, content: bytes) -> None:
        self.held[account][box, content] -= 1

    def drop(self, account: int, box: int, messages: Collection[UUID]) -> None:
        for message in messages:
            self.take(account, box, self.contents[message])
            self.deleted[account].append((self.blobs.now(), self.contents[message]))

    # --- beside it

    async def collect(self) -> None:
        for collector in self.chance.sample(self.collectors, 2):
            with suppress(Unavailable):
                await collector.collect_once()

    async def collect_twice_at_once(self) -> None:
        await asyncio.gather(
            *(collector.collect_once() for collector in self.collectors), return_exceptions=True
        )

    async def purge(self) -> None:
        while not (await self.retention.purge(3)).is_over:
            pass

    async def pass_time(self, seconds: float) -> None:
        """Make everything that is there so much older."""
        self.blobs.ahead += seconds
        for table, columns in (
            ("segments", ("created_at", "condemned_at")),
            ("messages", ("placed_at",)),
            ("leaderships", ("expires_at",)),
            ("deleted_entries", ("deleted_at",)),
        ):
            older = ", ".join(f"{each} = {each} - make_interval(secs => $1)" for each in columns)
            await self.rows(f"UPDATE {table} SET {older}", seconds)

    # --- what must be true

    async def check(self) -> None:
        rows = await self.rows(
            """
            SELECT r.kind, r.account_id, r.mailbox_id, r.message_id, r.at, s.key, m.offset_octets, m.stored_octets, m.encoding
              FROM (
                  SELECT 'held' AS kind, account_id, mailbox_id, message_id, NULL AS at FROM mailbox_entries
                   UNION ALL SELECT 'deleted', account_id, mailbox_id, message_id, deleted_at FROM deleted_entries
                   UNION ALL SELECT 'withheld', account_id, NULL, message_id, NULL FROM quarantine
                   UNION ALL SELECT 'queued', NULL, NULL, message_id, NULL FROM outbound_recipients WHERE closed_at IS NULL
              ) AS r
              LEFT JOIN messages m ON m.id = r.message_id LEFT JOIN segments s ON s.id = m.segment_id
            """
        )
        held: defaultdict[int, Counter[tuple[int, bytes]]] = defaultdict(Counter)
        deleted: defaultdict[int, Counter[bytes]] = defaultdict(Counter)
        withheld: Counter[tuple[int, bytes]] = Counter()
        for kind, account, box, message, _, key, offset, length, encoding in rows:
            assert key is not None, f"{kind}: {message} has no segment"
            stored = await self.blobs.read(key, offset, length)
            if encoding == "zstd":
                stored = zstandard.ZstdDecompressor().decompress(stored)
            assert stored == self.contents[message], f"{kind}: {message} reads otherwise"
            if kind == "held":
                held[account][box, stored] += 1
            elif kind == "deleted":
                deleted[account][stored] += 1
            elif kind == "withheld":
                withheld[account, stored] += 1
        for account in held.keys() | self.held.keys():
            assert held[account] == +self.held[account]
        assert withheld == Counter(self.withheld.values())
        young = self.blobs.now() - self.undelete_days * DAY + 60
        for account in deleted.keys() | self.deleted.keys():
            ever = Counter(content for _, content in self.deleted[account])
            restorable = Counter(content for at, content in self.deleted[account] if at > young)
            assert restorable <= deleted[account] <= ever
        for each in self.waiting:
            assert await self.blobs.read(each.segment.key, 0, each.segment.octets) == each.content
        await self.sums_hold()

    async def end(self) -> None:
        """Remove all mail as its owners would."""
        self.faults.share = 0.0
        await self.blobs.land()
        self.waiting.clear()  # discarded on DEAD
        await self.cancel()
        for account in [each for each, name in self.names.items() if name]:
            await PostgresAccounts(self.database).delete_account(None, self.names[account])


@pytest.fixture
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Blobs]:
    url = f"file://{tmp_path}/blobs"
    if request.param == "s3":
        url = request.getfixturevalue("s3_url")
    async with open_blobs(BlobSettings(blobs=SecretStr(url))) as opened:
        yield opened


@pytest.mark.parametrize(
    ("store", "random_seed"),
    [("files", 0), ("files", 1), ("files", 3), ("s3", 9)],
    indirect=["store"],
)
async def test_nothing_is_lost_shown_to_others_or_kept_for_ever(
    database_url: str, store: Blobs, random_seed: int
) -> None:
    faults = Faults(random.Random(random_seed))
    chance = faults.chance
    blobs = FaultyBlobs(store, faults)
    async with pool(database_url) as database:
        world = World(database, blobs, faults)
        await world.begin()
        changes: dict[Callable[[], Awaitable[Any]], int] = {
            world.deliver: 6,
            world.deliver_rest: 3,
            world.accept_large: 3,
            world.deliver_large: 3,
            world.append: 4,
            world.copy_or_move: 6,
            world.expunge: 5,
            world.pop: 3,
            world.pop_everything: 2,
            world.undelete: 3,
            world.decide: 2,
            world.cancel: 1,
            world.delete_account: 1,
        }
        beside = (world.collect, world.collect_twice_at_once, world.purge, blobs.land)
        for _ in range(STEPS):
            (change,) = chance.choices(list(changes), list(changes.values()))
            await asyncio.gather(change(), chance.choice(beside)())
            await world.check()
            await world.pass_time(chance.choice((1, 1, 700, 2000, 8 * HOUR, 3 * DAY)))
        await world.end()
        for seconds in (*(8 * HOUR,) * 4, 8 * DAY, 8 * HOUR):
            await world.pass_time(seconds)
            await world.collect()
        left = {blob.key async for blob in store.list("") if not blob.key.startswith(TRASH)}
        assert left == set()
        assert [blob.key async for blob in store.list(TRASH)] == []
        for table in ("segments", "messages", "message_headers", "deleted_entries", "quarantine"):
            assert await world.value(f"SELECT count(*) FROM {table}") == 0, table
