"""Wall-clock time, so that tests can control it."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """Wall-clock time in seconds since the epoch (UTC)."""

    def __call__(self) -> float:
        """Now."""
        ...
