"""What the API decides about filter policies: names and documents in canonical form, and when an
answer is due."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from posthorn.model.filter_policy import PolicyError, checked
from posthorn.ports.api_keys import ApiKey
from posthorn.ports.changes import Versions
from posthorn.ports.errors import FieldError, NotFound, ValidationFailed
from posthorn.ports.filter_policies import (
    SYSTEM,
    EffectivePolicy,
    FilterPolicies,
    Level,
    PolicyOwner,
    StoredPolicy,
)
from posthorn_api.directory.fields import address_in, domain_in
from posthorn_api.directory.publication import Publication, settled
from posthorn_api.pending import Pending


class FilteringService:
    """Every method takes the caller's key and sees what its tenant sees.

    Raises ValidationFailed, NotFound and PreconditionFailed for the caller's faults, Unavailable
    for ours.
    """

    def __init__(
        self,
        policies: FilterPolicies,
        publication: Pending[Publication],
        *,
        wait_seconds: float = 2.0,
    ) -> None:
        self._policies = policies
        self._publication = publication
        self._wait_seconds = wait_seconds

    async def policy(self, caller: ApiKey, owner: PolicyOwner) -> StoredPolicy:
        """Return the policy document of an owner."""
        with _missing(owner):
            return await self._policies.policy(caller.tenant, owner)

    async def set_policy(
        self,
        caller: ApiKey,
        owner: PolicyOwner,
        document: Mapping[str, Any],
        expected: Versions = None,
    ) -> StoredPolicy:
        """Replace the policy document of an owner."""
        canonical = policy_in(document)
        with _missing(owner):
            change = await self._policies.set_policy(caller.tenant, owner, canonical, expected)
        return await settled(self._publication, change, self._wait_seconds)

    async def unset_policy(
        self, caller: ApiKey, owner: PolicyOwner, expected: Versions = None
    ) -> None:
        """Make the policy of an owner silent."""
        with _missing(owner):
            change = await self._policies.unset_policy(caller.tenant, owner, expected)
        await settled(self._publication, change, self._wait_seconds)

    async def below(self, tenant: UUID) -> Mapping[PolicyOwner, StoredPolicy]:
        """Return the policies that are set for domains and accounts of a tenant. Raises
        Conflict."""
        return await self._policies.below(tenant)

    async def effective(self, caller: ApiKey, owner: PolicyOwner) -> EffectivePolicy:
        """Return what holds for an owner, and why."""
        with _missing(owner):
            return await self._policies.effective(caller.tenant, owner)


def policy_in(document: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a policy document in canonical form. Raises ValidationFailed, naming the field after
    ``prefix``."""
    try:
        return checked(document)
    except PolicyError as error:
        entry = "" if error.index is None else f"[{error.index}]"
        raise ValidationFailed(FieldError(f"{prefix}{error.field}{entry}", str(error))) from None


def of_tenant(named: str) -> PolicyOwner:
    """Return the owner for a tenant's name or id."""
    return PolicyOwner(Level.TENANT, named)


def of_domain(name: str) -> PolicyOwner:
    """Return the owner for a domain. Raises ValidationFailed."""
    return PolicyOwner(Level.DOMAIN, domain_in("name", name))


def of_account(address: str) -> PolicyOwner:
    """Return the owner for an account. Raises ValidationFailed."""
    return PolicyOwner(Level.ACCOUNT, address_in("address", address))


@contextmanager
def _missing(owner: PolicyOwner) -> Iterator[None]:
    try:
        yield
    except NotFound:
        if owner == SYSTEM:
            raise
        raise NotFound(f"there is no {owner.level} {owner.name}") from None
