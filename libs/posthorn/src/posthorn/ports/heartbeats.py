"""The processes of the system, as their heartbeats show them (ADR 44)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from posthorn.model.heartbeat import Heartbeat


@dataclass(frozen=True, slots=True)
class Instance:
    """A process, and when it was last heard."""

    part: str
    beat: Heartbeat
    last_at: datetime
    is_silent: bool
    """Whether heartbeats are missing."""


class Heartbeats(Protocol):
    """What has been heard. Nothing is stored: who begins to listen knows all processes after the
    time from one heartbeat to the next."""

    @property
    def listening_since(self) -> datetime | None:
        """Since when heartbeats arrive without interruption; None while they do not."""
        ...

    def instances(self) -> Sequence[Instance]:
        """Return the processes by part and name. One that ended is left out at once, one that is
        silent after some minutes."""
        ...
