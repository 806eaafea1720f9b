"""Two views of a mailbox beside a model of it: whatever happens, in any order, each view knows after
its changes what the mailbox holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from posthorn.ports.mailbox_view import DELETED
from posthorn.wire.imap.sequence_set import ranges_of
from tests.support.imap_store import EVERY, ImapStore, new_message

_numbers = count(1)
NAMES = ("INBOX", "Trash")
IDS = {"INBOX": 1, "Trash": 4}
KEYWORDS = ("Work", "$Junk", "work")

_MEND_LOG = """
    INSERT INTO mailbox_changes (account_id, mailbox_id, modseq, kind, uids)
    SELECT b.account_id, b.mailbox_id, step.modseq, 0, '{[1,4294967296)}'
      FROM mailboxes b CROSS JOIN generate_series(2, b.modseq) AS step (modseq)
     WHERE NOT EXISTS (
         SELECT FROM mailbox_changes c
          WHERE c.account_id = b.account_id AND c.mailbox_id = b.mailbox_id AND c.modseq = step.modseq)
"""
"""Makes the change log whole again, for the checks at the end."""

type Entry = tuple[int, frozenset[str]]
"""Flags and keywords."""


@dataclass
class Model:
    """What a mailbox should hold."""

    entries: dict[int, Entry] = field(default_factory=dict)
    uidnext: int = 1
    spelling: dict[str, str] = field(default_factory=dict)

    def add(self, entries: list[Entry]) -> list[int]:
        uids = list(range(self.uidnext, self.uidnext + len(entries)))
        self.uidnext += len(entries)
        for uid, (flags, keywords) in zip(uids, entries, strict=True):
            self.entries[uid] = flags, self.spelled(sorted(keywords))
        return uids

    def spelled(self, keywords: list[str]) -> frozenset[str]:
        return frozenset(self.spelling.setdefault(each.lower(), each) for each in keywords)


@dataclass
class View:
    """What a connection knows, by what it was told."""

    mailbox: int
    modseq: int = 1
    entries: dict[int, Entry] = field(default_factory=dict)

    async def sync(self, imap: ImapStore, account: int) -> None:
        found = await imap.view.changes(account, self.mailbox, self.modseq)
        if found is None:  # compare
            opened = await imap.view.reopen(account, self.mailbox)
            rows = await imap.view.flags(account, self.mailbox, EVERY)
            self.entries = {row.uid: (row.flags, frozenset(row.keywords)) for row in rows}
            assert sorted(self.entries) == list(opened.uids)
            self.modseq = opened.modseq
            return
        assert set(found.added).isdisjoint(self.entries)
        assert set(found.added) <= {each.uid for each in found.changed}
        for low, high in found.removed:
            for uid in range(low, high + 1):
                self.entries.pop(uid, None)
        for each in found.changed:
            assert each.uid in self.entries or each.uid in found.added
            assert self.modseq < each.modseq <= found.modseq
            self.entries[each.uid] = each.flags, frozenset(each.keywords)
        self.modseq = found.modseq


_uids = st.lists(st.integers(1, 12), max_size=5)
_name = st.sampled_from(NAMES)
_keywords = st.lists(st.sampled_from(KEYWORDS), max_size=2)
_flags = st.integers(0, 31)
STEPS = st.one_of(
    st.tuples(st.just("append"), _name, st.integers(1, 3), _flags, _keywords),
    st.tuples(st.just("store"), _name, _uids, st.sampled_from("+- "), _flags, _keywords),
    st.tuples(st.just("copy"), _name, _name, _uids, st.booleans()),
    st.tuples(st.just("expunge"), _name, st.none() | _uids),
    st.tuples(st.just("sync"), st.integers(0, 1)),
    st.tuples(st.just("forget"), _name, st.integers(1, 8)),
)


async def _do(
    imap: ImapStore,
    account: int,
    models: dict[str, Model],
    views: list[View],
    step: tuple[Any, ...],
) -> None:
    match step:
        case "append", name, number, flags, keywords:
            message = new_message(flags=flags, keywords=sorted(keywords))
            placed = await imap.placing.place(account, name, [message] * number)
            assert placed is not None
            assert list(placed.uids) == models[name].add([(flags, frozenset(keywords))] * number)
        case "store", name, uids, action, flags, keywords:
            keywords = sorted(keywords)
            model, action = models[name], action.strip()
            stored = await imap.view.store(account, IDS[name], uids, action, flags, keywords)
            if action == "-":
                words = frozenset(model.spelling.get(each.lower(), each) for each in keywords)
            else:
                words = model.spelled(keywords)
            for uid in set(uids) & model.entries.keys():
                had, held = model.entries[uid]
                after = {
                    "+": (had | flags, held | words),
                    "-": (had & ~flags, held - words),
                    "": (flags, words),
                }
                model.entries[uid] = after[action]
            assert {
                each.uid: (each.flags, frozenset(each.keywords)) for each in stored.changed
            } == {uid: model.entries[uid] for uid in set(uids) & model.entries.keys()}
        case "copy", name, target, uids, move:
            source = models[name]
            there = sorted(set(uids) & source.entries.keys())
            copied = await imap.view.copy(account, IDS[name], uids, target, move=move)
            taken = [source.entries[uid] for uid in there]
            if move:
                for uid in there:
                    del source.entries[uid]
            assert copied is not None
            assert (copied.sources, copied.copies) == (there, models[target].add(taken))
        case "expunge", name, uids:
            model = models[name]
            gone = sorted(
                uid
                for uid, (flags, _) in model.entries.items()
                if flags & DELETED and (uids is None or uid in uids)
            )
            ranges = None if uids is None else ranges_of(sorted(set(uids)))
            assert (await imap.view.expunge(account, IDS[name], ranges)).uids == gone
            for uid in gone:
                del model.entries[uid]
        case "sync", number:
            await views[number].sync(imap, account)
            assert views[number].entries == models[NAMES[0]].entries
        case "forget", name, modseq:
            await imap.seed.rows(
                "DELETE FROM mailbox_changes WHERE account_id = $1 AND mailbox_id = $2 AND modseq <= $3",
                *(account, IDS[name], modseq),
            )


# each example has an account of its own in the test's database
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=st.lists(STEPS, min_size=5, max_size=25))
async def test_two_views_know_what_a_mailbox_holds(
    imap: ImapStore, steps: list[tuple[Any, ...]]
) -> None:
    account = await imap.account(f"user{next(_numbers)}@example.test")
    models = {name: Model() for name in NAMES}
    views = [View(IDS[NAMES[0]]) for _ in range(2)]
    for step in steps:
        await _do(imap, account, models, views, step)
    for view in views:
        await view.sync(imap, account)
        assert view.entries == models[NAMES[0]].entries
    for name, model in models.items():
        found = await imap.view.open(account, name)
        assert found is not None
        assert (list(found[1].uids), found[1].uidnext) == (sorted(model.entries), model.uidnext)
        unseen = [uid for uid in sorted(model.entries) if not model.entries[uid][0] & 1]
        assert found[1].unseen == len(unseen)
        assert found[1].first_unseen == (unseen[0] if unseen else None)
    await imap.seed.rows(_MEND_LOG)
