"""The audit log: changes through the API, and accesses to the content of mailboxes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from posthorn.ports.listing import Listed, ListQuery


@dataclass(frozen=True, slots=True)
class AuditLine:
    """A change that was made through the API."""

    id: int
    tenant: UUID | None
    """Owner of the object; None: the platform."""
    at: datetime
    actor_id: str
    actor_name: str
    actor_role: str
    action: str
    """``account.change``."""
    subject: str
    """The changed object: an address, a name, an id."""
    details: Mapping[str, Any]
    """The values set. Never a secret: a password appears as ``changed``."""
    request_id: str
    before: Mapping[str, Any] = field(default_factory=dict)
    """The values that the change replaced or deleted, without secrets."""


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """A filter for lines; None: any."""

    actor: str | None = None
    """Id or name."""
    action: str | None = None
    """``account.change``, or ``account`` for all actions on accounts."""
    subject: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    """Not included."""


class Audit(Protocol):
    """Every method raises Unavailable."""

    async def items(
        self, tenant: UUID | None, which: AuditFilter, asked: ListQuery
    ) -> Listed[AuditLine]:
        """Return a page, newest first. ``tenant`` is the caller's. Order: ``at``."""
        ...

    async def record(
        self, tenant: UUID | None, object_name: str, details: Mapping[str, object]
    ) -> None:
        """Write the line of the current request (``runtime.audit_context``), unless its
        transaction wrote one."""
        ...

    async def record_content(self, address: str, details: Mapping[str, object]) -> None:
        """Record that the current request reads content of this account's mailboxes; its tenant
        owns the line."""
        ...

    async def forget(self, days: int, limit: int) -> int:
        """Delete lines older than that, the oldest first and at most ``limit``; return how many."""
        ...
