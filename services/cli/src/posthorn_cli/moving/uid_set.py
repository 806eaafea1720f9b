"""A set of UIDs that costs little where they stand in a row."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable


class UidSet:
    """A set of numbers, kept as ranges in ascending order."""

    def __init__(self, uids: Iterable[int] = ()) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        self.update(uids)

    def __contains__(self, uid: int) -> bool:
        """Return whether a UID is in it."""
        place = bisect_right(self._firsts, uid) - 1
        return place >= 0 and uid <= self._lasts[place]

    def __len__(self) -> int:
        """Return how many there are."""
        return sum(last - first + 1 for first, last in zip(self._firsts, self._lasts, strict=True))

    def update(self, uids: Iterable[int]) -> None:
        """Add UIDs."""
        for uid in uids:
            self._add(uid)

    def _add(self, uid: int) -> None:
        place = bisect_right(self._firsts, uid) - 1
        if place >= 0 and uid <= self._lasts[place]:
            return
        joins_before = place >= 0 and self._lasts[place] == uid - 1
        joins_after = place + 1 < len(self._firsts) and self._firsts[place + 1] == uid + 1
        if joins_before and joins_after:
            self._lasts[place] = self._lasts.pop(place + 1)
            del self._firsts[place + 1]
        elif joins_before:
            self._lasts[place] = uid
        elif joins_after:
            self._firsts[place + 1] = uid
        else:
            self._firsts.insert(place + 1, uid)
            self._lasts.insert(place + 1, uid)

    def __str__(self) -> str:
        """Return it as IMAP writes it: ``1:5,7``."""
        return ",".join(
            str(first) if first == last else f"{first}:{last}"
            for first, last in zip(self._firsts, self._lasts, strict=True)
        )

    @classmethod
    def parse(cls, text: str) -> UidSet:
        """Read what ``str`` wrote. Raises ValueError."""
        found = cls()
        for part in filter(None, text.split(",")):
            first, _, last = part.partition(":")
            low, high = int(first), int(last or first)
            if low > high or (found._lasts and low <= found._lasts[-1]):
                raise ValueError("the ranges are not in order")
            found._firsts.append(low)
            found._lasts.append(high)
        return found
