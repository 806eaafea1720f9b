"""Sign-ins to accounts, of 30 days, for their holders and admins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

DAYS = 30
"""Days for which sign-ins are kept."""
MAX_ACCEPTED = 1000
"""Most rows of an account for sign-ins that were accepted, the latest; a row is a day, protocol,
address and credential."""
MAX_REFUSED = 200
"""Most rows of an account for those that were refused: strangers make them."""
ACCEPTED = "accepted"
"""The result of a sign-in that was accepted; others are words of ``runtime.mail_login.Refusal``."""


@dataclass(frozen=True, slots=True)
class SignIn:
    """What sign-ins of one kind have in common."""

    account: int
    protocol: str
    """``imap``, ``pop3``, ``smtp`` or ``api``."""
    address: str
    """IP address of the client."""
    app_password: bytes
    """SHA-256 of the app password; empty: the account's own, or a token."""
    result: str


@dataclass(frozen=True, slots=True)
class Attempts:
    """So many sign-ins, and when, in Unix seconds."""

    count: int
    first: float
    last: float


@dataclass(frozen=True, slots=True)
class SignInDay:
    """The sign-ins of one kind on one day (UTC)."""

    protocol: str
    address: str
    app_password: UUID | None
    """None: the account's own, or a token."""
    app_password_name: str | None
    result: str
    attempts: int
    first_at: datetime
    last_at: datetime


class SignIns(Protocol):
    """Every method raises Unavailable."""

    async def record(self, seen: Sequence[tuple[SignIn, Attempts]]) -> None:
        """Add sign-ins up, and delete what is too old or too many. Accounts that have been deleted
        meanwhile are passed over."""
        ...

    async def items(self, tenant: UUID | None, address: str) -> Sequence[SignInDay]:
        """List those of an account, the latest first: at most MAX_ACCEPTED and MAX_REFUSED.
        ``tenant`` is the caller's. Raises NotFound."""
        ...
