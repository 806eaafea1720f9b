"""API keys: by the SHA-256 of what the caller shows; a key of 256 random bits needs no slow hash."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Protocol
from uuid import UUID

from posthorn.ports.idempotency import Receipt


class ApiKeys(Protocol):
    """``tenant`` is the caller's, as in ``ports.administration``. Every method raises Unavailable."""

    async def by_hash(self, key_hash: bytes) -> ApiKey | None:
        """Look a key up, also one that has expired; notes its use."""
        ...

    async def ensure_bootstrap(self, key_hash: bytes) -> None:
        """Make this the key named ``bootstrap``, a platform admin's, in the place of any earlier one."""
        ...

    async def create(
        self,
        tenant: UUID | None,
        made: ApiKey,
        owner: str | None,
        key_hash: bytes,
        receipt: Receipt[ApiKey] | None = None,
    ) -> ApiKey:
        """Enter a key of the tenant named ``owner`` (name or id; None: the caller's, or of the whole platform).

        Raises ValidationFailed (``tenant``) when the caller sees no such tenant, or when the role needs one.
        """
        ...

    async def items(self, tenant: UUID | None, after: UUID | None, limit: int) -> Sequence[ApiKey]:
        """List by id, which is by time."""
        ...

    async def get(self, tenant: UUID | None, number: UUID) -> ApiKey:
        """Return one. Raises NotFound."""
        ...

    async def delete(self, tenant: UUID | None, number: UUID) -> None:
        """Take one away. Raises NotFound."""
        ...


class Role(Enum):
    """What a key may do."""

    PLATFORM_ADMIN = "platform-admin"
    TENANT_ADMIN = "tenant-admin"
    READ_ONLY = "read-only"
    SEND_ONLY = "send-only"
    ACCOUNT = "account"
    """Who logs in with the password of an account; no key has this role."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is known; the key itself is kept nowhere."""

    id: UUID
    name: str
    role: Role
    tenant: UUID | None
    """None: the whole platform."""
    expires_at: datetime | None = None
    is_suspended: bool = False
    """Whether its tenant is."""
    created_at: datetime | None = None
    """Always known of a key that the store gives."""
    last_used_at: datetime | None = None
    """Exact to a minute."""
    tenant_name: str | None = None
    message_content: bool = False
    """Whether it may read the content of mailboxes, which is a right of its own beside the role."""
    account: str | None = None
    """The address of the account that is calling; None: a key or a token."""
