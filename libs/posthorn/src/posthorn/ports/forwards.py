"""Targets of aliases elsewhere: how many there may be, and which must confirm that they want what is forwarded (ADR 20)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from posthorn.ports.changes import Change


@dataclass(frozen=True, slots=True)
class ForwardPolicy:
    """What keys of tenants, and keys of the whole platform, may have aliases lead to."""

    most_targets: int | None = None
    """Addresses elsewhere that an alias may lead to by the word of a tenant's key, not of a platform key; None: any number."""
    tenants_confirm: bool = False
    """A target that a tenant's key names must confirm."""
    platform_confirms: bool = False
    """The same for a platform key. What an alias leads to already stays as it is, whoever names it again."""


@dataclass(frozen=True, slots=True)
class Unconfirmed:
    """A target that has to be asked."""

    id: UUID
    alias: str
    target: str
    tenant: UUID
    tenant_name: str


class ForwardTargets(Protocol):
    """What the API asks and changes of targets that must confirm. Raises Unavailable."""

    async def due(self, limit: int) -> Sequence[Unconfirmed]:
        """Return targets that have not been asked yet."""
        ...

    async def asked(self, target: UUID) -> None:
        """Note that a target has been asked."""
        ...

    async def postpone(self, target: UUID, seconds: float) -> None:
        """Ask it so much later."""
        ...

    async def find(self, target: UUID) -> Unconfirmed | None:
        """Return a target, whether it has confirmed or not; None when it is gone."""
        ...

    async def confirm(self, tenant: UUID | None, target: UUID) -> Change[str]:
        """Note that the target wants what its alias forwards; returns the alias. Raises NotFound."""
        ...
