"""The port MailboxView on PostgreSQL: one moment in each answer, every change whole or not at
all."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from posthorn.adapters.postgres.database import Connection
from posthorn.adapters.postgres.imap import moving, reading, rows
from posthorn.adapters.postgres.imap.reading import MOST_CHANGES
from posthorn.adapters.postgres.mailboxes.delivery import PostgresMailboxes
from posthorn.ports.errors import Unavailable
from posthorn.ports.mailbox_view import (
    ANSWERED,
    DELETED,
    DRAFT,
    FLAGGED,
    MOST_KEYWORDS,
    SEEN,
    EntryFlags,
    Kept,
    MailboxGone,
    NoRoom,
    NoUids,
    TooManyKeywords,
)
from posthorn.wire.imap.search_keys import (
    All,
    And,
    Body,
    Compare,
    Day,
    EmailId,
    Flag,
    Header,
    ModSeq,
    Not,
    Numbers,
    OnDay,
    Or,
    SaveDateSupported,
    SearchKey,
    Size,
    Text,
    ThreadId,
    Uids,
    Within,
    is_metadata,
)
from posthorn.wire.imap.sequence_set import SAVED, STAR, SequenceSet
from tests.support.builders import make_message, make_segment
from tests.support.databases import until_waiting
from tests.support.imap_store import DATE, EVERY, ImapStore

INBOX, JUNK = 1, 2


class TestOpen:
    async def test_uids_come_whole_up_to_the_largest(
        self, imap: ImapStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(rows, "LAST_UIDNEXT", 2**32)
        ada = await imap.account()
        empty = await imap.view.reopen(ada, INBOX)
        assert (empty.uids, empty.uidnext, empty.modseq) == (array("I"), 1, 1)
        assert (empty.unseen, empty.first_unseen, empty.keywords) == (0, None, ())
        await imap.put(ada, flags=SEEN, keywords=("$Forwarded",))
        for uidnext in (2**31 - 1, 2**32 - 2):
            await imap.seed.rows("UPDATE mailboxes SET uidnext = $1 WHERE mailbox_id = 1", uidnext)
            await imap.put(ada, count=2)
        found = await imap.view.open(ada, "INBOX")
        assert found is not None
        mailbox, opened = found
        assert (mailbox, opened) == (INBOX, await imap.view.reopen(ada, INBOX))
        assert opened.uids == array("I", [1, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1])
        assert (opened.unseen, opened.first_unseen) == (4, 2**31 - 1)
        assert (opened.name, opened.role, opened.keywords) == ("INBOX", "inbox", ("$Forwarded",))
        assert await imap.view.search(ada, INBOX, All()) == opened.uids
        assert await imap.view.open(ada, "nothing") is None
        assert await imap.view.open(4711, "INBOX") is None
        await imap.seed.rows("UPDATE mailboxes SET uidnext = $1 WHERE mailbox_id = 1", 2**32)


class TestChanges:
    async def test_they_tell_what_came_changed_and_went(self, imap: ImapStore) -> None:
        ada = await imap.account()
        await imap.put(ada, count=6)
        before = (await imap.view.reopen(ada, INBOX)).modseq
        nothing = await imap.view.changes(ada, INBOX, before)
        assert nothing is not None
        assert (nothing.modseq, nothing.added, nothing.changed, nothing.removed) == (
            before, [], [], [],
        )  # fmt: skip
        await imap.view.store(ada, INBOX, [1, 2], "+", SEEN, ["Work"])
        await imap.view.store(ada, INBOX, [4, 5, 6], "+", DELETED, ())
        await imap.view.expunge(ada, INBOX, [(4, 5)])
        await imap.put(ada, count=2)
        await imap.view.store(ada, INBOX, [8], "+", DELETED, ())
        await imap.view.expunge(ada, INBOX, [(8, 8)])
        found = await imap.view.changes(ada, INBOX, before)
        assert found is not None
        assert (found.modseq, found.uidnext, found.keywords) == (before + 6, 9, ("Work",))
        assert found.added == [7]
        assert found.removed == [(4, 5), (8, 8)]
        assert found.changed == [
            EntryFlags(1, SEEN, ("Work",), before + 1),
            EntryFlags(2, SEEN, ("Work",), before + 1),
            EntryFlags(6, DELETED, (), before + 2),
            EntryFlags(7, 0, (), before + 4),
        ]

    async def test_history_that_is_not_whole_is_not_told(
        self, imap: ImapStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ada = await imap.account()
        await imap.put(ada, count=10)
        for uid in range(1, 6):
            await imap.view.store(ada, INBOX, [uid], "+", SEEN, ())
        assert await imap.view.changes(ada, INBOX, 0) is None
        assert await imap.view.changes(ada, INBOX, 2) is not None
        assert await imap.view.changes(ada, INBOX, 8) is None, "of a mailbox restored from before"
        monkeypatch.setattr(reading, "MOST_CHANGES", 9)
        assert await imap.view.changes(ada, INBOX, 1) is None, "too many UIDs"
        assert await imap.view.changes(ada, INBOX, 2) is not None
        monkeypatch.setattr(reading, "MOST_CHANGES", 4)
        assert await imap.view.changes(ada, INBOX, 2) is None, "too many rows"
        monkeypatch.setattr(reading, "MOST_CHANGES", MOST_CHANGES)
        kept = await imap.seed.rows("SELECT * FROM mailbox_changes WHERE modseq = 4")
        await imap.seed.rows("DELETE FROM mailbox_changes WHERE modseq = 4")
        assert await imap.view.changes(ada, INBOX, 3) is None
        assert await imap.view.changes(ada, INBOX, 4) is not None
        await imap.seed.rows(
            "INSERT INTO mailbox_changes VALUES ($1, $2, $3, $4, $5, $6)", *kept[0]
        )
        # the release before adds a message
        await imap.seed.rows("UPDATE mailboxes SET modseq = modseq + 1 WHERE mailbox_id = 1")
        assert await imap.view.changes(ada, INBOX, 7) is None
        await imap.seed.rows("UPDATE mailboxes SET modseq = modseq - 1 WHERE mailbox_id = 1")

    async def test_mailboxes_that_moved_on_are_told_from_others(
        self, imap: ImapStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ada, bob = await imap.account(), await imap.account("bob@example.test")
        await imap.put(ada)
        monkeypatch.setattr(reading, "PAGE", 2)
        asked = [(ada, INBOX, 2), (ada, JUNK, 1), (bob, INBOX, 9), (bob, 99, 1), (4711, 1, 1)]
        assert await imap.view.moved_on(asked) == {
            (bob, INBOX): 1, (bob, 99): None, (4711, 1): None,
        }  # fmt: skip
        assert await imap.view.moved_on([]) == {}


class TestRead:
    async def test_entries_by_ranges_in_ascending_order(self, imap: ImapStore) -> None:
        ada = await imap.account()
        await imap.put(ada, count=6)
        stored = await imap.view.store(ada, INBOX, [2, 5], "+", FLAGGED, ())
        found = await imap.view.flags(ada, INBOX, [(1, 2), (5, 2**32 - 1)])
        assert [each.uid for each in found] == [1, 2, 5, 6]
        since = await imap.view.rows(ada, INBOX, EVERY, stored.modseq - 1)
        assert [(each.uid, each.flags, each.modseq) for each in since] == [
            (2, FLAGGED, stored.modseq),
            (5, FLAGGED, stored.modseq),
        ]
        (row,) = await imap.view.rows(ada, INBOX, [(6, 6)])
        assert (row.internal_date, row.keywords) == (DATE, ())
        assert row.saved_at is not None
        assert row.saved_at > DATE
        content = (await imap.view.contents(ada, INBOX, [6], header=False, forms=False))[6]
        assert row.size == content.location.size
        assert row.message == content.location.message
        assert await imap.view.flags(ada, INBOX, [(7, 9)]) == []
        assert await imap.view.flags(ada, INBOX, []) == []

    async def test_flags_as_columns_are_those_of_the_entries(self, imap: ImapStore) -> None:
        ada = await imap.account()
        await imap.put(ada, count=3, flags=SEEN, keywords=("Work", "$Forwarded"))
        late = 1 << 31
        await imap.seed.rows("UPDATE mailboxes SET uidnext = $1 WHERE mailbox_id = 1", late)
        await imap.put(ada, count=3, flags=SEEN | DRAFT)
        for ranges, since in (
            (EVERY, 0),
            ([(1, 1), (3, late), (late + 2, late + 2)], 0),
            (EVERY, 2),
            (EVERY, 99),
            ([], 0),
        ):
            rows = await imap.view.flags(ada, INBOX, ranges, since)
            columns = await imap.view.flag_columns(ada, INBOX, ranges, since)
            assert list(columns.uids) == [row.uid for row in rows]
            assert list(columns.flags) == [row.flags for row in rows]
            assert list(columns.modseqs) == [row.modseq for row in rows]
            assert columns.keywords == {row.uid: row.keywords for row in rows if row.keywords}
        with pytest.raises(MailboxGone):
            await imap.view.flag_columns(ada, 99, EVERY)

    async def test_what_is_kept_beside_a_body_is_kept_once(self, imap: ImapStore) -> None:
        ada = await imap.account()
        await imap.put(ada, count=2)
        both = await imap.view.contents(ada, INBOX, [1, 2, 3], header=True, forms=True)
        assert sorted(both) == [1, 2]
        assert both[1].header == b"Subject: message 0\r\nFrom: a@b.test\r\n\r\n"
        assert (both[1].envelope, both[1].structure) == (None, None)
        message, other = both[1].location.message, both[2].location.message
        gone = UUID(int=0)
        await imap.seed.rows("DELETE FROM message_headers")
        await imap.view.keep([Kept(message, header=b"A: 1\r\n\r\n", envelope=b"(e)")])
        await imap.view.keep([
            Kept(gone, b"x", b"x", b"x"),
            Kept(message, b"B: 2\r\n\r\n", b"(f)", b"s"),
            Kept(other, b"h" * 300_000),
        ])  # fmt: skip
        await imap.view.keep([])
        both = await imap.view.contents(ada, INBOX, [1, 2], header=True, forms=True)
        assert (both[1].header, both[1].envelope, both[1].structure) == (
            b"A: 1\r\n\r\n", b"(e)", b"s",
        )  # fmt: skip
        assert (both[2].header, both[2].envelope) == (None, None)
        assert await imap.seed.value("SELECT count(*) FROM message_headers") == 1
        # forms of another release, and a damaged header
        await imap.seed.rows("UPDATE message_structures SET version = 7")
        await imap.seed.rows("UPDATE message_headers SET header = 'not zstd'")
        old = (await imap.view.contents(ada, INBOX, [1], header=True, forms=True))[1]
        assert (old.header, old.envelope, old.structure) == (None, None, None)
        await imap.view.keep([Kept(message, structure=b"new")])
        new = (await imap.view.contents(ada, INBOX, [1], header=False, forms=True))[1]
        assert (new.header, new.envelope, new.structure) == (None, None, b"new")

    async def test_a_message_without_its_segment_is_not_an_expunged_one(
        self, imap: ImapStore
    ) -> None:
        ada = await imap.account()
        await imap.put(ada)
        segment = await imap.seed.value("UPDATE messages SET segment_id = NULL RETURNING id")
        with pytest.raises(Unavailable):
            await imap.view.contents(ada, INBOX, [1], header=True, forms=True)
        await imap.seed.rows("UPDATE segments SET live_octets = 0")
        assert segment


class TestStore:
    async def test_flags_are_added_taken_and_replaced(self, imap: ImapStore) -> None:
        ada = await imap.account()
        await imap.put(ada, count=3)
        plus = await imap.view.store(ada, INBOX, [1, 2, 9], "+", SEEN | DELETED, ["Work", "$Junk"])
        assert plus.modseq == 3
        assert [(each.uid, each.flags, each.modseq) for each in plus.changed] == [
            (1, 9, 3),
            (2, 9, 3),
        ]
        assert plus.changed[0].keywords == ("Work", "$Junk")
        # another spelling is the same keyword
        minus = await imap.view.store(ada, INBOX, [1], "-", DELETED, ["WORK"])
        assert minus.changed == [EntryFlags(1, SEEN, ("$Junk",), 4)]
        replaced = await imap.view.store(ada, INBOX, [1, 2, 3], "", DRAFT, ["work", "New", "new"])
        assert [each.keywords for each in replaced.changed] == [("Work", "New")] * 3
        assert {each.flags for each in replaced.changed} == {DRAFT}
        opened = await imap.view.reopen(ada, INBOX)
        assert (opened.keywords, opened.unseen) == (("Work", "$Junk", "New"), 3)
        cleared = await imap.view.store(ada, INBOX, [1], "", 0, ())
        assert cleared.changed == [EntryFlags(1, 0, (), 6)]

    async def test_what_changes_nothing_writes_nothing(self, imap: ImapStore) -> None:
        ada = await imap.account()
        await imap.put(ada, count=2, flags=SEEN, keywords=("a", "b"))
        before = await imap.view.reopen(ada, INBOX)
        for action, flags, keywords in (
            ("+", SEEN, ["B"]),
            ("-", ANSWERED, ["c"]),
            ("", SEEN, ["b", "A"]),
            ("+", 0, []),
        ):
            same = await imap.view.store(ada, INBOX, [1, 2], action, flags, keywords)
            assert same.modseq == before.modseq
            assert [each.keywords for each in same.changed] == [("a", "b"), ("a", "b")]
        assert await imap.view.reopen(ada, INBOX) == before
        # one of two differs
        await imap.view.store(ada, INBOX, [1], "+", FLAGGED, ())
        both = await imap.view.store(ada, INBOX, [1, 2], "+", FLAGGED, ())
        assert [each.modseq for each in both.changed] == [before.modseq + 1, before.modseq + 2]

    async def test_messages_changed_since_are_left_alone(self, imap: ImapStore) -> None:
        ada = await imap.account()
        await imap.put(ada, count=3)
        seen = (await imap.view.store(ada, INBOX, [2], "+", SEEN, ())).modseq
        stored = await imap.view.store(ada, INBOX, [1, 2, 3], "+", FLAGGED, (), seen - 1)
        assert stored.failed == [2]
        assert [each.uid for each in stored.changed] == [1, 3]
        again = await imap.view.store(ada, INBOX, [1, 2, 3], "+", DRAFT, (), seen)
        assert (again.failed, [each.uid for each in again.changed]) == ([1, 3], [2])
        none = await imap.view.store(ada, INBOX, [1, 2, 3], "-", DRAFT, (), 0)
        assert (none.failed, none.changed, none.modseq) == ([1, 2, 3], [], again.modseq)

    async def test_keywords_are_bounded(self, imap: ImapStore) -> None:
        ada = await imap.account()
        await imap.put(ada)
        many = [f"k{number}" for number in range(MOST_KEYWORDS)]
        await imap.view.store(ada, INBOX, [1], "+", 0, many)
        with pytest.raises(TooManyKeywords):
            await imap.view.store(ada, INBOX, [1], "+", SEEN, ["K0", "another"])
        await imap.view.store(ada, INBOX, [1], "-", SEEN, ["another"])
        assert (await imap.held(ada, "INBOX"))[0][1] == 0


class TestCopy:
    async def test_copies_share_the_message_and_are_charged(self, imap: ImapStore) -> None:
        ada = await imap.account(quota=1000)
        await imap.put(ada, count=3, flags=SEEN, keywords=("Work",))
        octets = (await imap.seed.used(ada))[0]
        await imap.put(ada, "Sent", keywords=("WORK",))
        await imap.seed.drain_outbox()
        copied = await imap.view.copy(ada, INBOX, [3, 9, 1, 1], "Sent")
        assert copied is not None
        assert (copied.sources, copied.copies, copied.source_modseq) == ([1, 3], [2, 3], None)
        sent = await imap.folders.find(ada, "Sent")
        assert sent is not None
        assert (copied.uidvalidity, copied.target_modseq) == (sent.uidvalidity, sent.modseq)
        assert await imap.held(ada, "Sent") == [
            (1, 0, ("WORK",)), (2, SEEN, ("WORK",)), (3, SEEN, ("WORK",)),
        ]  # fmt: skip
        assert (await imap.seed.used(ada)) == (octets * 2, 6)
        rows = await imap.view.rows(ada, 3, EVERY)
        original = await imap.view.rows(ada, INBOX, EVERY)
        assert [each.message for each in rows[1:]] == [original[0].message, original[2].message]
        # into the same mailbox, until there is no room
        await imap.seed.rows("UPDATE accounts SET quota_bytes = used_bytes + $1", original[1].size)
        again = await imap.view.copy(ada, INBOX, [2], "INBOX")
        assert again is not None
        assert (again.sources, again.copies) == ([2], [4])
        assert await imap.seed.drain_outbox() == ["ada@example.test"]
        with pytest.raises(NoRoom):
            await imap.view.copy(ada, INBOX, [2], "INBOX")
        assert len({each.message for each in await imap.view.rows(ada, INBOX, EVERY)}) == 3
        assert await imap.view.copy(ada, INBOX, [1], "nothing") is None
        nothing = await imap.view.copy(ada, INBOX, [4711], "Sent")
        assert nothing is not None
        assert (nothing.sources, nothing.copies, nothing.target_modseq) == ([], [], sent.modseq)

    async def test_keywords_of_the_target_are_bounded(self, imap: ImapStore) -> None:
        ada = await imap.account()
        await imap.put(ada, keywords=[f"k{number}" for number in range(MOST_KEYWORDS)])
        await imap.put(ada, "Sent", keywords=("other",))
        for move in (False, True):
            with pytest.raises(TooManyKeywords):
                await imap.view.copy(ada, INBOX, [1], "Sent", move=move)


class TestMove:
    async def test_a_message_keeps_all_but_its_uid(
        self, imap: ImapStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(rows, "SLICE", 2)
        ada = await imap.account()
        await imap.put(ada, "INBOX", 5, flags=SEEN | DELETED, keywords=("Work",))
        await imap.put(ada, "Trash", 1)
        used, before = await imap.seed.used(ada), await imap.view.rows(ada, INBOX, EVERY)
        await imap.seed.rows("UPDATE mailbox_entries SET saved_at = '2020-01-01Z'")
        moved = await imap.view.copy(ada, INBOX, [5, 4, 2, 1], "Trash", move=True)
        assert moved is not None
        assert (moved.sources, moved.copies) == ([1, 2, 4, 5], [2, 3, 4, 5])
        inbox, trash = await imap.folders.find(ada, "INBOX"), await imap.folders.find(ada, "Trash")
        assert inbox is not None
        assert trash is not None
        assert (moved.source_modseq, moved.target_modseq) == (inbox.modseq, trash.modseq)
        after = (await imap.view.rows(ada, 4, EVERY))[1:]
        for was, now in zip([before[0], before[1], before[3], before[4]], after, strict=True):
            assert (was.message, was.size, was.flags) == (now.message, now.size, now.flags)
            assert (was.keywords, was.internal_date) == (now.keywords, now.internal_date)
            assert now.saved_at is not None
            assert now.saved_at.year > 2020
        assert [uid for uid, *_ in await imap.held(ada, "INBOX")] == [3]
        assert await imap.seed.used(ada) == used
        same = await imap.view.copy(ada, 4, [1, 3], "Trash", move=True)
        assert same is not None
        assert (same.sources, same.copies) == ([1, 3], [6, 7])
        assert same.source_modseq == same.target_modseq
        changes = await imap.view.changes(ada, INBOX, inbox.modseq - 2)
        assert changes is not None
        assert changes.removed == [(1, 2), (4, 5)]

    @pytest.mark.parametrize("move", [True, False])
    async def test_junk_teaches_the_filter(self, imap: ImapStore, move: bool) -> None:
        ada = await imap.account()
        await imap.put(ada, count=2)
        said = "SELECT wanted, count(*) FROM classifications GROUP BY wanted"
        await imap.view.copy(ada, INBOX, [1, 2], "Sent", move=move)
        assert await imap.seed.rows(said) == []
        await imap.view.copy(ada, 3, [1, 2], "Junk", move=move)
        assert await imap.seed.rows(said) == [("spam", 2)]
        await imap.view.copy(ada, JUNK, [1, 2], "Trash", move=move)
        assert await imap.seed.rows(said) == [("spam", 2)]
        await imap.view.copy(ada, 4, [1, 2], "Junk", move=move)
        junk = [uid for uid, *_ in await imap.held(ada, "Junk")][-2:]
        await imap.view.copy(ada, JUNK, junk, "INBOX", move=move)
        assert await imap.seed.rows(said) == [("ham", 2)]

    async def test_a_connection_killed_in_the_middle_moves_nothing(
        self, imap: ImapStore, database_url: str
    ) -> None:
        ada = await imap.account()
        await imap.put(ada, "INBOX", 3)
        before = [await imap.folders.list(ada), await imap.held(ada, "INBOX")]
        other: Connection = await asyncpg.connect(database_url)
        hold = "SELECT FROM mailboxes WHERE account_id = $1 AND mailbox_id = 4 FOR UPDATE"
        async with other.transaction():
            await other.execute(hold, ada)
            moving = asyncio.create_task(imap.view.copy(ada, INBOX, [1, 2], "Trash", move=True))
            process = await until_waiting(other)
            await other.execute("SELECT pg_terminate_backend($1, 5000)", process)
            with pytest.raises(Unavailable):
                await moving
        await other.close()
        assert [await imap.folders.list(ada), await imap.held(ada, "INBOX")] == before
        moved = await imap.view.copy(ada, INBOX, [1, 2], "Trash", move=True)
        assert moved is not None
        assert moved.copies == [1, 2]


class TestExpunge:
    @pytest.mark.parametrize("days", [0, 7])
    async def test_deleted_messages_go_by_ranges_or_all(self, imap: ImapStore, days: int) -> None:
        ada = await imap.account(quota=300)
        await imap.seed.rows("UPDATE domains SET undelete_days = $1", days)
        await imap.put(ada, "INBOX", 4, flags=DELETED)
        await imap.put(ada, "INBOX", 1)
        await imap.seed.rows("UPDATE accounts SET quota_bytes = used_bytes")
        await imap.seed.drain_outbox()
        none = await imap.view.expunge(ada, INBOX, [(5, 9)])
        before = (await imap.view.reopen(ada, INBOX)).modseq
        assert (none.uids, none.modseq) == ([], before)
        some = await imap.view.expunge(ada, INBOX, [(1, 1), (3, 3), (5, 2**32 - 1)])
        assert (some.uids, some.modseq) == ([1, 3], before + 1)
        assert await imap.seed.drain_outbox() == ["ada@example.test"]
        rest = await imap.view.expunge(ada, INBOX, None)
        assert (rest.uids, rest.modseq) == ([2, 4], before + 2)
        assert await imap.held(ada, "INBOX") == [(5, 0, ())]
        assert await imap.seed.value("SELECT count(*) FROM deleted_entries") == (4 if days else 0)

    @pytest.mark.parametrize("ranges", [None, [(1, 3), (4, 2**32 - 1)]])
    async def test_many_go_in_slices_that_stay_done(
        self,
        imap: ImapStore,
        ranges: Sequence[tuple[int, int]] | None,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Deliveries to the account go on between them."""
        ada = await imap.account()
        await imap.put(ada, "INBOX", 1)
        await imap.put(ada, "INBOX", 5, flags=DELETED)
        monkeypatch.setattr(moving, "REMOVED_AT_ONCE", 2)
        remove_all, calls = moving.remove_all, 0

        async def failing(*arguments: Any) -> None:
            nonlocal calls
            calls += 1
            if calls == 2:
                raise Unavailable("postgres", "gone")
            await remove_all(*arguments)

        monkeypatch.setattr(moving, "remove_all", failing)
        with pytest.raises(Unavailable):
            await imap.view.expunge(ada, INBOX, ranges)
        assert [uid for uid, _, _ in await imap.held(ada, "INBOX")] == [1, 4, 5, 6]
        before = (await imap.view.reopen(ada, INBOX)).modseq
        gone = await imap.view.expunge(ada, INBOX, ranges)
        assert (gone.uids, gone.modseq) == ([4, 5, 6], before + 2)

    async def test_uids_end_before_those_of_delivery(self, imap: ImapStore) -> None:
        """A UID beyond 2^32-1 could not be told; delivery, which must not fail, has the last."""
        ada = await imap.account()
        await imap.seed.rows("UPDATE mailboxes SET uidnext = $1", rows.LAST_UIDNEXT - 1)
        [last] = await imap.put(ada)
        assert last == rows.LAST_UIDNEXT - 1
        with pytest.raises(NoUids):
            await imap.put(ada)
        for move in (True, False):
            with pytest.raises(NoUids):
                await imap.view.copy(ada, INBOX, [last], "INBOX", move=move)
        await imap.view.store(ada, INBOX, [last], "+", DELETED, ())
        assert (await imap.view.expunge(ada, INBOX, None)).uids == [last]


