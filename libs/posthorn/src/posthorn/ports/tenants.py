"""Tenants: the owners of domains, keys and everything below them.

A suspended tenant still receives mail. Its keys are refused; its accounts cannot log in or
send.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Protocol
from uuid import UUID

from posthorn.ports.changes import Versions
from posthorn.ports.idempotency import Receipt
from posthorn.ports.listing import Listed, ListQuery


class TenantState(Enum):
    """State of a tenant."""

    ACTIVE = "active"
    SUSPENDED = "suspended"


@dataclass(frozen=True, slots=True)
class TenantRules:
    """Limits and rules of a tenant; None: unlimited, or those of the settings."""

    max_domains: int | None = None
    max_accounts: int | None = None
    quota_bytes: int | None = None
    """Limit of the sum of its accounts' quotas, in bytes."""
    max_messages_per_hour: int | None = None
    """Sending limits of all its accounts together."""
    max_recipients_per_hour: int | None = None
    verify_domains: bool = False
    """Whether a new domain accepts mail only after its ownership is verified."""
    min_password_length: int = 8
    """Characters."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """An owner of domains."""

    id: UUID
    name: str
    state: TenantState
    rules: TenantRules
    domains: int
    """How many it has; likewise the next two."""
    accounts: int
    promised_bytes: int
    """Sum of its accounts' quotas."""
    created_at: datetime
    updated_at: datetime
    version: str


@dataclass(frozen=True, slots=True)
class TenantRef:
    """What is needed of a tenant to act for it."""

    id: UUID
    name: str
    state: TenantState


class Tenants(Protocol):
    """``tenant`` is the caller's, as in ``ports.administration``; a tenant sees itself. Every
    method raises Unavailable."""

    async def create(
        self, number: UUID, name: str, rules: TenantRules, receipt: Receipt[Tenant] | None
    ) -> Tenant:
        """Make one. Raises Conflict when the name is taken."""
        ...

    async def items(self, tenant: UUID | None, asked: ListQuery) -> Listed[Tenant]:
        """Return a page. Orders: ``name``, ``created``."""
        ...

    async def get(self, tenant: UUID | None, named: str) -> Tenant:
        """Return one by name or id. Raises NotFound."""
        ...

    async def standing(self, named: str) -> TenantRef | None:
        """Return one by name or id, without counts; None when there is none."""
        ...

    async def change(
        self,
        tenant: UUID | None,
        named: str,
        changes: Mapping[str, object],
        expected: Versions = None,
    ) -> Tenant:
        """Set ``name``, ``state`` or fields of TenantRules.

        Raises NotFound, PreconditionFailed; Conflict when the name is taken.
        """
        ...

    async def delete(self, tenant: UUID | None, named: str, expected: Versions = None) -> None:
        """Delete the tenant with its suppressions and statistics.

        Raises NotFound, PreconditionFailed; Conflict while it owns anything else.
        """
        ...
