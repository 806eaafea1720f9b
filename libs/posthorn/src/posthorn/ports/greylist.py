"""What is remembered of suspicious strangers."""

from __future__ import annotations

from typing import Protocol


class GreylistStore(Protocol):
    """By keys that consist of letters, digits and ``. _ / -``. Both methods raise Unavailable."""

    async def first_seen(self, key: str, now: float, seconds: float) -> float:
        """Return when the key was first seen, in seconds since the epoch; a new one is stored with
        ``now``, for so many seconds."""
        ...

    async def known(self, key: str, since: float, seconds: float) -> None:
        """Remember the key for so many seconds from now on."""
        ...


class NetworkCounts(Protocol):
    """Counters of client networks that all processes share."""

    async def add(self, kind: str, window: int, network: str, count: int) -> int:
        """Add to a counter; return its total. ``window``: number of the window of time. Raises
        Unavailable."""
        ...
