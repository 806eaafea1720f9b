"""MTA-STS policies that have been fetched, kept for all relays (RFC 8461 §3.3): they must outlive a restart, since an attacker who
blocks the fetch would otherwise undo them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from posthorn.wire.mta_sts import Mode, Policy


@dataclass(frozen=True, slots=True)
class StoredPolicy:
    """A policy with the id of the TXT record that led to it. Times are seconds since the epoch."""

    policy_id: str
    mode: Mode
    hosts: tuple[str, ...]
    fetched_at: float
    expires_at: float

    @property
    def policy(self) -> Policy:
        """The policy itself."""
        return Policy(self.mode, self.hosts, max(0, round(self.expires_at - self.fetched_at)))


class PolicyStore(Protocol):
    """Every method raises Unavailable for faults of the store."""

    async def load(self, domain: str) -> StoredPolicy | None:
        """Return what was last saved for a domain, though it may have expired; None when nothing was."""
        ...

    async def save(self, domain: str, stored: StoredPolicy) -> None:
        """Keep a policy in place of the one before; one that was fetched later stays."""
        ...
