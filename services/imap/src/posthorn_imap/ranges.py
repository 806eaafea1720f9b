"""The messages of a command as places in the numbering: ranges from 0, without their ends.

A range of places is one range of UIDs too, since every message between two that have neighbouring
numbers is gone.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from posthorn.ports.mailbox_view import Changes
from posthorn.wire.imap import replies
from posthorn.wire.imap.commands import Fetch, Partial
from posthorn.wire.imap.numbering import Numbering
from posthorn.wire.imap.sequence_set import STAR, Range, SequenceSet, merge, ranges_of
from posthorn_imap import syncing

if TYPE_CHECKING:
    from posthorn_imap.selected import Selected
    from posthorn_imap.session import ImapSession

type Places = list[tuple[int, int]]


async def places_of(session: ImapSession, messages: SequenceSet, *, by_uid: bool) -> Places:
    """Return the places of a set as the client wrote it. Raises Unavailable, MailboxGone.

    UIDs may be those of messages not announced yet (RFC 9051 §6.4.9): these are announced first.
    """
    selected = session.mailbox
    numbering = selected.numbering
    if messages.is_saved:
        return _of_uids(numbering, ranges_of(selected.saved))
    if not by_uid:
        count = len(numbering)
        return [
            (low - 1, min(high, count)) for low, high in messages.resolve(count) if low <= count
        ]
    if any(
        last == STAR or max(first, last) > numbering.last_uid for first, last in messages.ranges
    ):
        await syncing.sync(session, expunges=True)
    return _of_uids(numbering, messages.resolve(numbering.last_uid))


async def changed(session: ImapSession, command: Fetch, places: Places) -> Places:
    """Return those of the places that CHANGEDSINCE and PARTIAL leave, as far as the change log
    tells, and tell what vanished. Raises Unavailable, MailboxGone."""
    selected = session.mailbox
    since = command.changed_since
    if since and (command.vanished or count(places) > 1):
        view = session.backend.view
        changes = await view.changes(selected.account, selected.mailbox, since)
        if command.vanished:
            await _tell_vanished(session, command, changes)
        if changes is not None:
            there = _of_uids(selected.numbering, ranges_of(entry.uid for entry in changes.changed))
            places = _both(places, there)
    return places if command.partial is None else part_of(places, command.partial)


def count(places: Places) -> int:
    """Return the number of messages."""
    return sum(end - first for first, end in places)


def pages(places: Places, most: int) -> Iterator[Places]:
    """Yield the places in pages of at most ``most`` messages."""
    page: Places = []
    room = most
    for first, end in places:
        at = first
        while at < end:
            stop = min(end, at + room)
            page.append((at, stop))
            room -= stop - at
            at = stop
            if not room:
                yield page
                page, room = [], most
    if page:
        yield page


def part_of(places: Places, partial: Partial) -> Places:
    """Return the messages at some positions among these (RFC 9394 §3.3)."""
    total = count(places)
    if partial.first < 0:
        low, high = max(total + partial.last, 0), total + partial.first + 1
    else:
        low, high = partial.first - 1, min(partial.last, total)
    found: Places = []
    for first, end in places:
        size = end - first
        if low < size and high > 0:
            found.append((first + max(low, 0), first + min(high, size)))
        low -= size
        high -= size
    return found


def uids_of(selected: Selected, messages: SequenceSet) -> list[Range]:
    """Return the UIDs that a set of UIDs means, whether they exist or not."""
    if messages.is_saved:
        return ranges_of(selected.saved)
    return messages.resolve(selected.numbering.last_uid)


def uids_at(numbering: Numbering, places: Places) -> list[int]:
    """Return the UIDs, ascending."""
    uids = numbering.uids
    return [uid for first, end in places for uid in uids[first:end]]


def numbers_of(numbering: Numbering, places: Places, found: array[int]) -> Sequence[int]:
    """Return the message numbers of UIDs that were found at these places, 0 for one that the client
    does not know. Mostly all are there, which is seen by one comparison."""
    uids = numbering.uids
    asked = array("I")
    for first, end in places:
        asked += uids[first:end]
    if asked != found:
        return [numbering.number(uid) for uid in found]
    if len(places) == 1:
        return range(places[0][0] + 1, places[0][1] + 1)
    return [place + 1 for first, end in places for place in range(first, end)]


def _of_uids(numbering: Numbering, uid_ranges: Iterable[Range]) -> Places:
    uids = numbering.uids
    found: Places = []
    for low, high in uid_ranges:
        first, end = bisect_left(uids, low), bisect_right(uids, high)
        if first >= end:
            continue
        if found and found[-1][1] == first:
            found[-1] = found[-1][0], end
        else:
            found.append((first, end))
    return found


def _both(one: Places, other: Places) -> Places:
    found: Places = []
    at = 0
    for first, end in one:
        while at < len(other) and other[at][1] <= first:
            at += 1
        place = at
        while place < len(other) and other[place][0] < end:
            found.append((max(first, other[place][0]), min(end, other[place][1])))
            place += 1
    return found


async def _tell_vanished(session: ImapSession, command: Fetch, changes: Changes | None) -> None:
    """Tell which UIDs of the set are gone (RFC 7162 §3.2.6); without history: all that are not
    there."""
    selected = session.mailbox
    if changes is None:
        opened = await session.backend.view.reopen(selected.account, selected.mailbox)
        uidnext, there = opened.uidnext, opened.uids
        gone = _gaps(merge(ranges_of(there)), uidnext - 1)
    else:
        uidnext, gone = changes.uidnext, list(changes.removed)
    asked = (
        ranges_of(selected.saved)
        if command.messages.is_saved
        else command.messages.resolve(uidnext - 1)  # 1:* covers those above the last that is left
    )
    if told := _common(asked, gone):
        session.out.send(replies.vanished(told, earlier=True))


def _gaps(there: Sequence[Range], last: int) -> list[Range]:
    gaps: list[Range] = []
    following = 1
    for low, high in there:
        if low > following:
            gaps.append((following, low - 1))
        following = high + 1
    if following <= last:
        gaps.append((following, last))
    return gaps


def _common(one: Sequence[Range], other: Sequence[Range]) -> list[Range]:
    halves = _both([(low, high + 1) for low, high in one], [(low, high + 1) for low, high in other])
    return [(low, end - 1) for low, end in halves]
