"""Bans of client networks, as the scanning tier keeps them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Ban:
    """A network's ban, the last one."""

    until: float
    """Seconds since the epoch."""
    times: int = 1
    """How many there were, this one included."""
    kind: str = ""
    """What it is for: the kind of the reports."""


class BanList(Protocol):
    """The bans as their only writer sees them. Every method raises Unavailable."""

    async def last(self, network: str) -> Ban | None:
        """Return the last ban of a network that is remembered."""
        ...

    async def ban(self, network: str, ban: Ban, remember_seconds: float) -> None:
        """Store a ban; it is remembered for so long from now on."""
        ...
