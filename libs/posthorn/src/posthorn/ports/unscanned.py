"""Messages that wait for the scanning tier (ADR 31), as delivery sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class WaitingMessage:
    """A message of the unscanned lane."""

    sequence: int
    subject: str
    octets: bytes
    """The ingest record."""
    stored_at: datetime


@dataclass(frozen=True, slots=True)
class UnscannedBacklog:
    """What the lane holds."""

    messages: int
    oldest: datetime | None


class UnscannedMessages(Protocol):
    """The lane. Every method raises Unavailable."""

    async def backlog(self) -> UnscannedBacklog:
        """Return the backlog of the lane."""
        ...

    async def stored_before(self, moment: datetime, limit: int) -> Sequence[WaitingMessage]:
        """Return the oldest messages that were stored before a moment, at most ``limit``."""
        ...

    async def move(self, message: WaitingMessage, octets: bytes, known_as: str) -> None:
        """Store a record in the first lane, then delete the message from this one; a repeat is
        harmless. ``known_as``: the message's id."""
        ...
