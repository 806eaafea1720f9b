"""Events of messages: recorded by every service, read as a trace."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from posthorn.model.events import Event


class Events(Protocol):
    """Where events go. The trace explains mail and never holds it up: it may lose events when
    NATS is down for long."""

    def record(self, *events: Event) -> None:
        """Record events. Never waits, never raises; unsent events are buffered up to a bound,
        then dropped and counted."""
        ...


class Trace(Protocol):
    """Recorded events."""

    async def events_of(self, message: UUID) -> Sequence[Event]:
        """Return the events of a message in chronological order; none for an unknown one. Raises
        Unavailable."""
        ...


class NoEvents:
    """Records nothing."""

    def record(self, *events: Event) -> None:
        """Do nothing."""
