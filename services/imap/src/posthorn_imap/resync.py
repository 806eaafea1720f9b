"""Quick resynchronisation at SELECT (QRESYNC, RFC 7162 §3.2.5): the changes of a mailbox since the
client last saw it.

Rules:

- VANISHED (EARLIER) names what the client may know and what is not there; it may name UIDs that the
  client never saw.
- Where history is not known, it names all that is not there: never nothing. The numbers that the
  client offers with their UIDs shorten that.
- What changes after the mailbox was opened is told later, as any other change.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from posthorn.ports.mailbox_view import EntryFlags, Opened
from posthorn.wire.imap import replies
from posthorn.wire.imap.commands import Qresync
from posthorn.wire.imap.sequence_set import Range, SequenceSet, merge
from posthorn_imap.selected import Selected
from posthorn_imap.syncing import flags_reply

if TYPE_CHECKING:
    from posthorn_imap.session import ImapSession


async def resync(session: ImapSession, selected: Selected, opened: Opened, asked: Qresync) -> None:
    """Tell the changes of the mailbox that was just opened. Raises Unavailable, MailboxGone."""
    if asked.uidvalidity != opened.uidvalidity:
        return  # the client knows nothing of this mailbox
    known = merge([(1, opened.uidnext - 1)]) if opened.uidnext > 1 else []
    if asked.known is not None:
        known = intersect(known, asked.known.resolve(opened.uidnext - 1))
    view = session.backend.view
    changes = None
    since = asked.modseq
    if asked.modseq <= opened.modseq:
        changes = await view.changes(selected.account, selected.mailbox, since)
    else:
        since = 0  # of a later state than there is, as after a restore
    if changes is not None:
        vanished = without(intersect(known, merge(list(changes.removed))), opened.uids)
    else:
        same = _last_same(opened.uids, asked.numbers, asked.uids)
        vanished = without(intersect(known, [(same + 1, opened.uidnext)]), opened.uids)
    if vanished:
        session.out.send(replies.vanished(vanished, earlier=True))
    if changes is not None:
        await _tell(session, selected, known, changes.changed)
        return
    uids = opened.uids
    most = selected.page
    for start in range(0, len(uids), most):
        page = [(uids[start], uids[min(start + most, len(uids)) - 1])]
        changed = await view.flags(selected.account, selected.mailbox, page, changed_since=since)
        await _tell(session, selected, known, changed)


async def _tell(
    session: ImapSession, selected: Selected, known: Sequence[Range], changed: Iterable[EntryFlags]
) -> None:
    lows = [low for low, _ in known]
    for count, entry in enumerate(changed, 1):
        place = bisect_right(lows, entry.uid) - 1
        if place < 0 or entry.uid > known[place][1]:
            continue
        if number := selected.numbering.number(entry.uid):
            session.out.send(flags_reply(session, number, entry))
        if count % 500 == 0:
            await session.out.room()


def intersect(left: Sequence[Range], right: Sequence[Range]) -> list[Range]:
    """Return what is in both of two sorted lists of disjoint ranges."""
    found: list[Range] = []
    i = j = 0
    while i < len(left) and j < len(right):
        low, high = max(left[i][0], right[j][0]), min(left[i][1], right[j][1])
        if low <= high:
            found.append((low, high))
        if left[i][1] < right[j][1]:
            i += 1
        else:
            j += 1
    return found


def without(ranges: Iterable[Range], uids: array[int]) -> list[Range]:
    """Return what is left of sorted ranges without some UIDs, which are ascending."""
    found: list[Range] = []
    for low, high in ranges:
        for uid in uids[bisect_left(uids, low) : bisect_right(uids, high)]:
            if low < uid:
                found.append((low, uid - 1))
            low = uid + 1
        if low <= high:
            found.append((low, high))
    return found


def _last_same(present: array[int], numbers: SequenceSet | None, uids: SequenceSet | None) -> int:
    """Return the highest UID up to which nothing was removed, as far as the client's numbers tell
    (RFC 7162 §3.2.5.2)."""
    if numbers is None or uids is None:
        return 0
    same = before = 0
    for number, uid in zip(_each(numbers), _each(uids), strict=False):
        # they ascend (RFC 7162 §7): others would be looked at any number of times
        if not before < number <= len(present) or present[number - 1] != uid:
            break
        same, before = uid, number
    return same


def _each(numbers: SequenceSet) -> Iterable[int]:
    for low, high in numbers.ranges:
        yield from range(min(low, high), max(low, high) + 1)
