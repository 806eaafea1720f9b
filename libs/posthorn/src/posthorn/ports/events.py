"""Events of messages: recorded by every service, read as a trace."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
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


@dataclass(frozen=True, slots=True)
class EventPage:
    """A part of the recorded events."""

    events: Sequence[Event]
    """In the order of their recording. An event that was sent twice may be there twice."""
    next: tuple[int, int] | None
    """Where to go on; None: at the end."""


class EventSearch(Protocol):
    """Search in recorded events, as far as the stream reaches back."""

    async def search(
        self,
        kinds: Collection[str],
        since: datetime,
        after: tuple[int, int] | None,
        wanted: Callable[[Event], bool],
        limit: int,
    ) -> EventPage:
        """Return at most ``limit`` events of these kinds that are ``wanted``, recorded since then
        or, if given, from ``after`` on. It reads a bounded part of the stream: there may be fewer,
        or none, and still more to come. Raises Unavailable."""
        ...


class NoEvents:
    """Records nothing."""

    def record(self, *events: Event) -> None:
        """Do nothing."""
