"""A set of SHA-256 digests that takes little memory: eight bytes each, keyed, in a table of
numbers.

Two messages that differ are taken for one with a probability of n²/2^65: of a million messages,
once in 37 million imports. Nobody can make such a pair without the key, which is new for each set.
"""

from __future__ import annotations

from array import array
from hashlib import blake2b

_FULL = 0.6
_SMALLEST = 1024


class Digests:
    """Grows with what is added: 14 to 27 bytes for each."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._table = array("Q", bytes(8 * _SMALLEST))  # 0: nothing is here
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, digest: bytes) -> bool:
        """Add a digest; False when it was there."""
        number = int.from_bytes(blake2b(digest, digest_size=8, key=self._key).digest()) or 1
        if not self._enter(self._table, number):
            return False
        self._count += 1
        if self._count > _FULL * len(self._table):
            table = array("Q", bytes(16 * len(self._table)))
            for each in self._table:
                if each:
                    self._enter(table, each)
            self._table = table
        return True

    @staticmethod
    def _enter(table: array[int], number: int) -> bool:
        mask = len(table) - 1
        place = number & mask
        while table[place]:
            if table[place] == number:
                return False
            place = (place + 1) & mask
        table[place] = number
        return True
