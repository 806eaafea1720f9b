"""Retention: the metadata store as the retention rounds use it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Step:
    """Result of a batch."""

    entries: int
    """Number of entries removed."""
    is_over: bool
    """Whether the round is complete: everything has been examined once."""


class Retention(Protocol):
    """Every method raises Unavailable. Batches are transactions of their own: what is done stays
    done."""

    async def lead(self, seconds: float) -> bool:
        """Become or stay the leader for so many seconds; False while another leads."""
        ...

    async def entries(self) -> int:
        """Return the approximate numbers of mailbox entries, and of deleted ones that can be
        restored."""
        ...

    async def expire(self, limit: int) -> Step:
        """Delete at most ``limit`` entries that are older than their domain keeps mail, as their
        owner would.

        An entry is as old as its internal date or its placing, whichever is later: a wrong clock
        makes no fresh mail old.
        """
        ...

    async def expire_quarantine(self, limit: int) -> Step:
        """Drop at most ``limit`` copies whose time in quarantine is over."""
        ...

    async def quarantined(self) -> Mapping[str, int]:
        """Return the number of copies in quarantine by reason
        (``model.filter_decision.Decision.reason``)."""
        ...

    async def purge(self, limit: int) -> Step:
        """Drop deleted entries whose time to be brought back is over, of ``limit`` that are
        looked at."""
        ...
