"""Retention: what the upkeep of mailboxes asks of the metadata store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Step:
    """What a batch did."""

    entries: int
    """How many went."""
    is_over: bool
    """Whether the round is: everything has been looked at once."""


class Retention(Protocol):
    """Every method raises Unavailable. Batches are transactions of their own: what is done stays done."""

    async def lead(self, seconds: float) -> bool:
        """Become or stay the one that does this for that long; False while another does."""
        ...

    async def entries(self) -> int:
        """About how many mailbox entries there are, and how many that can still be brought back."""
        ...

    async def expire(self, limit: int) -> Step:
        """Delete at most ``limit`` entries that are older than their domain keeps mail, as their owner would.

        An entry is as old as its internal date or its placing, whichever is later: a wrong clock makes no fresh mail old.
        """
        ...

    async def purge(self, limit: int) -> Step:
        """Drop deleted entries whose time to be brought back is over, of ``limit`` that are looked at."""
        ...
