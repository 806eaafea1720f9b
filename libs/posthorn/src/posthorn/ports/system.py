"""How far what is done in the background is behind, and what waits on the streams."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from posthorn.ports.ingest import Backlog


@dataclass(frozen=True, slots=True)
class Lags:
    """What Postgres knows of it."""

    schema: str
    """Revision of the schema."""
    directory_seconds: float
    """Age of the oldest change that smtp-in cannot see yet; 0: none waits."""
    webhooks_seconds: float
    """How long the delivery of a webhook has been due that waits longest; 0: none is due."""


class StoredLags(Protocol):
    """Lags in Postgres."""

    async def lags(self) -> Lags:
        """Return them. Raises Unavailable."""
        ...

    async def events_read(self, stream: datetime) -> int:
        """Return the position in the stream of events, by when it was created, up to which all
        are read. Raises Unavailable."""
        ...


class StreamState(Protocol):
    """The streams. Every method raises Unavailable."""

    async def backlog(self) -> Backlog:
        """Return what waits on INGEST and DEAD."""
        ...

    async def events_end(self) -> tuple[datetime, int]:
        """Return when EVENTS was created, and its last sequence number."""
        ...

    async def event_after(self, position: int) -> datetime | None:
        """Return when the first message of EVENTS behind a position was stored; None: there is
        none."""
        ...