def _day(day: Day, compare: Compare, number: int) -> OnDay:
    return OnDay(day, compare, date(2024, 3, number))


def _uids(*ranges: tuple[int, int]) -> Uids:
    return Uids(SequenceSet(ranges))


SEARCHES: Sequence[tuple[SearchKey, list[int]]] = (
    (All(), [1, 2, 3, 4, 5]),
    (And(()), [1, 2, 3, 4, 5]),
    (SaveDateSupported(), [1, 2, 3, 4, 5]),
    (ThreadId("x"), []),
    (Flag("\\Seen"), [1, 2]),
    (Not(Flag("\\SEEN")), [3, 4, 5]),
    (Flag("\\Recent"), []),
    (Flag("work"), [2, 3]),
    (Not(Flag("Work")), [1, 4, 5]),
    (Not(Flag("unknown")), [1, 2, 3, 4, 5]),
    (Flag("'; DROP TABLE mailboxes"), []),
    (And((Flag("\\Seen"), Flag("WORK"))), [2]),
    (Or(Flag("\\Seen"), Flag("WORK")), [1, 2, 3]),
    (Size(Compare.LARGER, 300), [4, 5]),
    (Size(Compare.LARGER, 2**63), []),
    (Size(Compare.SMALLER, 2**63), [1, 2, 3, 4, 5]),
    (Size(Compare.SMALLER, 400), [1, 2, 3]),
    (_day(Day.INTERNAL, Compare.BEFORE, 3), [1, 2]),
    (_day(Day.INTERNAL, Compare.ON, 3), [3]),
    (_day(Day.INTERNAL, Compare.SINCE, 3), [3, 4, 5]),
    (OnDay(Day.INTERNAL, Compare.SINCE, date.max), []),
    (OnDay(Day.INTERNAL, Compare.BEFORE, date.min), []),
    (_day(Day.SAVED, Compare.ON, 4), [4]),
    (_day(Day.SAVED, Compare.BEFORE, 20), [4]),
    (Not(_day(Day.SAVED, Compare.SINCE, 20)), [4]),
    (Within(3600, is_older=False), []),
    (Within(3600, is_older=True), [1, 2, 3, 4, 5]),
    (Within(2**32 - 1, is_older=False), [1, 2, 3, 4, 5]),
    (_uids((4, 2), (9, 9)), [2, 3, 4]),
    (_uids((STAR, STAR)), [5]),
    (_uids((4711, STAR)), [5]),
    (_uids((STAR, 4)), [4, 5]),
    (_uids((1, 1), (4, STAR)), [1, 4, 5]),
    (Not(_uids((2, 4))), [1, 5]),
    (Uids(SequenceSet()), []),
    (ModSeq(3), [2, 3]),
    (ModSeq(1), [1, 2, 3, 4, 5]),
    (ModSeq(2**63 - 1), []),
    (EmailId("{nonsense}"), []),
    (EmailId("0" * 32), []),
)


