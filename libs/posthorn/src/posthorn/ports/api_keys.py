"""API keys: by the SHA-256 of what the caller shows; a key of 256 random bits needs no slow hash."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from posthorn.ports.administration import ApiKey, Receipt


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

        Raises Unfit (``tenant``) when the caller sees no such tenant, or when the role needs one.
        """
        ...

    async def items(self, tenant: UUID | None, after: UUID | None, limit: int) -> Sequence[ApiKey]:
        """List by id, which is by time."""
        ...

    async def get(self, tenant: UUID | None, number: UUID) -> ApiKey:
        """Give one. Raises Missing."""
        ...

    async def delete(self, tenant: UUID | None, number: UUID) -> None:
        """Take one away. Raises Missing."""
        ...
