"""The audit log: who changed what, who read the content of whose mailboxes, and when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID


@dataclass(frozen=True, slots=True)
class AuditLine:
    """A change that was made through the API."""

    id: int
    tenant: UUID | None
    """Whose object it was; None: the platform's."""
    at: datetime
    actor_id: str
    actor_name: str
    actor_role: str
    action: str
    """``account.change``."""
    subject: str
    """What was changed: an address, a name, an id."""
    details: Mapping[str, Any]
    """What was set. Never a secret: a password appears as ``changed``."""
    request_id: str


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which lines; None: all."""

    actor: str | None = None
    """Id or name."""
    action: str | None = None
    """``account.change``, or ``account`` for all that happened to accounts."""
    subject: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    """Not included."""


class Audit(Protocol):
    """Every method raises Unavailable."""

    async def items(
        self, tenant: UUID | None, which: AuditFilter, before: int | None, limit: int
    ) -> Sequence[AuditLine]:
        """List newest first, below ``before``. ``tenant`` is the caller's."""
        ...

    async def record(self, tenant: UUID | None, object_name: str, details: Mapping[str, object]) -> None:
        """Write the line of the request at hand (``runtime.audit_context``), unless its transaction wrote one."""
        ...

    async def record_content(self, address: str, details: Mapping[str, object]) -> None:
        """Write that the request at hand reads content of this account's mailboxes; the line is its tenant's."""
        ...
