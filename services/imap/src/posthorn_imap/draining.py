"""Spreading of the ends of connections over the grace period: clients come back at once, and all of
them together would be a wave of logins for the other pods."""

from __future__ import annotations

_PER_SECOND = 200.0
"""Connections that are ended in a second where the time allows it."""
_SHARE = 0.8
"""Of the grace period; the rest is for commands under way."""


class Spread:
    """Hands out the times at which connections end."""

    def __init__(self, grace_seconds: float) -> None:
        self._span = grace_seconds * _SHARE
        self._number = 0

    def delay(self, connections: int) -> float:
        """Return the seconds that the next of so many connections has left."""
        rate = max(_PER_SECOND, connections / self._span) if self._span > 0 else _PER_SECOND
        delay = self._number / rate
        self._number += 1
        return min(delay, self._span)
