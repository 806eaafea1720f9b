"""Wake-ups and events, from the moment NATS is there. Those from before are lost: a short poll, a line of a trace."""

from __future__ import annotations

from collections.abc import Collection

from posthorn.model.events import Event
from posthorn.ports.events import Events
from posthorn.ports.wakes import ANY, Waker


class Hints:
    """Waker and Events in one."""

    def __init__(self) -> None:
        self._waker: Waker | None = None
        self._events: Events | None = None

    def arrive(self, waker: Waker, events: Events) -> None:
        """They are there now."""
        self._waker, self._events = waker, events

    def wake(self, destinations: Collection[str] = (ANY,)) -> None:
        """See the port Waker."""
        if self._waker is not None:
            self._waker.wake(destinations)

    def record(self, *events: Event) -> None:
        """See the port Events."""
        if self._events is not None:
            self._events.record(*events)
