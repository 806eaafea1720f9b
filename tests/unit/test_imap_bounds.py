"""What one client may make the IMAP service hold or do: bounds of its parts."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Mapping
from typing import Any, cast

import pytest

from posthorn.ports.folders import Folder, FolderList
from posthorn.ports.mailbox_view import Changes, EntryFlags, MailboxView, Opened
from posthorn.wire.imap import sections
from posthorn.wire.imap.sections import select_fields
from posthorn.wire.imap.sequence_set import parse_sequence_set
from posthorn.wire.imap.threads import message_ids
from posthorn.wire.message import searchable
from posthorn_imap import search_order, watching
from posthorn_imap.folder_tree import FolderTree, Wanted
from posthorn_imap.resync import _last_same
from posthorn_imap.selected import MOST_TOLD, Selected
from posthorn_imap.watching import Watching
from tests.support.polling import BUSY_SECONDS


def selected_with(count: int) -> Selected:
    """Return a selected mailbox of so many messages."""
    uids = array("I", range(1, count + 1))
    opened = Opened("INBOX", None, 1, count + 1, 5, (), uids, 0, None)
    return Selected(1, 1, opened, read_only=False)


def test_no_changed_flags_are_forgotten_while_the_modseq_moves_on() -> None:
    selected = selected_with(12_000)
    entries = [EntryFlags(uid, 1, (), 6) for uid in range(1, 12_001)]
    selected.learn(Changes(6, 12_001, (), [], entries, []))
    assert (len(selected.pending), selected.modseq) == (12_000, 6)


def test_what_was_told_is_noted_of_a_bounded_number() -> None:
    selected = selected_with(1)
    selected.note_told(EntryFlags(uid, 1, (), 9) for uid in range(1, 2 * MOST_TOLD))
    assert len(selected.told) == MOST_TOLD


def test_rfc7162_numbers_offered_for_resynchronisation_must_ascend() -> None:
    present = array("I", [10, 20, 30])

    def same(numbers: bytes, uids: bytes) -> int:
        return _last_same(present, parse_sequence_set(numbers), parse_sequence_set(uids))

    assert same(b"1,3", b"10,30") == 30
    assert same(b"1:2,9", b"10,20,30") == 20
    assert same(b"1,1,2", b"10,10,20") == 10
    repeated = b",".join([b"1:4000000000"] * 100)
    assert same(repeated, repeated) == 0


def test_list_and_lsub_return_to_the_caller_for_names_that_do_not_match() -> None:
    folders = [Folder(1, name, None, 1, 1, 1, 0, 0, 0, 0) for name in ("INBOX", "a", "b")]
    tree = FolderTree(FolderList(folders, frozenset({"a", "x/y/z", "x/y"})))
    assert list(tree.list_(Wanted(lambda _: False))) == [None] * 3
    assert not any(tree.lsub(lambda _: False))
    # % also shows those above a subscribed name that does not match itself (RFC 3501 §6.3.9)
    shown = [each for each in tree.lsub(lambda name: "/" not in name) if each is not None]
    assert [(each.name, each.attributes[0]) for each in shown] == [
        ("a", "\\HasNoChildren"), ("x", "\\Noselect")
    ]  # fmt: skip
    shown = [each for each in tree.lsub(lambda name: name.count("/") == 1) if each is not None]
    assert [each.name for each in shown] == ["x/y"]


class _Silent(MailboxView):
    async def moved_on(self, asked: Any) -> Mapping[tuple[int, int], int | None]:
        return {(account, mailbox): modseq + 1 for account, mailbox, modseq in asked}


class _Client:
    has_news = True
    notify = None

    def __init__(self, number: int, *, takes: bool) -> None:
        self.selected = selected_with(0)
        self.selected.mailbox = number
        self._takes = takes
        self.told = asyncio.Event()

    async def tell_now(self) -> None:
        if not self._takes:
            await asyncio.Event().wait()
        self.told.set()


async def test_clients_in_idle_that_take_nothing_hold_up_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watching, "PATIENCE_SECONDS", 0.01)
    monkeypatch.setattr(watching, "GATHER_SECONDS", 0.0)
    view = cast("MailboxView", _Silent())  # type: ignore[abstract]
    changes = Watching(view)
    stuck = [_Client(number, takes=False) for number in range(watching.AT_ONCE)]
    last = _Client(99, takes=True)
    for client in (*stuck, last):
        changes.enter(client, client.selected)
    await changes.poll()
    try:
        await asyncio.wait_for(last.told.wait(), BUSY_SECONDS)
    finally:
        await changes.close()


def test_header_fields_with_many_names_give_what_few_give() -> None:
    """Their pattern would take megabytes, and be kept."""
    header = b"To: a\r\n b\r\nno field\r\nSUBJECT \t: x: y\r\n\r\nFrom: z\r\n\r\n"
    many = [b"x%06d" % number for number in range(1000)]
    before = sections._selector.cache_info().currsize
    for others in (False, True):
        few = select_fields(header, [b"subject", b"to"], others=others)
        sizes = sections._selector.cache_info().currsize
        assert select_fields(header, [*many, b"Subject", b"TO"], others=others) == few
        assert sections._selector.cache_info().currsize == sizes
    assert before <= sizes


def test_a_message_id_of_quotes_costs_no_more_than_its_length() -> None:
    """One of 60 KB took 15 seconds, in which nobody was served."""
    assert message_ids('<"' + '\\"' * 500_000 + "> <a@b>") == ["a@b"]
    assert message_ids('<"' + '\\"' * 400 + '"@x> <"a.b"@c>') == ['\\"' * 400 + "@x", "a.b@c"]


def test_sort_compares_the_beginning_of_texts() -> None:
    assert len(search_order._collated("x" * 100_000)) == search_order.KEY_CHARACTERS


def test_a_header_is_prepared_once_for_all_texts_that_are_looked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    header = searchable.SearchedHeader(
        b"X: One\r\n two\r\nNo\r\nxx: y\r\nX : three\r\nX:\r\nY: x: 4\r\n\r\n"
    )
    folded: list[str] = []
    fold = searchable.fold

    def counting(text: str) -> str:
        folded.append(text)
        return fold(text)

    monkeypatch.setattr(searchable, "fold", counting)
    assert [header.has("x", text) for text in ("one two", "three", "y", "", "four")] == [
        True, True, False, True, False
    ]  # fmt: skip
    assert len(folded) == 3
    assert header.has("y", "x: 4")
    assert not header.has("z", "")
