"""Digests: what Junk and quarantine took since an account was last told. Every method raises
Unavailable."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

MOST_ITEMS = 100
"""Messages that a digest lists, the newest."""
POP3_DAYS = 30
"""Days after a POP3 login for which an account counts as read by POP3."""


@dataclass(frozen=True, slots=True)
class DigestItem:
    """A message that was kept from INBOX."""

    message: UUID
    quarantine: UUID | None
    """The copy in quarantine; None: it is in Junk."""
    received_at: datetime
    from_: str
    subject: str
    reason: str
    """As ``model.filter_decision.Decision``, like the next two."""
    detail: str
    score: float


@dataclass(frozen=True, slots=True)
class Digest:
    """What an account is to be told."""

    account: int
    address: str
    tenant: UUID
    items: Sequence[DigestItem]
    """MOST_ITEMS at most, newest first."""
    total: int
    """Messages that there are, those not listed included."""
    junk_uid: int
    """The last UID in Junk that was looked at."""
    quarantine: UUID | None
    """The last copy in quarantine that was looked at."""


class Digests(Protocol):
    """See the module. Each instance is a candidate for the lease."""

    async def lead(self, seconds: float) -> bool:
        """Become or stay the only sender of digests for so many seconds; False while another one
        is."""
        ...

    async def resign(self) -> None:
        """Resign the lease."""
        ...

    async def due(self, after: int, interval_seconds: float, limit: int) -> Sequence[int]:
        """Return accounts above the id ``after``, by id, that get digests and have something new,
        and got none within the interval. An account gets digests if its policy says so, or, where
        no policy says anything, if it is read by POP3, which does not show Junk."""
        ...

    async def digest(self, account: int) -> Digest | None:
        """Return what an account is to be told; None: it was deleted."""
        ...

    async def sent(self, digest: Digest) -> None:
        """Record that an account was told, or, of a digest without items, only up to where it was
        looked."""
        ...

    async def address(self, account: int) -> str | None:
        """Return the address of an account; None: there is none."""
        ...


class Pop3Logins(Protocol):
    """Records which accounts are read by POP3."""

    async def seen(self, accounts: Collection[int]) -> None:
        """Record that accounts were logged in to today. Raises Unavailable."""
        ...
