"""What the owner of a message says of it, and which moves between mailboxes say so."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum

JUNK = 2
"""``mailbox_id`` of Junk in every account."""
TRASH = 4


class Classification(StrEnum):
    """What a message is."""

    SPAM = "spam"
    HAM = "ham"
    NONE = "none"
    """Nothing is said: what was taught before is taken back."""


def said_by_move(before: Collection[int], after: int) -> Classification | None:
    """Return what the move of a message from some mailboxes into another says of it; None:
    nothing. What is thrown away is neither spam nor ham."""
    if after == JUNK:
        return None if JUNK in before else Classification.SPAM
    return Classification.HAM if JUNK in before and after != TRASH else None
