"""The identity of an installation: the database's own, and the copies in its stores (ADR 18)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from posthorn.model.installation import Copy, Mark, Ours


@dataclass(frozen=True, slots=True)
class Reading:
    """What the database says now."""

    ours: Ours
    now: float
    """The database's clock, in seconds since the epoch."""
    brakes_released_until: float
    """Until then no brake holds; 0 when none was released."""


class Installation(Protocol):
    """The database's own row. Every method raises Unavailable."""

    async def read(self) -> Reading:
        """Read identity, progress and clock."""
        ...

    async def beat(self, installation: UUID, seconds: float) -> Mark | None:
        """Advance the progress, unless that was done less than ``seconds`` ago; returns the mark that it is now, or None."""
        ...

    async def begin(self, installation: UUID) -> None:
        """Take up a new database. The copies follow; another process may do the same at the same time."""
        ...

    async def finish(self, installation: UUID) -> None:
        """Note that the copies are written."""
        ...

    async def take_over(self, installation: UUID, new: UUID, progress: float) -> Mark | None:
        """Return the database another id and a progress of at least that: it begins anew with the stores as they are.

        None, and nothing done, when it is not of ``installation``.
        """
        ...

    async def release_brakes(self, seconds: float) -> float:
        """Let all brakes go for so long; returns until when."""
        ...


class MarkedStore(Protocol):
    """A store that holds a copy of the mark. Every method raises Unavailable."""

    async def read(self) -> Copy:
        """Read the copy, and whether there is data when there is none."""
        ...

    async def write(self, mark: Mark) -> None:
        """Put the mark, over one that is there."""
        ...


class Halting(Protocol):
    """A word to those who see no database: smtp-in. Every method raises Unavailable."""

    async def halted(self) -> str | None:
        """Why everything is halted; None when it is not."""
        ...

    async def halt(self, reason: str) -> None:
        """Have recipients answered 451."""
        ...

    async def resume(self) -> None:
        """Take that back."""
        ...

    async def beaten_ago(self) -> float | None:
        """Seconds since some process that found everything in order wrote the mark; None when there is none."""
        ...
