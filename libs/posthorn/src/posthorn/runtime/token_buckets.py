"""Rates by token buckets, counted in this process: a bucket for each key fills at a steady rate up to
its burst. Buckets that are full again are forgotten, and beyond a number those that were untouched
for longest.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable


class TokenBuckets:
    """Token buckets, one for each key. Each is full at first."""

    def __init__(
        self,
        per_minute: float,
        burst: float,
        clock: Callable[[], float] = time.monotonic,
        *,
        most_keys: int = 20_000,
    ) -> None:
        """``per_minute``: tokens that return; ``burst``: tokens of a full bucket; ``most_keys``:
        whose buckets are kept."""
        self._rate = per_minute / 60
        self._burst = burst
        self._clock = clock
        self._most_keys = most_keys
        self._levels: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()
        """Level and when it was reached, the longest untouched first."""

    def take(self, key: Hashable, cost: float) -> float:
        """Take from a bucket. Return the seconds to wait if there is too little in it; then nothing
        is taken.

        What costs more than the burst is let through by a full bucket, and leaves it in debt.
        """
        if wait := self.wait(key, cost):
            return wait
        level = self._level(key)
        self._levels[key] = level - cost, self._clock()
        self._levels.move_to_end(key)
        self._forget()
        return 0.0

    def wait(self, key: Hashable, cost: float) -> float:
        """Return the seconds until so much may be taken."""
        missing = min(cost, self._burst) - self._level(key)
        return missing / self._rate if missing > 0 else 0.0

    def _level(self, key: Hashable) -> float:
        level, at = self._levels.get(key, (self._burst, 0.0))
        return min(level + (self._clock() - at) * self._rate, self._burst)

    def _forget(self) -> None:
        while self._levels:
            key = next(iter(self._levels))
            if len(self._levels) <= self._most_keys and self._level(key) < self._burst:
                return
            del self._levels[key]
