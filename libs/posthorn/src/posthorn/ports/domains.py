"""Domains, and what may be sent from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from posthorn.ports.changes import Change, Versions
from posthorn.ports.idempotency import Receipt
from posthorn.ports.signing import DkimKey


@dataclass(frozen=True, slots=True)
class SendingRules:
    """What an account or a domain may send, and from where; None: as the domain, or as the settings say."""

    max_messages_per_hour: int | None = None
    max_recipients_per_hour: int | None = None
    allowed_networks: tuple[str, ...] | None = None
    """CIDR networks that mail may be submitted from."""


NO_RULES = SendingRules()


@dataclass(frozen=True, slots=True)
class Domain:
    """A domain of ours."""

    name: str
    tenant: str
    """Name of the tenant."""
    catch_all: str | None
    plus_addressing: bool
    created_at: datetime
    updated_at: datetime
    sending: SendingRules = NO_RULES
    tenant_id: UUID | None = None
    """Always known of a domain that the store gives."""
    version: str = ""
    """Another one after every change through the API, and after nothing else; so of all objects."""
    tenant_sending: SendingRules = NO_RULES
    """What all domains of the tenant may send together."""
    min_password_length: int = 8
    """Characters, as the tenant says."""
    max_accounts: int | None = None
    """None: unlimited; so of the others."""
    quota_bytes: int | None = None
    """What its accounts may be promised together."""
    retention_days: int | None = None
    """None: mail is kept until it is deleted."""
    undelete_days: int = 0
    """How long deleted mail can be brought back; 0: not at all."""
    verification_token: str | None = None
    verified_at: datetime | None = None
    """None: it takes and sends no mail before its ownership is shown."""
    must_be_verified: bool = False
    """Whether its tenant's new domains must be."""
    postmaster: str | None = None
    """The address that takes the mail for its postmaster; None: nobody does."""


@dataclass(frozen=True, slots=True)
class NewDomain:
    """A domain to be made."""

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
        """Create a domain. Raises Conflict when the name is taken, ValidationFailed for an unknown tenant or catch-all.

        Where another tenant has taken it without showing that it owns it, the Conflict says how it is claimed.
        """
        ...

    async def domains(self, tenant: UUID | None, after: str, limit: int) -> Sequence[Domain]:
        """Return a page of domains, by name."""
        ...

    async def domain(self, tenant: UUID | None, name: str) -> Domain:
        """Return the domain of that name. Raises NotFound."""
        ...

    async def change_domain(
        self, tenant: UUID | None, name: str, changes: Mapping[str, object], expected: Versions = None
    ) -> Change[Domain]:
        """Set fields of the domain, or of SendingRules, by name. Raises NotFound, PreconditionFailed, ValidationFailed."""
        ...

    async def verify_domain(self, tenant: UUID | None, name: str) -> Change[Domain]:
        """Record that ownership of the domain was shown, from when on it takes mail; again, it changes nothing.

        Raises NotFound.
        """
        ...

    async def claimable(self, tenant: UUID, name: str) -> None:
        """Raise NotFound unless another tenant has this domain and has not shown that it owns it."""
        ...

    async def claim_domain(self, tenant: UUID, name: str, dkim_keys: Sequence[DkimKey] = ()) -> Change[Domain]:
        """Assign a domain as of ``claimable`` to the tenant, which has shown that it owns it: verified, and with these keys alone.

        The accounts and aliases that the other tenant made there are gone. Raises NotFound; Conflict while one of those accounts
        has mail, or when the tenant has as many domains as it may.
        """
        ...

    async def delete_domain(self, tenant: UUID | None, name: str, expected: Versions = None) -> Change[None]:
        """Delete the domain. Raises NotFound; Conflict while it has accounts or aliases: no mail is orphaned."""
        ...
