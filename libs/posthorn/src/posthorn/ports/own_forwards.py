"""Forwards that account holders set for their own address."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from posthorn.ports.changes import Change


@dataclass(frozen=True, slots=True)
class OwnForward:
    """Where the mail of an account is forwarded to."""

    targets: tuple[str, ...] = ()
    """Canonical addresses elsewhere; empty: nowhere."""
    keeps_copy: bool = True
    """Whether the account gets the mail too. It does in any case while no target may get it."""
    permitted: int = 0
    """Targets that the domain permits; 0: none, and nothing is forwarded."""
    unconfirmed: tuple[str, ...] = ()
    """Targets that get nothing before they confirm."""
    suppressed: tuple[str, ...] = ()
    """Targets on the tenant's suppression list, which get nothing."""


class OwnForwards(Protocol):
    """``tenant`` as in ``ports.administration``. Raises NotFound for an account that is not there,
    and Unavailable."""

    async def get(self, tenant: UUID | None, address: str) -> OwnForward:
        """Return the forward of an account."""
        ...

    async def put(
        self, tenant: UUID | None, address: str, targets: Sequence[str], *, keeps_copy: bool
    ) -> Change[OwnForward]:
        """Set the forward of an account. New targets confirm as those of aliases.

        Raises Conflict when the domain permits none, and ValidationFailed (``targets``) for too many
        of them and for addresses here.
        """
        ...

    async def delete(self, tenant: UUID | None, address: str) -> Change[None]:
        """Delete the forward of an account. Raises NotFound when there is none."""
        ...
