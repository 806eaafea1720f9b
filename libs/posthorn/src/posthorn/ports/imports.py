"""Accounts and aliases in bulk: some hundred in one transaction, with a word on each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol
from uuid import UUID

from posthorn.ports.accounts import NewAccount
from posthorn.ports.errors import FieldError


class Outcome(Enum):
    """What became of a line."""

    CREATED = "created"
    UNCHANGED = "unchanged"
    """What the line says is there already."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a line, and why it failed."""

    outcome: Outcome
    faults: tuple[FieldError, ...] = ()


@dataclass(frozen=True, slots=True)
class Known:
    """What an import must know before it makes hashes."""

    hashes: Mapping[str, str]
    """The password hashes of those of the addresses that are accounts."""
    shortest: Mapping[str, int]
    """Characters that a password must have, by domain."""


class Imports(Protocol):
    """Every method takes the caller's tenant, as in ``ports.administration``, and raises Unavailable."""

    async def known(self, tenant: UUID | None, addresses: Sequence[str]) -> Known:
        """Look up what is there of these addresses and their domains."""
        ...

    async def accounts(self, tenant: UUID | None, batch: Sequence[NewAccount]) -> Sequence[Result]:
        """Make those that are not there, all in one transaction; one that is there in another form fails. No address comes
        twice."""
        ...

    async def aliases(self, tenant: UUID | None, batch: Sequence[tuple[str, Sequence[str]]]) -> Sequence[Result]:
        """The same for aliases with their targets, one after another: one may lead to one before it."""
        ...
