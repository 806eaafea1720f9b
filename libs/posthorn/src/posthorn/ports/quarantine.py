"""The quarantine: copies of messages that delivery withheld.

Rules:

- Every method for callers takes their ``tenant``, as in ``ports.administration``, and raises
  NotFound for a copy that the caller does not see, Unavailable for faults of the store.
- A copy is of one account, or of an alias that would have sent it on. It is no part of a quota.
- A release does what delivery would have done: the entry in INBOX, or the rows of the outbound
  queue, with the original envelope. The copy is gone then, so that a second release finds nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from posthorn.model.blob_range import BodyLocation
from posthorn.ports.listing import Listed, ListQuery


@dataclass(frozen=True, slots=True)
class QuarantinedCopy:
    """A copy in quarantine."""

    id: UUID
    message: UUID
    tenant: UUID
    account: str | None
    """Address of the account; None for a copy that an alias would have sent on."""
    recipient: str
    """As the sender addressed it; of a copy of an alias, the alias."""
    reason: str
    """As of ``model.filter_decision.Decision``, like the next two."""
    detail: str
    score: float
    size: int
    """Bytes."""
    created_at: datetime
    expires_at: datetime
    received_at: datetime
    reverse_path: str
    from_: str
    subject: str
    date: str
    message_id: str
    verdict: Mapping[str, Any] | None
    """As ``model.verdict`` encodes it; None if the message was not scanned."""


@dataclass(frozen=True, slots=True)
class QuarantineFilter:
    """A filter; None: any."""

    account: str | None = None
    """Address of an account."""
    domain: str | None = None
    """Of the recipient."""
    reason: str | None = None
    message: UUID | None = None
    since: datetime | None = None
    """Withheld then or later."""


@dataclass(frozen=True, slots=True)
class Restored:
    """A copy that was released."""

    copy: QuarantinedCopy
    destinations: frozenset[str] = frozenset()
    """Domains that have something due now."""
    queued: int = 0
    """Recipients elsewhere to whom an alias sends it on."""


class Quarantine(Protocol):
    """See the rules above."""

    async def items(
        self, tenant: UUID | None, which: QuarantineFilter, asked: ListQuery
    ) -> Listed[QuarantinedCopy]:
        """Return a page, newest first. Orders: ``created``, ``score``. Searched: recipient, detail,
        From and subject. Raises NotFound: no such account; ValidationFailed."""
        ...

    async def item(self, tenant: UUID | None, number: UUID) -> QuarantinedCopy:
        """Return a copy."""
        ...

    async def body(self, tenant: UUID | None, number: UUID) -> tuple[QuarantinedCopy, BodyLocation]:
        """Return a copy with the location of its body."""
        ...

    async def release(
        self, tenant: UUID | None, number: UUID, *, is_ham: bool = False, viruses: bool = True
    ) -> Restored:
        """Release a copy. ``is_ham``: its owner says that it is no spam; of an account's copy it
        is learned. Without ``viruses``, NotFound is raised for a copy withheld for a virus. Raises
        Conflict: the account has no room for it."""
        ...

    async def delete(self, tenant: UUID | None, number: UUID) -> QuarantinedCopy:
        """Delete a copy."""
        ...
