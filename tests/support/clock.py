"""A time that tests move."""

from __future__ import annotations


class Clock:
    """Seconds that stand still until ``now`` is moved."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now
