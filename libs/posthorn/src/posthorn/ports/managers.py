"""Managers: tools that keep objects as an applied configuration names them (ADR 51).

A mark says which manager's document names an object, and which of its fields. It is no lock: others
may change the object, and learn whose next apply sets it back. An object has one manager at most. A
manager is a name within a tenant: the same name in another tenant is another manager.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol
from uuid import UUID

from posthorn.ports.errors import Conflict

MOST_MANAGERS: Final = 100
"""Managers of a tenant."""
_SHOWN: Final = 10

type Claims = Mapping[str, Mapping[str, Sequence[str]]]
"""By kind and name, the fields that a document sets. Kinds: ``domain``, ``account``, ``alias``,
``webhook`` (its id), ``route``."""


@dataclass(frozen=True, slots=True)
class ManagedBy:
    """The mark of an object."""

    manager: str
    tenant: UUID
    """Whose document it is."""
    since: datetime
    fields: tuple[str, ...]
    """The fields that the document sets, sorted."""


@dataclass(frozen=True, slots=True)
class Manager:
    """A manager and the number of objects that it manages."""

    name: str
    since: datetime
    """Time of its oldest mark."""
    objects: Mapping[str, int]
    """By kind."""


def conflict_of(held: Sequence[str]) -> Conflict:
    """Return the fault of claims on objects of others, such as ``alias all@example.test by flux``."""
    shown = "; ".join(held[:_SHOWN])
    more = f"; and {len(held) - _SHOWN} more" if len(held) > _SHOWN else ""
    return Conflict(
        f"the document names objects of other managers: {shown}{more}. take_over=true takes them over"
    )


class Managers(Protocol):
    """Every method raises Unavailable."""

    async def claim(
        self,
        tenant: UUID,
        manager: str,
        claims: Claims,
        *,
        routes: bool,
        take_over: bool,
    ) -> None:
        """Mark the objects of the tenant that are there and claimed, and drop the manager's marks
        on all others; ``routes``: also on routes, which belong to the whole platform.

        Raises Conflict, and changes nothing, when another manager has a mark on one of them and
        ``take_over`` is false, or when the tenant has MOST_MANAGERS others.
        """
        ...

    async def release(self, tenant: UUID, manager: str, *, routes: bool) -> None:
        """Drop all marks of a manager; ``routes``: also on routes. Raises NotFound when it has
        none."""
        ...

    async def all(self, tenant: UUID, *, routes: bool) -> Sequence[Manager]:
        """Return the managers of a tenant by name; ``routes``: count marks on routes too."""
        ...
