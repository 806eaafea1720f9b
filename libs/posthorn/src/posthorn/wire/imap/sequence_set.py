"""Sequence sets: message numbers or UIDs in commands and replies (RFC 9051 §9, RFC 5182 §2.1).

The number of ranges is bounded by the length of the command; every function is linear in them, or
sorts them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

LARGEST: Final = (1 << 32) - 1
"""The largest message number, UID and UIDVALIDITY."""
STAR: Final = 1 << 32
"""Stands for ``*`` in a range: the largest number in use."""

_SET = re.compile(rb"(?:[1-9][0-9]{0,9}|\*)(?:[:,](?:[1-9][0-9]{0,9}|\*))*\Z")

type Range = tuple[int, int]
"""First and last number, both included."""


@dataclass(frozen=True, slots=True)
class SequenceSet:
    """A set as the client wrote it."""

    ranges: tuple[Range, ...] = ()
    """In the order of the command; an end may be STAR."""
    is_saved: bool = False
    """Whether it is ``$``, the result of the last search (RFC 5182)."""

    def resolve(self, largest: int) -> list[Range]:
        """Return the ranges sorted, disjoint and merged, with ``*`` as ``largest``.

        ``largest`` is 0 in an empty mailbox, where ``*`` is nothing. ``9:3`` is ``3:9``, and
        ``n:*`` with n above the largest is the largest (RFC 9051 §9, seq-range).
        """
        pairs: list[Range] = []
        for first, last in self.ranges:
            if STAR in (first, last) and not largest:
                if first == last:
                    continue
                first = last = min(first, last)
            low, high = (largest if end == STAR else end for end in (first, last))
            pairs.append((low, high) if low <= high else (high, low))
        return merge(pairs)


SAVED: Final = SequenceSet(is_saved=True)
"""The set ``$``."""


def parse_sequence_set(text: bytes) -> SequenceSet:
    """Parse a sequence-set. Raises ValueError, also for 0 and for numbers beyond 32 bits."""
    if text == b"$":
        return SAVED
    if not _SET.match(text):
        raise ValueError("invalid sequence set")
    ranges = []
    for part in text.split(b","):
        first, colon, last = part.partition(b":")
        low = _number(first)
        ranges.append((low, _number(last) if colon else low))
    return SequenceSet(tuple(ranges))


def merge(pairs: list[Range]) -> list[Range]:
    """Return the ranges sorted, with those joined that overlap or touch."""
    merged: list[Range] = []
    for low, high in sorted(pairs):
        if merged and low <= merged[-1][1] + 1:
            if high > merged[-1][1]:
                merged[-1] = merged[-1][0], high
        else:
            merged.append((low, high))
    return merged


def ranges_of(numbers: Iterable[int]) -> list[Range]:
    """Return ascending numbers as ranges."""
    found: list[Range] = []
    first = last = -1
    for number in numbers:
        if number == last + 1 and first >= 0:
            last = number
            continue
        if first >= 0:
            found.append((first, last))
        first = last = number
    if first >= 0:
        found.append((first, last))
    return found


def format_ranges(ranges: Iterable[Range]) -> bytes:
    """Return ranges in the form of a reply: ``1:3,5``."""
    return b",".join(b"%d:%d" % pair if pair[0] != pair[1] else b"%d" % pair[0] for pair in ranges)


def format_numbers(numbers: Iterable[int]) -> bytes:
    """Return numbers as a set that keeps their order, for COPYUID (RFC 4315 §3): ascending runs
    are ranges."""
    return format_ranges(ranges_of(numbers))


def _number(text: bytes) -> int:
    if text == b"*":
        return STAR
    number = int(text)  # an empty one is ruled out by the pattern
    if number > LARGEST:
        raise ValueError("number beyond 32 bits")
    return number