class TestSearch:
    async def test_every_key_finds_what_it_says(self, imap: ImapStore) -> None:
        ada = await imap.account()
        await imap.put(ada, count=5)
        await imap.view.store(ada, INBOX, [2, 3], "+", 0, ["Work"])
        for uid in range(1, 6):
            await imap.seed.rows(
                "UPDATE mailbox_entries SET size_crlf = $1, internal_date = $2, flags = $3 WHERE uid = $4",
                *(uid * 100, datetime(2024, 3, uid, 23, 59, tzinfo=UTC), int(uid < 3), uid),
            )
        await imap.seed.rows("UPDATE mailbox_entries SET saved_at = NULL WHERE uid = 4")
        for key, expected in SEARCHES:
            assert is_metadata(key)
            assert list(await imap.view.search(ada, INBOX, key)) == expected, key
        message = (await imap.view.rows(ada, INBOX, [(3, 3)]))[0].message
        for text in (str(message), message.hex):
            assert list(await imap.view.search(ada, INBOX, EmailId(text))) == [3]
        with pytest.raises(MailboxGone):
            await imap.view.search(ada, 99, All())
        await imap.seed.rows(
            "UPDATE mailbox_entries e SET size_crlf = m.size_crlf FROM messages m WHERE m.id = e.message_id"
        )
        await imap.seed.rows("UPDATE mailboxes SET unseen = 3 WHERE mailbox_id = 1")

    async def test_content_and_numbers_are_not_for_the_store(self, imap: ImapStore) -> None:
        ada = await imap.account()
        sent = OnDay(Day.SENT, Compare.ON, date(2024, 3, 1))
        for key in (
            Body("x"), Text("x"), Header("subject", "x"), Numbers(SequenceSet()), sent, Uids(SAVED),
        ):  # fmt: skip
            for inside in (key, Not(key), And((All(), key)), Or(All(), key), Or(key, All())):
                assert not is_metadata(inside)
                with pytest.raises(ValueError, match="metadata"):
                    await imap.view.search(ada, INBOX, inside)
        deep: SearchKey = All()
        for _ in range(500):
            deep = Not(deep)
        with pytest.raises(ValueError, match="deep"):
            await imap.view.search(ada, INBOX, deep)


