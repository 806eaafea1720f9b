"""Notifications: a hint to relays that something is due. A lost one costs a short poll, nothing
else."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

ANY = "*"
"""Stands for a destination's name: it may be any."""


class Notifier(Protocol):
    """The sending side: whoever has put something into the queue."""

    def notify(self, destinations: Collection[str] = (ANY,)) -> None:
        """Tell every relay that something is due there now. Never waits, never raises."""
        ...


class Notifications(Protocol):
    """The receiving side: the relay."""

    async def wait(self, timeout: float) -> Collection[str]:
        """Wait for a notification since the last call and return the destinations it names.

        The collection is empty if there was none within ``timeout`` seconds. Never raises.
        """
        ...
