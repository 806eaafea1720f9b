"""Domains, and their sending rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from posthorn.ports.changes import Change, Versions
from posthorn.ports.dns_checks import DnsCheck
from posthorn.ports.idempotency import Receipt
from posthorn.ports.listing import Listed, ListQuery
from posthorn.ports.managers import ManagedBy
from posthorn.ports.signing import DkimKey


@dataclass(frozen=True, slots=True)
class SendingRules:
    """Sending limits and networks of an account or a domain; None: those of the domain, or of
    the settings."""

    max_messages_per_hour: int | None = None
    max_recipients_per_hour: int | None = None
    allowed_networks: tuple[str, ...] | None = None
    """CIDR networks that mail may be submitted from."""


NO_RULES = SendingRules()


@dataclass(frozen=True, slots=True)
class Domain:
    """A local domain."""

    name: str
    tenant: str
    """Name of the tenant."""
    catch_all: str | None
    plus_addressing: bool
    created_at: datetime
    updated_at: datetime
    sending: SendingRules = NO_RULES
    tenant_id: UUID | None = None
    """Always set for a domain from the store."""
    version: str = ""
    """Changes with every change through the API, and only then; likewise for all objects."""
    tenant_sending: SendingRules = NO_RULES
    """Limits of all domains of the tenant together."""
    min_password_length: int = 8
    """Characters, by the tenant's rules."""
    max_accounts: int | None = None
    """None: unlimited; likewise the others."""
    quota_bytes: int | None = None
    """Limit of the sum of its accounts' quotas, in bytes."""
    retention_days: int | None = None
    """None: mail is kept until it is deleted."""
    undelete_days: int = 0
    """Days for which deleted mail can be restored; 0: not at all."""
    account_forwards: int = 0
    """Addresses that each of its account holders may forward to; 0: none."""
    verification_token: str | None = None
    verified_at: datetime | None = None
    """None: it accepts and sends no mail until its ownership is verified."""
    must_be_verified: bool = False
    """Whether its tenant's new domains must be verified."""
    postmaster: str | None = None
    """The address that gets the mail for its postmaster; None: none."""
    dns: DnsCheck | None = None
    """The last check of its DNS records; None: none yet."""
    dkim_signs_from: datetime | None = None
    """From when the oldest of the DKIM keys that sign has signed; None: none signs."""
    managed_by: ManagedBy | None = None
    accounts: int = 0
    """How many it has."""
    promised_bytes: int | None = None
    """The sum of their quotas, in bytes; None: not summed, as in lists."""


@dataclass(frozen=True, slots=True)
class NewDomain:
    """A domain to create."""

    name: str
    tenant: str | None = None
    """Name or id of the tenant; None: the caller's, or ``default``."""
    catch_all: str | None = None
    plus_addressing: bool = True
    dkim_keys: tuple[DkimKey, ...] = ()
    """Keys that the domain signs with from its creation on."""


class Domains(Protocol):
    """Domains of tenants; ``ports.administration`` has the rules of every method."""

    async def create_domain(
        self, tenant: UUID | None, new: NewDomain, receipt: Receipt[Domain] | None = None
    ) -> Change[Domain]:
        """Create a domain. Raises Conflict when the name is taken, ValidationFailed for an unknown
        tenant or catch-all.

        Where another tenant has taken it without showing that it owns it, the Conflict says how it
        is claimed.
        """
        ...

    async def domains(
        self, tenant: UUID | None, asked: ListQuery, dns: str | None = None
    ) -> Listed[Domain]:
        """Return a page of domains; with ``dns``, those with this state of DnsState, or
        ``unchecked``. States: ``verified``, ``unverified``. Orders: ``name``, ``created``."""
        ...

    async def domain(self, tenant: UUID | None, name: str) -> Domain:
        """Return the domain of that name. Raises NotFound."""
        ...

    async def change_domain(
        self,
        tenant: UUID | None,
        name: str,
        changes: Mapping[str, object],
        expected: Versions = None,
    ) -> Change[Domain]:
        """Set fields of the domain, or of SendingRules, by name. Raises NotFound,
        PreconditionFailed, ValidationFailed."""
        ...

    async def verify_domain(self, tenant: UUID | None, name: str) -> Change[Domain]:
        """Record that ownership of the domain is verified, from when on it accepts mail; a repeat
        changes nothing.

        Raises NotFound.
        """
        ...

    async def claimable(self, tenant: UUID, name: str) -> None:
        """Raise NotFound unless another tenant has this domain without having verified its
        ownership."""
        ...

    async def claim_domain(
        self, tenant: UUID, name: str, dkim_keys: Sequence[DkimKey] = ()
    ) -> Change[Domain]:
        """Assign a domain as of ``claimable`` to the tenant, which has shown that it owns it:
        verified, and with these keys alone.

        The accounts and aliases that the other tenant made there are gone. Raises NotFound;
        Conflict while one of those accounts has mail, or when the tenant has as many domains as it
        may.
        """
        ...

    async def delete_domain(
        self, tenant: UUID | None, name: str, expected: Versions = None
    ) -> Change[None]:
        """Delete the domain. Raises NotFound; Conflict while it has accounts or aliases: no mail
        is orphaned."""
        ...
