"""When a process takes its next batch from a stream that others share (ADR 52)."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

_SHARED = 1.2
"""Messages that all processes take for each that is taken here, from which the stream is shared."""
_COUNTED = 4
"""Batches whose messages count for that, about."""
_SELDOMER = 1.2
_MOST_FACTOR = 16.0
_LONGEST_TURN = 1.0
"""Longest time from one batch to the next, in seconds, unless the spacing is longer."""


class Turns:
    """When this process takes the next batch from a stream that others take from as well, so that
    batches of all of them begin about as far apart as those of one.

    What gathers between two batches of any process is seen by the part of the messages that came
    here. Where it gathered for less than the spacing, this process takes its turn a sixth less often
    from then on, else a bit more often.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._factor = 1.0
        self._here = self._everywhere = 0.0
        self._taken_at = self._interval = 0.0
        self._is_early = False
        self.seconds = 0.0
        """From the last batch to the turn after it."""

    def interrupted(self) -> None:
        """Note that the next batch is taken before its turn."""
        self._is_early = True

    def taken(self) -> None:
        """Note that a batch was taken now."""
        now = self._now()
        self._taken_at, self._interval = now, now - self._taken_at

    def next(self, here: int, everywhere: int, spacing: float) -> float | None:
        """Return when the next batch should begin (monotonic seconds); None: the stream is not
        shared. ``here``, ``everywhere``: messages that came to this process, and to all, since the
        last call; ``spacing``: seconds from one batch to the next."""
        self._here += here - self._here / _COUNTED
        self._everywhere += everywhere - self._everywhere / _COUNTED
        if self._everywhere <= _SHARED * self._here:
            self._factor = 1.0
            return None
        if self._is_early:
            self._is_early = False
        elif self._interval * here < spacing * everywhere:
            self._factor = min(_MOST_FACTOR, self._factor * _SELDOMER)
        else:
            self._factor = 1 / min(1.0, 1 / self._factor + 1 / _MOST_FACTOR)
        # a fifth more or less, lest processes come to the same rhythm
        wait = spacing * self._factor * random.uniform(0.8, 1.2)  # noqa: S311 - no secret
        self.seconds = min(wait, max(spacing, _LONGEST_TURN))
        return self._taken_at + self.seconds
