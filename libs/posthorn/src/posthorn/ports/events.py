"""Events of messages: recorded by every service, read as a trace."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from posthorn.model.events import Event


class Events(Protocol):
    """Where events go. The trace explains mail and never holds it up: it may lose events when NATS is down for long."""

    def record(self, *events: Event) -> None:
        """Take events. Never waits, never raises; what cannot be sent is kept up to a bound, then dropped and counted."""
        ...


class Trace(Protocol):
    """What was recorded."""

    async def of(self, message: UUID) -> Sequence[Event]:
        """Return the events of a message in the order of time; none for an unknown one. Raises Unavailable."""
        ...


class NoEvents:
    """Records nothing."""

    def record(self, *events: Event) -> None:
        """Do nothing."""
