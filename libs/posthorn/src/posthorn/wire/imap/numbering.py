"""The numbering of one connection: message numbers and UIDs as the client was told (RFC 9051 §2.3,
RFC 7162 §3.2.10, RFC 2180).

Rules:

- Numbers change by ``tell`` alone: a command always means the messages that its client counted.
- EXPUNGE and VANISHED only where the command permits it, before one last EXISTS; EXPUNGE with the
  highest number first, so that no number of the others changes on the way.
- EXISTS only when messages were added since. One that came and went between two looks is never
  mentioned.
- UIDs only grow. What is learned twice, or late, changes nothing.

The array of UIDs takes 4 bytes for each message. It is shared by connections until one of them
changes it: the first change makes a copy.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from posthorn.wire.imap.replies import exists, expunges, vanished
from posthorn.wire.imap.sequence_set import Range, ranges_of


@dataclass(frozen=True, slots=True)
class Told:
    """What the client is told now, in this order."""

    numbers: tuple[int, ...] = ()
    """Of messages that are gone, the highest first."""
    uids: tuple[int, ...] = ()
    """Their UIDs, ascending."""
    count: int | None = None
    """The number of messages, if some were added."""

    def format(self, *, qresync: bool = False) -> bytes:
        """Return the replies; ``qresync``: whether the client enabled it."""
        replies = [] if self.count is None else [exists(self.count)]
        if qresync and self.uids:
            return b"".join([vanished(ranges_of(self.uids)), *replies])
        return b"".join([*expunges(self.numbers), *replies])


class Numbering:
    """Numbers and UIDs of the selected mailbox, and what the client was not told yet."""

    __slots__ = ("_added", "_gone", "_is_shared", "_last", "_uids")

    def __init__(self, uids: array[int], *, uidnext: int = 1) -> None:
        """``uids``: ascending, of type ``I``; it is never changed. ``uidnext``: that of the
        mailbox at the same time; UIDs below it that are not in ``uids`` are known to be gone."""
        self._uids = uids
        self._is_shared = True
        self._last = max(uidnext - 1, uids[-1] if uids else 0)
        self._added = array("I")
        self._gone: set[int] = set()

    def __len__(self) -> int:
        """Return the number of messages as told."""
        return len(self._uids)

    @property
    def uids(self) -> array[int]:
        """UIDs as told, by number; not to be changed."""
        return self._uids

    def share(self) -> array[int]:
        """Return the UIDs as told, for another connection too: the next change makes a copy."""
        self._is_shared = True
        return self._uids

    @property
    def last_uid(self) -> int:
        """The highest UID as told, which ``*`` means; 0 in an empty mailbox."""
        return self._uids[-1] if self._uids else 0

    @property
    def has_news(self) -> bool:
        """Whether there is something to tell."""
        return bool(self._gone or self._added)

    @property
    def gone(self) -> frozenset[int]:
        """UIDs that still have a number and whose messages are gone (RFC 2180 §4.1)."""
        return frozenset(self._gone)

    def uid(self, number: int) -> int:
        """Return the UID of a number from 1 to the number of messages. Raises IndexError."""
        if number < 1:
            raise IndexError(number)
        return self._uids[number - 1]

    def number(self, uid: int) -> int:
        """Return the number of a UID, 0 when the client knows no such message."""
        place = bisect_left(self._uids, uid)
        return place + 1 if place < len(self._uids) and self._uids[place] == uid else 0

    def uids_of(self, numbers: Iterable[Range]) -> array[int]:
        """Return the UIDs of these numbers; numbers beyond the last are left out."""
        found = array("I")
        for low, high in numbers:
            found += self._uids[max(low, 1) - 1 : high]
        return found

    def known(self, uids: Iterable[Range]) -> array[int]:
        """Return those of these UIDs that have a number."""
        found = array("I")
        for low, high in uids:
            found += self._uids[bisect_left(self._uids, low) : bisect_right(self._uids, high)]
        return found

    def learn(self, added: Iterable[int] = (), removed: Iterable[int] = ()) -> None:
        """Note what changed in the mailbox; ``added`` is ascending. The client is told later."""
        for uid in added:
            if uid > self._last:
                self._added.append(uid)
                self._last = uid
        gone = set(removed)
        if gone and self._added:
            self._added = array("I", [uid for uid in self._added if uid not in gone])
        if self._is_many(gone):
            self._gone |= gone.intersection(self._uids)
        else:
            self._gone.update(uid for uid in gone if self.number(uid))

    def tell(self, *, expunges: bool) -> Told:
        """Return what to tell the client now, and count on its knowing.

        ``expunges``: whether a message may lose its number now: never during FETCH, STORE and
        SEARCH by number, nor while no command runs outside IDLE (RFC 9051 §7.5.1).
        """
        numbers: tuple[int, ...] = ()
        uids: tuple[int, ...] = ()
        if expunges and self._gone:
            uids = tuple(sorted(self._gone))
            if self._is_many(uids):
                gone = self._gone
                places = [place for place, uid in enumerate(self._uids) if uid in gone]
            else:
                places = [bisect_left(self._uids, uid) for uid in uids]
            numbers = tuple([place + 1 for place in reversed(places)])
            self._remove(places)
            self._gone.clear()
        count = None
        if self._added:
            if self._is_shared:
                self._uids, self._is_shared = self._uids[:], False
            self._uids.extend(self._added)
            self._added = array("I")
            count = len(self._uids)
        return Told(numbers, uids, count)

    def _is_many(self, uids: Collection[int]) -> bool:
        """Return whether it takes less time to look at every message than for each of these UIDs."""
        return len(uids) > len(self._uids) // 8

    def _remove(self, places: list[int]) -> None:
        left = array("I")
        start = 0
        if self._is_many(places):
            gone = self._gone
            left.extend([uid for uid in self._uids if uid not in gone])
            start, places = len(self._uids), []
        for place in places:
            left += self._uids[start:place]
            start = place + 1
        left += self._uids[start:]
        self._uids, self._is_shared = left, False
