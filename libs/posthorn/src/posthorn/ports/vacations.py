"""Automatic replies of accounts to those who write to them (RFC 3834)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

LONGEST_SUBJECT = 200
"""Characters of a subject at most."""
LONGEST_TEXT = 10_000
"""Characters of a text at most."""
REPLY_DAYS = 7
"""Days for which a sender gets no second reply of an account (RFC 5230 §4.2)."""


@dataclass(frozen=True, slots=True)
class Vacation:
    """What an account replies, and when."""

    enabled: bool = False
    subject: str = ""
    text: str = ""
    starts_at: datetime | None = None
    """None: at once."""
    ends_at: datetime | None = None
    """None: until it is disabled."""


class Vacations(Protocol):
    """Settings of automatic replies. ``tenant`` is the caller's. Every method raises NotFound
    when there is no such account, and Unavailable."""

    async def get(self, tenant: UUID | None, address: str) -> Vacation:
        """Return what an account replies; the empty one if it never set any."""
        ...

    async def put(self, tenant: UUID | None, address: str, vacation: Vacation) -> Vacation:
        """Set what an account replies. Who has had a reply gets another once what is replied
        changes."""
        ...


@dataclass(frozen=True, slots=True)
class DueReply:
    """A reply that an account sends now."""

    account: int
    address: str
    tenant: UUID
    subject: str
    text: str
    domain_limit: int | None = None
    """Messages that all accounts of the domain may send in an hour; None: any number."""
    tenant_limit: int | None = None
    """The same of the tenant."""
    account_limit: int | None = None
    """The same of the account alone."""


class VacationReplies(Protocol):
    """Replies that are due, for delivery. Every method raises Unavailable."""

    async def replying(self) -> frozenset[int]:
        """Return the accounts that reply now."""
        ...

    async def claim(self, account: int, sender: str) -> DueReply | None:
        """Return the reply to a sender, and note that it is sent; None when the account does not
        reply, or when the sender has had a reply within REPLY_DAYS."""
        ...

    async def give_back(self, account: int, sender: str) -> None:
        """Forget a claim: the reply was not sent."""
        ...

    async def forget(self) -> int:
        """Delete what is older than REPLY_DAYS; return the number."""
        ...
