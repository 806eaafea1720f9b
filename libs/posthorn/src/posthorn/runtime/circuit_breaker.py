"""A circuit breaker: keeps something that does not answer from costing everybody its deadline.

Closed, it lets all calls through. After ``failures`` in a row it opens, and lets one call through
each ``rest_seconds``, doubled with each that fails up to ``longest_rest_seconds``. A call that
succeeds closes it.
"""

from __future__ import annotations

import time
from collections.abc import Callable


class CircuitBreaker:
    """One breaker, for one thing that is called."""

    def __init__(
        self,
        *,
        failures: int = 3,
        rest_seconds: float = 2.0,
        longest_rest_seconds: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most = failures
        self._first_rest, self._longest_rest = rest_seconds, longest_rest_seconds
        self._clock = clock
        self._failed = 0
        self._rest = rest_seconds
        self._next_at = 0.0

    @property
    def is_open(self) -> bool:
        """Whether calls are kept back."""
        return self._failed >= self._most

    def allows(self) -> bool:
        """Return whether a call may be made now. While it is open, one that may counts as made:
        the next one waits."""
        if not self.is_open:
            return True
        now = self._clock()
        if now < self._next_at:
            return False
        self._next_at = now + self._rest
        return True

    def succeeded(self) -> None:
        """Note a call that was answered."""
        self._failed, self._rest = 0, self._first_rest

    def failed(self) -> None:
        """Note a call that was not answered, or not properly."""
        was_open = self.is_open
        self._failed = min(self._failed + 1, self._most)
        if was_open:
            self._rest = min(self._rest * 2, self._longest_rest)
        if self.is_open:
            self._next_at = self._clock() + self._rest
