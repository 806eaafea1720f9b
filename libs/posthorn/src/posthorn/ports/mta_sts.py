"""Fetched MTA-STS policies, stored for all relays (RFC 8461 §3.3).

They must outlive a restart; otherwise an attacker who blocks the fetch could undo them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from posthorn.wire.mta_sts import Mode, Policy


@dataclass(frozen=True, slots=True)
class StoredPolicy:
    """A policy with the id of the TXT record that announced it. Times are seconds since the
    epoch."""

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
        """Return the policy saved last for a domain, even if it has expired; None without one."""
        ...

    async def save(self, domain: str, stored: StoredPolicy) -> None:
        """Replace the policy of a domain, unless the stored one was fetched later."""
        ...
