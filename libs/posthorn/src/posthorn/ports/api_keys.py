"""API keys, identified by the SHA-256 of the key; 256 random bits need no slow hash."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Protocol
from uuid import UUID

from posthorn.ports.idempotency import Receipt
from posthorn.ports.listing import Listed, ListQuery

MOST_KEYS = 500
"""Keys of a tenant."""


class ApiKeys(Protocol):
    """``tenant`` is the caller's, as in ``ports.administration``. Every method raises
    Unavailable."""

    async def by_hash(self, key_hash: bytes, client: str = "") -> ApiKey | None:
        """Return the key with this hash, even when it has expired; record its use, and the IP
        address ``client`` where one is given."""
        ...

    async def ensure_bootstrap(self, key_hash: bytes) -> None:
        """Make this the key named ``bootstrap``, a platform admin's, replacing an earlier one."""
        ...

    async def create(
        self,
        tenant: UUID | None,
        made: ApiKey,
        owner: str | None,
        key_hash: bytes,
        receipt: Receipt[ApiKey] | None = None,
    ) -> ApiKey:
        """Create a key of the tenant ``owner`` (name or id; None: the caller's, or of the whole
        platform).

        Raises ValidationFailed (``tenant``) when the caller sees no such tenant, or when the role
        needs one, and Conflict for a tenant that has MOST_KEYS.
        """
        ...

    async def items(self, tenant: UUID | None, asked: ListQuery) -> Listed[ApiKey]:
        """Return a page. States: ``active``, ``expired``. Orders: ``created``, ``name``, ``used``
        (last use; those never used are the earliest)."""
        ...

    async def get(self, tenant: UUID | None, number: UUID) -> ApiKey:
        """Return one. Raises NotFound."""
        ...

    async def delete(self, tenant: UUID | None, number: UUID) -> None:
        """Delete one. Raises NotFound."""
        ...


class Role(Enum):
    """Role of a key."""

    PLATFORM_ADMIN = "platform-admin"
    TENANT_ADMIN = "tenant-admin"
    READ_ONLY = "read-only"
    SEND_ONLY = "send-only"
    ACCOUNT = "account"
    """A caller authenticated by an account's password; no key has this role."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key's metadata; the key itself is not stored."""

    id: UUID
    name: str
    role: Role
    tenant: UUID | None
    """None: the whole platform."""
    expires_at: datetime | None = None
    is_suspended: bool = False
    """Whether its tenant is."""
    created_at: datetime | None = None
    """Always set for a key from the store."""
    last_used_at: datetime | None = None
    """Exact to a minute."""
    tenant_name: str | None = None
    message_content: bool = False
    """Whether it may read the content of mailboxes, a permission separate from the role."""
    account: str | None = None
    """The address of the account that is calling; None: a key or a token."""
    account_id: int | None = None
    """The id of that account."""
    is_token: bool = False
    """Whether the caller is known by an issuer's token; else by a key or an account's password."""
    networks: tuple[str, ...] = ()
    """CIDR networks that the key may be used from; empty: any."""
    last_used_address: str | None = None
    """IP address of the client that used it last."""
