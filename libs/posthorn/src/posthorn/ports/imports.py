"""Bulk import of accounts and aliases: some hundred in one transaction, with a result for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol
from uuid import UUID

from posthorn.ports.accounts import NewAccount
from posthorn.ports.errors import FieldError


class Outcome(Enum):
    """Outcome of a line."""

    CREATED = "created"
    UNCHANGED = "unchanged"
    """The object exists already as the line describes it."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Result:
    """Outcome of a line, and why it failed."""

    outcome: Outcome
    faults: tuple[FieldError, ...] = ()
    manager: str | None = None
    """Who manages the object that exists already (ADR 51)."""


@dataclass(frozen=True, slots=True)
class Known:
    """What an import needs before it computes hashes."""

    hashes: Mapping[str, str]
    """Password hashes of those of the addresses that are accounts."""
    shortest: Mapping[str, int]
    """Minimum length of a password in characters, by domain."""
    rehashed: Mapping[str, bytes] = field(default_factory=dict)
    """For ``ports.access.is_same_password``, of those whose hash was replaced at a login."""


class Imports(Protocol):
    """Every method takes the caller's tenant, as in ``ports.administration``, and raises
    Unavailable."""

    async def known(self, tenant: UUID | None, addresses: Sequence[str]) -> Known:
        """Return which of these addresses and their domains exist."""
        ...

    async def accounts(
        self, tenant: UUID | None, batch: Sequence[NewAccount], *, is_plan: bool = False
    ) -> Sequence[Result]:
        """Create those that do not exist, all in one transaction; one that exists with other
        values fails. Addresses are distinct. ``is_plan``: return what would come of it, and
        create nothing."""
        ...

    async def aliases(
        self,
        tenant: UUID | None,
        batch: Sequence[tuple[str, Sequence[str]]],
        *,
        is_plan: bool = False,
    ) -> Sequence[Result]:
        """The same for aliases with their targets, in order: one may lead to an earlier one."""
        ...
