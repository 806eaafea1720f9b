"""Aliases: addresses that lead to other addresses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from posthorn.ports.changes import Change, Versions
from posthorn.ports.idempotency import Receipt
from posthorn.ports.listing import Listed, ListQuery
from posthorn.ports.managers import ManagedBy


@dataclass(frozen=True, slots=True)
class Alias:
    """An address that leads to other addresses."""

    address: str
    targets: tuple[str, ...]
    created_at: datetime
    updated_at: datetime
    version: str = ""
    unconfirmed: tuple[str, ...] = ()
    """Targets elsewhere that get nothing before they confirm (``ports.forwards``)."""
    suppressed: tuple[str, ...] = ()
    """Targets on the tenant's suppression list, which get nothing."""
    account_copy: bool | None = None
    """Set: it is the forward of the account with this address, which gets a copy or not
    (``ports.own_forwards``)."""
    managed_by: ManagedBy | None = None


class Aliases(Protocol):
    """Aliases of tenants; ``ports.administration`` has the rules of every method."""

    async def create_alias(
        self,
        tenant: UUID | None,
        address: str,
        targets: Sequence[str],
        receipt: Receipt[Alias] | None = None,
    ) -> Change[Alias]:
        """Create an alias.

        Raises ValidationFailed (``address``: no such domain; ``targets[i]``: nobody there, or a
        loop) and Conflict.
        """
        ...

    async def aliases(
        self,
        tenant: UUID | None,
        asked: ListQuery,
        domain: str | None = None,
        target: str | None = None,
    ) -> Listed[Alias]:
        """Return a page of aliases, of one domain or of all; with ``target``, those that have this
        address among their targets. Orders: ``address``, ``created``."""
        ...

    async def alias(self, tenant: UUID | None, address: str) -> Alias:
        """Return the alias of that address. Raises NotFound."""
        ...

    async def change_alias(
        self, tenant: UUID | None, address: str, targets: Sequence[str], expected: Versions = None
    ) -> Change[Alias]:
        """Set the targets. Raises NotFound, PreconditionFailed, ValidationFailed."""
        ...

    async def delete_alias(
        self, tenant: UUID | None, address: str, expected: Versions = None
    ) -> Change[None]:
        """Delete the alias. Raises NotFound; Conflict while another alias or a catch-all leads
        to it."""
        ...
