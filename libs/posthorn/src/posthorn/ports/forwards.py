"""Targets of aliases elsewhere: how many are permitted, and which must confirm that they accept
forwarded mail (ADR 20)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from posthorn.ports.changes import Change


@dataclass(frozen=True, slots=True)
class ForwardPolicy:
    """Permitted targets of aliases, by keys of tenants and of the platform."""

    most_targets: int | None = None
    """Most addresses elsewhere that a tenant's key, not a platform key, may set as targets of an
    alias; None: any number."""
    tenants_confirm: bool = False
    """Whether a target set by a tenant's key must confirm."""
    platform_confirms: bool = False
    """The same for a platform key. Existing targets of an alias are unchanged when set again."""


@dataclass(frozen=True, slots=True)
class Unconfirmed:
    """A target to be asked for confirmation."""

    id: UUID
    alias: str
    target: str
    tenant: UUID
    tenant_name: str


class ForwardTargets(Protocol):
    """Targets that must confirm, as the API uses them. Every method raises Unavailable."""

    async def due(self, limit: int) -> Sequence[Unconfirmed]:
        """Return targets that have not been asked yet."""
        ...

    async def asked(self, target: UUID) -> None:
        """Record that a target has been asked."""
        ...

    async def postpone(self, target: UUID, seconds: float) -> None:
        """Postpone asking by so many seconds."""
        ...

    async def find(self, target: UUID) -> Unconfirmed | None:
        """Return a target, whether it has confirmed or not; None when it does not exist."""
        ...

    async def confirm(self, tenant: UUID | None, target: UUID) -> Change[str]:
        """Record that the target has confirmed; return the alias. Raises NotFound."""
        ...
