"""The identity of an installation: the database's row, and the copies in its stores (ADR 18)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from posthorn.model.installation import Copy, Mark, Ours


@dataclass(frozen=True, slots=True)
class Reading:
    """The database's row and clock."""

    ours: Ours
    now: float
    """The database's clock, in seconds since the epoch."""
    brakes_released_until: float
    """Time until which all brakes are released; 0: not released."""


class Installation(Protocol):
    """The database's own row. Every method raises Unavailable."""

    async def read(self) -> Reading:
        """Return identity, progress and clock."""
        ...

    async def beat(self, installation: UUID, seconds: float) -> Mark | None:
        """Advance the progress, unless that was done less than ``seconds`` ago; return the
        present mark, or None."""
        ...

    async def begin(self, installation: UUID) -> None:
        """Begin to adopt a new database. The copies follow; another process may do the same
        concurrently."""
        ...

    async def finish(self, installation: UUID) -> None:
        """Record that the copies are written."""
        ...

    async def take_over(self, installation: UUID, new: UUID, progress: float) -> Mark | None:
        """Assign the database a new id and at least this progress: it starts afresh with the
        present stores.

        None, with nothing done, when it is not of ``installation``.
        """
        ...

    async def release_brakes(self, seconds: float) -> float:
        """Release all brakes for so many seconds; return until when."""
        ...


class MarkedStore(Protocol):
    """A store that holds a copy of the mark. Every method raises Unavailable."""

    async def read(self) -> Copy:
        """Return the copy and, when there is none, whether the store holds data."""
        ...

    async def write(self, mark: Mark) -> None:
        """Write the mark, replacing an existing one."""
        ...


class Halting(Protocol):
    """The halt flag for parts without a database (smtp-in). Every method raises Unavailable."""

    async def halted(self) -> str | None:
        """Return why the system is halted; None when it is not."""
        ...

    async def halt(self, reason: str) -> None:
        """Set the flag: recipients are answered 451."""
        ...

    async def resume(self) -> None:
        """Clear the flag."""
        ...

    async def beaten_ago(self) -> float | None:
        """Return the seconds since a process that found the stores consistent wrote the mark;
        None when there is none."""
        ...
