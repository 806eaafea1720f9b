"""Recorders for what services tell others: events, and wake-ups of relays."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any
from uuid import UUID

from posthorn.model.events import Event
from posthorn.ports.notifications import ANY


class RecordedEvents:
    """The port Events; keeps what is recorded, oldest first."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def record(self, *events: Event) -> None:
        """Keep the events."""
        self.events += events

    def kinds(self, message: UUID) -> list[str]:
        """Return the kind of each event of a message."""
        return [event.kind for event in self.events if event.message == message]

    def details_of(self, message: UUID) -> list[tuple[str, dict[str, Any]]]:
        """Return kind and detail of each event of a message."""
        return [
            (event.kind, dict(event.detail)) for event in self.events if event.message == message
        ]


class CountedWakeUps:
    """The port Notifier; counts how often relays were woken."""

    def __init__(self) -> None:
        self.count = 0

    def notify(self, destinations: Collection[str] = (ANY,)) -> None:
        """Count a wake-up."""
        self.count += 1
