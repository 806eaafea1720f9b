"""Wake-ups: a hint to relays that something is due. A lost one costs a short poll, nothing else."""

from __future__ import annotations

from typing import Protocol


class Waker(Protocol):
    """The side that has put something into the queue."""

    def wake(self) -> None:
        """Tell every relay to look now. Never waits, never raises."""
        ...


class Wakes(Protocol):
    """The side of the relay."""

    async def wait(self, timeout: float) -> bool:
        """Wait for a wake-up since the last call; False when none came within ``timeout`` seconds. Never raises."""
        ...
