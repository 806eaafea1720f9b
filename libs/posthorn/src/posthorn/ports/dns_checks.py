"""The last check of each domain's DNS records: stored, and due again after a while."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol
from uuid import UUID


class DnsState(StrEnum):
    """The verdict on a domain: on all records that it needs."""

    RIGHT = "right"
    WRONG = "wrong"
    """Some are missing or wrong."""
    UNKNOWN = "unknown"
    """Lookups failed, and nothing is known to be wrong."""


@dataclass(frozen=True, slots=True)
class RecordVerdict:
    """The verdict on the records of one name and type."""

    purpose: str
    name: str
    type: str
    need: str
    """``required`` or ``recommended``."""
    verdict: str
    """right, missing, wrong or unknown."""


@dataclass(frozen=True, slots=True)
class DnsCheck:
    """A check."""

    state: DnsState
    checked_at: datetime
    records: tuple[RecordVerdict, ...]


@dataclass(frozen=True, slots=True)
class StoredCheck:
    """What was stored before."""

    tenant: UUID
    """Whose domain it is."""
    known: DnsState | None
    """The last state that was known, right or wrong; None: none yet."""


class DnsChecks(Protocol):
    """Every method raises Unavailable."""

    async def lead(self, seconds: float) -> bool:
        """Become or stay the process that checks in the background, for so many seconds; False
        while another is."""
        ...

    async def due(self, limit: int) -> Sequence[str]:
        """Return domains whose check is due, the turns of tenants taken in rotation."""
        ...

    async def store(self, domain: str, check: DnsCheck, again_seconds: float) -> StoredCheck | None:
        """Store a check, unless a later one is stored; it is due again after ``again_seconds``.
        Return what was stored before; None when the domain is gone, or has a later check."""
        ...

    async def postpone(self, domain: str, seconds: float) -> None:
        """Leave a domain whose check failed by a fault of ours for so many seconds."""
        ...

    async def check_all(self, tenant: UUID | None, owner: str | None, least_seconds: float) -> int:
        """Make the domains that ``tenant`` sees, with ``owner`` those of the tenant of that name or
        id, due that were last checked longer ago than ``least_seconds``, or never. Return how many
        are due. Raises ValidationFailed for a tenant that is not seen."""
        ...

    async def counts(self) -> Mapping[str, int]:
        """Return numbers of domains by state, ``unchecked`` among them."""
        ...
