"""A maildrop as one session sees it: numbers and sizes that never change, and marks for deletion
(RFC 1939 §5).

Rules:

- Message n is the n-th of the snapshot for the whole session, whatever is deleted; nothing is ever
  renumbered.
- It is kept in arrays, which sessions share while nothing changes: a maildrop of 100,000 messages
  takes 1.7 MiB, and its listing is made in chunks.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence

from posthorn.ports.maildrops import Listing, unique_id

_LINES = 512  # of a listing at once: about 10 KiB


class Snapshot:
    """The messages of a maildrop, numbered from 1."""

    __slots__ = ("_deleted", "_listing", "_sizes", "_uids", "count", "octets")

    def __init__(self, listing: Listing) -> None:
        self._listing = listing
        self._uids, self._sizes = _array(listing.uids), _array(listing.sizes)
        self.reset()

    def __len__(self) -> int:
        """All messages, marked ones too: the highest number."""
        return len(self._uids)

    def has(self, number: int) -> bool:
        """Return whether there is such a message and it is not marked."""
        return 0 < number <= len(self._uids) and not self._deleted[number - 1]

    def marked(self, number: int) -> bool:
        """Return whether there is such a message and it is marked."""
        return 0 < number <= len(self._uids) and bool(self._deleted[number - 1])

    def uid(self, number: int) -> int:
        """The uid of a message."""
        return self._uids[number - 1]

    def size(self, number: int) -> int:
        """The exact bytes of a message."""
        return self._sizes[number - 1]

    def uidl(self, number: int) -> bytes:
        """The unique id of a message."""
        uid = self._uids[number - 1]
        return self._listing.unique_ids.get(uid) or unique_id(self._listing.uidvalidity, uid)

    def delete(self, number: int) -> None:
        """Mark a message that ``has`` says is there."""
        self._deleted[number - 1] = 1
        self.count -= 1
        self.octets -= self._sizes[number - 1]

    def reset(self) -> None:
        """Take all marks away."""
        self._deleted = bytearray(len(self._uids))
        self.count = len(self._uids)
        """Messages that are not marked."""
        self.octets = self._listing.octets
        """Their sizes added up."""

    @property
    def has_marks(self) -> bool:
        """Whether a message is marked."""
        return self.count != len(self._uids)

    def deleted(self) -> list[int]:
        """The uids of marked messages."""
        return [uid for uid, mark in zip(self._uids, self._deleted, strict=True) if mark]

    def sizes(self) -> Iterator[bytes]:
        """The lines of LIST, some at a time."""
        for numbers in self._live():
            yield "".join(
                [f"{number} {self._sizes[number - 1]}\r\n" for number in numbers]
            ).encode()

    def uidls(self) -> Iterator[bytes]:
        """The lines of UIDL, some at a time."""
        for numbers in self._live():
            yield b"".join([b"%d %b\r\n" % (number, self.uidl(number)) for number in numbers])

    def following(self, number: int, most: int) -> list[int]:
        """The numbers of unmarked messages from ``number`` on, looking at the next ``most``."""
        last = min(number + most, len(self._uids) + 1)
        return [each for each in range(number, last) if not self._deleted[each - 1]]

    def _live(self) -> Iterator[list[int]]:
        for first in range(1, len(self._uids) + 1, _LINES):
            if numbers := self.following(first, _LINES):
                yield numbers


def _array(numbers: Sequence[int]) -> array[int]:
    return numbers if isinstance(numbers, array) else array("Q", numbers)