class TestTogether:
    async def test_writers_of_many_accounts_end_without_a_deadlock(
        self, imap: ImapStore, mailboxes: PostgresMailboxes
    ) -> None:
        accounts = [await imap.account(f"user{number}@example.test") for number in range(3)]
        for account in accounts:
            await imap.put(account, count=20)

        async def deliver() -> None:
            for number in range(8):
                turned = accounts[number % 3 :] + accounts[: number % 3]
                await mailboxes.deliver([make_segment([make_message(turned) for _ in range(3)])])

        async def use(account: int) -> None:
            for step in range(8):
                uids = [uid for uid, *_ in await imap.held(account, "INBOX")]
                await imap.view.store(account, INBOX, uids[step:], "+", SEEN, [f"k{step}"])
                await imap.view.copy(account, INBOX, uids[:3], "Trash", move=True)
                await imap.view.copy(account, INBOX, uids[3:6], "Junk")
                await imap.view.store(account, INBOX, uids[6:8], "+", DELETED, ())
                await imap.view.expunge(account, INBOX, None)

        async with asyncio.timeout(60):
            await asyncio.gather(deliver(), deliver(), *(use(each) for each in accounts * 2))
        for account in accounts:
            opened = await imap.view.reopen(account, INBOX)
            assert list(opened.uids) == [uid for uid, *_ in await imap.held(account, "INBOX")]
