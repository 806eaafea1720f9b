"""The index of messages: one entry for each recipient of a message and each tenant that may see it
(ADR 43)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from posthorn.model.search_terms import Alternatives

INBOUND, OUTBOUND, INTERNAL = "inbound", "outbound", "internal"
"""Of the entry's tenant: from elsewhere to it, from it to elsewhere, within it."""

(
    ACCEPTED,
    QUEUED,
    DEFERRED,
    HELD,
    DELIVERED,
    RELAYED,
    JUNK,
    QUARANTINED,
    REFUSED,
    BOUNCED,
    EXPIRED,
    CANCELLED,
) = (
    "accepted",
    "queued",
    "deferred",
    "held",
    "delivered",
    "relayed",
    "junk",
    "quarantined",
    "refused",
    "bounced",
    "expired",
    "cancelled",
)
WAITING = frozenset({ACCEPTED, QUEUED, DEFERRED, HELD})
"""Outcomes after which another one comes."""


@dataclass(frozen=True, slots=True)
class MessageHead:
    """What all entries of a message have in common."""

    reverse_path: str = ""
    author: str = ""
    """Address of the author in canonical form."""
    subject: str = ""
    """Decoded."""
    message_id: str = ""
    """Value of the Message-ID field."""
    size_bytes: int = 0
    sender: UUID | None = None
    """The tenant that sent it; None: nobody here, or it is not known. It is not stored."""


@dataclass(frozen=True, slots=True)
class IndexedMessage:
    """An entry."""

    message: UUID
    tenant: UUID | None
    """Who sees it besides the whole platform."""
    recipient: str
    """Canonical, as the message was addressed; empty: refused before there was one."""
    direction: str
    head: MessageHead
    outcome: str
    kind: str
    """The kind of the event that ``outcome`` and ``detail`` are of."""
    at: float
    """Seconds since the epoch of that event."""
    detail: Mapping[str, Any] = field(default_factory=dict)
    targets: tuple[str, ...] = ()
    """Addresses elsewhere that the recipient, an alias, sent it on to."""
    tenant_name: str = ""
    """In what a search returns."""


@dataclass(frozen=True, slots=True)
class Known:
    """What the store knows of messages and domains."""

    entries: Sequence[IndexedMessage] = ()
    heads: Mapping[UUID, MessageHead] = field(default_factory=dict)
    """Of messages without an entry."""
    owners: Mapping[str, UUID] = field(default_factory=dict)
    """Tenants of domains whose ownership is verified: to name a domain shows nobody's mail."""


@dataclass(frozen=True, slots=True)
class MessageFilter:
    """Which entries; an empty filter means all."""

    message: UUID | None = None
    asked: Sequence[Alternatives] = ()
    sender: str | None = None
    """Author or reverse-path: an address, or a domain with or without ``@``."""
    recipient: str | None = None
    """The same of the recipient, or of whom its alias sent it on to."""
    direction: str | None = None
    """INBOUND and OUTBOUND include what is INTERNAL."""
    outcome: str | None = None
    reason: str | None = None
    after: datetime | None = None
    """Received then or later."""
    before: datetime | None = None
    tenant: str | None = None
    """Name or id."""


type Place = tuple[UUID, UUID | None, str]
"""Message, tenant and recipient of an entry."""


class MessageIndex(Protocol):
    """The index. Every method raises Unavailable."""

    async def known(self, messages: Collection[UUID], domains: Collection[str]) -> Known:
        """Return what is known of messages, and the tenants of domains."""
        ...

    async def write(self, entries: Sequence[IndexedMessage]) -> None:
        """Add entries, and change those that are there unless they are newer. Not synced: after a
        crash of the database the last ones may be missing."""
        ...

    async def search(
        self,
        tenant: UUID | None,
        which: MessageFilter,
        after: Place | None,
        limit: int,
        *,
        oldest_first: bool = False,
    ) -> Sequence[IndexedMessage]:
        """Return entries, those of the newest message first, after ``after`` in this order.
        ``tenant`` as in ``ports.administration``. Raises ValidationFailed for an unknown
        tenant."""
        ...

    async def total(self, tenant: UUID | None, which: MessageFilter) -> int:
        """Return the number of entries: exact up to a bound of entries read, and an estimate
        beyond. Raises ValidationFailed for an unknown tenant."""
        ...

    async def forget(self, seconds: float) -> int:
        """Delete entries of messages older than so many seconds, a bounded number. Return how
        many."""
        ...
