"""Which messages of the selected mailbox match a key.

Theory of operation. The store answers what it can in one statement (``wire.imap.search_matching``).
What is left of the key is decided for its candidates in pages, the newest first (or the oldest, if
only the first match is asked for): by their headers, then, where these do not suffice, by their
bodies. Flags, dates and UIDs never cost more than the store's statement, however large the mailbox.

Rules:

- Numbers and ``$`` mean what the client was told. Found is only what has a number.
- A search that reads messages takes a slot (``search_slots``) and has a pace (``pacing``).
- Complexity is bounded: NO [LIMIT].
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

from posthorn.ports.mailbox_view import Content
from posthorn.runtime.search_content import CONTENTS, SearchContent, off_loop
from posthorn.wire.imap.search_keys import All, And, SearchKey, Uids
from posthorn.wire.imap.search_matching import (
    Test,
    decide,
    fields_of,
    metadata_within,
    prepared,
    resolved,
    split,
    texts_of,
)
from posthorn.wire.imap.sequence_set import Range, SequenceSet, ranges_of
from posthorn.wire.message.searchable import SearchedHeader
from posthorn_imap.answering import No
from posthorn_imap.pacing import Pace

if TYPE_CHECKING:
    from posthorn_imap.session import ImapSession

MOST_STATEMENTS = 50
"""Statements of one search beside that for its candidates."""
MOST_ANSWERS = 10_000_000
"""UIDs that these may return together: 40 MB."""
MOST_FIELDS = 250
"""Texts that are looked for in fields by one search: all of a message without a pause."""
MOST_TEXTS = 100
"""Texts that are looked for in bodies by one search."""
MOST_HELD_BYTES = 2 * 1024 * 1024
"""Bytes of the headers of messages whose bodies are to be read."""
READ_AHEAD = 32
"""Bodies whose reading is begun ahead."""

type Hits = array[int]
"""UIDs, ascending, of type ``I``."""


def bound_key(session: ImapSession, key: SearchKey) -> SearchKey:
    """Return a key without numbers and ``$``, as the client counts before it is told more."""
    selected = session.mailbox
    uids = selected.numbering.uids
    count = len(uids)

    def numbered(messages: SequenceSet) -> list[Range]:
        return [
            (uids[low - 1], uids[min(high, count) - 1])
            for low, high in messages.resolve(count)
            if low <= count
        ]

    return resolved(key, numbered, ranges_of(selected.saved))


async def find(
    session: ImapSession,
    key: SearchKey,
    pace: Pace,
    *,
    least: int | None = None,
    greatest: int | None = None,
) -> Hits:
    """Return the messages that match a bound key; ``least``, ``greatest``: so many of those with
    the lowest or highest UIDs are enough, where they are not None. Raises Unavailable, MailboxGone,
    No, ConnectionError."""
    selected = session.mailbox
    if isinstance(key, All):
        gone = selected.numbering.gone
        uids = selected.numbering.uids
        return array("I", [uid for uid in uids if uid not in gone]) if gone else uids
    store, rest = split(key)
    view = session.backend.view
    if rest is None:
        return _told(session, await view.search(selected.account, selected.mailbox, store))
    async with session.context.searches.slot(selected.account, pace):
        candidates = _told(session, await view.search(selected.account, selected.mailbox, store))
        test = await _test(session, rest, candidates)
        ascends = greatest is None and least is not None
        order = candidates if ascends else candidates[::-1]
        run = _Run(session, test, pace, enough=least if ascends else greatest)
        found = await run.among(order)
    return found if ascends else found[::-1]


async def _test(session: ImapSession, rest: SearchKey, candidates: Hits) -> Test:
    parts = list(metadata_within(rest))
    if len(parts) > MOST_STATEMENTS:
        raise No("the search is too complex", b"LIMIT")
    answers: list[Collection[int]] = []
    if parts and candidates:
        selected = session.mailbox
        within = Uids(SequenceSet(((candidates[0], candidates[-1]),)))
        known = 0
        for part in parts:
            key = And((within, part))
            hits = await session.backend.view.search(selected.account, selected.mailbox, key)
            known += len(hits)
            if known > MOST_ANSWERS:
                raise No("the search is too complex for this many messages", b"LIMIT")
            answers.append(_Uids(hits))
    else:
        answers = [()] * len(parts)
    test = prepared(rest, iter(answers))
    if sum(map(len, texts_of(test))) > MOST_TEXTS or fields_of(test) > MOST_FIELDS:
        raise No("the search is for too many texts", b"LIMIT")
    return test


def _told(session: ImapSession, found: Hits) -> Hits:
    """Return those that have a number: others may have come since."""
    last = session.mailbox.numbering.last_uid
    if found and found[-1] > last:
        return array("I", [uid for uid in found if uid <= last])
    return found


class _Uids(Collection[int]):
    """Ascending UIDs in 4 bytes each."""

    def __init__(self, uids: Hits) -> None:
        self._uids = uids

    def __len__(self) -> int:
        return len(self._uids)

    def __iter__(self) -> Iterator[int]:
        return iter(self._uids)

    def __contains__(self, uid: object) -> bool:
        if not isinstance(uid, int):
            return False
        place = bisect_left(self._uids, uid)
        return place < len(self._uids) and self._uids[place] == uid


class _Run:
    """Decides candidates."""

    def __init__(self, session: ImapSession, test: Test, pace: Pace, *, enough: int | None) -> None:
        selected = session.mailbox
        self._content = SearchContent(
            session.backend.view, session.backend.bodies, selected.account, selected.mailbox
        )
        self._test = test
        self._texts = texts_of(test)
        self._pace = pace
        self._enough = enough
        self._found = array("I")
        self._done = 0
        self._total = 0

    async def among(self, candidates: Hits) -> Hits:
        """Return those that match, in this order."""
        self._total = len(candidates)
        for at in range(0, len(candidates), CONTENTS):
            await self._page(candidates[at : at + CONTENTS])
            await self._content.keep()
            if self._has_enough:
                break
        return self._found

    @property
    def _has_enough(self) -> bool:
        return self._enough is not None and len(self._found) >= self._enough

    async def _page(self, uids: Hits) -> None:
        contents = await self._content.locate(uids)
        outcomes: dict[int, bool] = {}
        undecided: list[tuple[int, Content, SearchedHeader]] = []
        held = 0
        for uid in uids:
            content = contents.get(uid)
            if content is None:
                continue
            octets = await self._content.header(uid, content)
            if octets is None:
                continue
            header = SearchedHeader(octets)
            outcome = await off_loop(len(octets), decide, self._test, uid, header, None)
            if outcome is None:
                undecided.append((uid, content, header))
                held += len(octets)
            else:
                outcomes[uid] = outcome
            if held > MOST_HELD_BYTES:
                await self._read(undecided, outcomes)
                undecided, held = [], 0
            if self._pace.is_over:
                await self._pace.turn(self._done, self._total)
        await self._read(undecided, outcomes)
        self._found.extend(uid for uid in uids if outcomes.get(uid))
        self._done += len(uids)
        if self._enough is not None:
            del self._found[self._enough :]

    async def _read(
        self, messages: Sequence[tuple[int, Content, SearchedHeader]], outcomes: dict[int, bool]
    ) -> None:
        """Decide messages by their bodies, as many as are needed."""
        read = 0
        for place, (uid, content, header) in enumerate(messages):
            if place % READ_AHEAD == 0:
                ahead = messages[place : place + 2 * READ_AHEAD]
                self._content.prefetch([content for _, content, _ in ahead])
            found = await self._content.find(uid, content, *self._texts)
            if found is not None:
                outcomes[uid] = bool(decide(self._test, uid, header, found))
                read += outcomes[uid]
            if self._pace.is_over:
                await self._pace.turn(self._done + place, self._total)
            if self._enough is not None and len(self._found) + read >= self._enough:
                return
