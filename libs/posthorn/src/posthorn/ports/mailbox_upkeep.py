"""The upkeep of mailboxes: checking their counters, and forgetting old changes (ADR 33)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

KEPT_DAYS = 30
"""Days for which the change log of a mailbox is kept."""
KEPT_MODSEQS = 10_000
"""Modseqs of a mailbox for which its change log is kept."""


@dataclass(frozen=True, slots=True)
class Counters:
    """Counters of a mailbox."""

    messages: int
    unseen: int
    deleted: int
    octets: int


@dataclass(frozen=True, slots=True)
class WrongMailbox:
    """A mailbox whose counters were wrong, though nothing showed it."""

    account: int
    mailbox: int
    stored: Counters
    counted: Counters


@dataclass(frozen=True, slots=True)
class Checked:
    """Result of a check."""

    accounts: int
    wrong: Sequence[WrongMailbox]
    """Repaired."""
    is_over: bool
    """All accounts were checked once since the last time that this was true."""


class MailboxUpkeep(Protocol):
    """Every method raises Unavailable for faults of the store."""

    async def lead(self, seconds: float) -> bool:
        """Become or stay the only one to do this for so many seconds; False while another is."""
        ...

    async def check(self, messages: int) -> Checked:
        """Compare the counters of the next accounts, with about this number of messages together,
        with what is there, and repair those that differ."""
        ...

    async def prune(self, limit: int) -> int:
        """Delete changes older than ``KEPT_DAYS``, and those of some mailboxes beyond the last
        ``KEPT_MODSEQS``; about ``limit`` of each. Return how many were deleted. Examine as many
        unique ids of other POP3 servers, and delete those whose messages are gone."""
        ...
