"""Filter policies of the system, of tenants, domains and accounts (``model.filter_policy``, ADR
31).

Every owner has a policy at any time; one that nobody has set is silent on every field. The rules of
``ports.administration`` hold for every method: tenants are sealed from each other, a change writes
its outbox entries and its audit line in its own transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Protocol
from uuid import UUID

from posthorn.model.filter_policy import FilterPolicy, Origin
from posthorn.ports.changes import Change, Versions


class Level(StrEnum):
    """Whose policy it is, the farthest first."""

    SYSTEM = "system"
    TENANT = "tenant"
    DOMAIN = "domain"
    ACCOUNT = "account"


@dataclass(frozen=True, slots=True)
class PolicyOwner:
    """The owner of a policy."""

    level: Level
    name: str = ""
    """Name or id of a tenant, name of a domain, address of an account; empty: the system."""


MOST_BYTES_BELOW: Final = 16 * 1024 * 1024
UNSET: Final = "unset"
"""The version of a policy that is not set."""
SYSTEM = PolicyOwner(Level.SYSTEM)


@dataclass(frozen=True, slots=True)
class StoredPolicy:
    """The policy document of one owner."""

    owner: PolicyOwner
    """A tenant is named by its name."""
    document: Mapping[str, Any]
    """In canonical form; empty: silent."""
    version: str
    updated_at: datetime | None = None
    """None: it was never set, or it was unset."""


@dataclass(frozen=True, slots=True)
class EffectivePolicy:
    """The policy that follows from the documents of all levels."""

    policy: FilterPolicy
    origins: Sequence[Origin]
    """``Origin.source`` is the name of a Level, or ``model.filter_policy.DEFAULT``."""


class FilterPolicies(Protocol):
    """Reads and sets policies. Every method raises NotFound for an owner that does not exist or is
    another tenant's (the system is visible to the platform only), and Unavailable."""

    async def policy(self, tenant: UUID | None, owner: PolicyOwner) -> StoredPolicy:
        """Return the policy document of an owner."""
        ...

    async def set_policy(
        self,
        tenant: UUID | None,
        owner: PolicyOwner,
        document: Mapping[str, Any],
        expected: Versions = None,
    ) -> Change[StoredPolicy]:
        """Replace the policy document by one that ``model.filter_policy.checked`` returned.

        A change for more domains than somebody can wait for has no ``outbox_ids``: it is published
        in the background. Raises PreconditionFailed.
        """
        ...

    async def unset_policy(
        self, tenant: UUID | None, owner: PolicyOwner, expected: Versions = None
    ) -> Change[None]:
        """Make the policy silent on every field; without effect if it is. Raises
        PreconditionFailed."""
        ...

    async def below(self, tenant: UUID) -> Mapping[PolicyOwner, StoredPolicy]:
        """Return the policies that are set for domains and accounts of a tenant. Raises Conflict
        when they are more than MOST_BYTES_BELOW bytes together."""
        ...

    async def effective(self, tenant: UUID | None, owner: PolicyOwner) -> EffectivePolicy:
        """Return what holds for an owner, with the documents of the levels above it."""
        ...
