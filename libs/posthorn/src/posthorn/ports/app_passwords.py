"""App passwords: passwords of an account, each for one program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from posthorn.ports.idempotency import Receipt

MOST_APP_PASSWORDS = 100
"""App passwords of an account."""


@dataclass(frozen=True, slots=True)
class AppPassword:
    """A password of an account for one program; only its hash is stored."""

    id: UUID
    name: str
    scopes: tuple[str, ...]
    """``smtp``, ``imap`` and ``pop3``: the protocols that it is valid for."""
    created_at: datetime
    last_used_at: datetime | None = None
    """Exact to a minute."""
    expires_at: datetime | None = None
    """None: never."""
    networks: tuple[str, ...] = ()
    """CIDR networks that it may be used from, besides those of the account; empty: any."""
    last_used_address: str | None = None
    """IP address of the client that used it last."""
    last_used_protocol: str | None = None
    """The scope that it was used for last."""


class AppPasswords(Protocol):
    """App passwords of accounts. Every method raises NotFound when there is no such account."""

    async def create(
        self,
        tenant: UUID | None,
        address: str,
        made: AppPassword,
        key_hash: bytes,
        receipt: Receipt[AppPassword] | None = None,
    ) -> AppPassword:
        """Create one with the SHA-256 of the password. Raises Conflict for an account that has
        MOST_APP_PASSWORDS."""
        ...

    async def items(
        self, tenant: UUID | None, address: str, after: UUID | None, limit: int
    ) -> Sequence[AppPassword]:
        """List by id, that is, by time."""
        ...

    async def remove(self, tenant: UUID | None, address: str, number: UUID) -> None:
        """Delete one: it is refused from now on."""
        ...
