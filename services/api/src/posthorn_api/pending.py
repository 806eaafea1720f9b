"""Parts that come up after the process has: NATS and what stands on it."""

from __future__ import annotations

from collections.abc import Collection

from posthorn.model.events import Event
from posthorn.ports.errors import Unavailable
from posthorn.ports.events import Events
from posthorn.ports.notifications import ANY, Notifier


class Pending[T]:
    """A part that comes up after the process has."""

    def __init__(self, part: str) -> None:
        self._part = part
        self._there: T | None = None

    def set(self, there: T) -> None:
        """Set the part, once it is up."""
        self._there = there

    def get(self) -> T:
        """Return the part. Raises Unavailable until it is set."""
        if self._there is None:
            raise Unavailable(self._part, "not connected yet")
        return self._there


class PendingEvents:
    """Notifier and Events in one. What comes before NATS is lost: a short poll, a line of a
    trace."""

    def __init__(self) -> None:
        self._notifier: Notifier | None = None
        self._events: Events | None = None

    def set(self, notifier: Notifier, events: Events) -> None:
        """Set both, once they are up."""
        self._notifier, self._events = notifier, events

    def notify(self, destinations: Collection[str] = (ANY,)) -> None:
        """See the port Notifier."""
        if self._notifier is not None:
            self._notifier.notify(destinations)

    def record(self, *events: Event) -> None:
        """See the port Events."""
        if self._events is not None:
            self._events.record(*events)
