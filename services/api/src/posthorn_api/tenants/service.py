"""What the API decides about tenants and API keys."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from uuid import UUID

from posthorn.ports.accounts import Account
from posthorn.ports.api_keys import ApiKey, ApiKeys, Role
from posthorn.ports.audit import Audit, AuditFilter, AuditLine
from posthorn.ports.changes import Versions
from posthorn.ports.errors import FieldError, NotFound, ValidationFailed
from posthorn.ports.idempotency import Receipt
from posthorn.ports.listing import Listed, ListQuery
from posthorn.ports.tenants import Tenant, TenantRules, Tenants, TenantState
from posthorn.runtime.ids import new_id
from posthorn_api.directory.fields import networks_in

CONTENT = "content"
"""What the actions begin with by which content of mailboxes is read."""
_NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?\Z")


class TenantService:
    """Every method takes the caller's key and sees what its tenant sees.

    Raises ValidationFailed, NotFound, PreconditionFailed and Conflict for the caller's faults,
    Unavailable for ours.
    """

    def __init__(self, tenants: Tenants, keys: ApiKeys, audit: Audit) -> None:
        self._tenants = tenants
        self._keys = keys
        self._audit = audit

    async def create_tenant(
        self, name: str, rules: TenantRules, receipt: Receipt[Tenant] | None
    ) -> Tenant:
        """Make a tenant."""
        return await self._tenants.create(new_id(), _fit_name(name), rules, receipt)

    async def tenants(self, caller: ApiKey, asked: ListQuery) -> Listed[Tenant]:
        """List tenants."""
        return await self._tenants.items(caller.tenant, asked)

    async def tenant(self, caller: ApiKey, named: str) -> Tenant:
        """Return one by name or id."""
        try:
            return await self._tenants.get(caller.tenant, named)
        except NotFound:
            raise NotFound(f"there is no tenant {named}") from None

    async def change_tenant(
        self, caller: ApiKey, named: str, changes: Mapping[str, object], expected: Versions
    ) -> Tenant:
        """Set the fields that ``changes`` names."""
        values = dict(changes)
        if "name" in values:
            values["name"] = _fit_name(str(values["name"]))
        if "state" in values:
            values["state"] = TenantState(values["state"])
        try:
            return await self._tenants.change(caller.tenant, named, values, expected)
        except NotFound:
            raise NotFound(f"there is no tenant {named}") from None

    async def delete_tenant(self, caller: ApiKey, named: str, expected: Versions) -> None:
        """Remove one that owns nothing."""
        try:
            await self._tenants.delete(caller.tenant, named, expected)
        except NotFound:
            raise NotFound(f"there is no tenant {named}") from None

    async def create_key(
        self,
        caller: ApiKey,
        name: str,
        role: Role,
        tenant: str | None,
        expires_at: datetime | None,
        receipt: Receipt[ApiKey] | None,
        *,
        message_content: bool | None = None,
        networks: Sequence[str] | None = None,
    ) -> tuple[ApiKey, str]:
        """Make a key; returns it with what is to be shown, which nobody can be told again.

        ``message_content``: whether it may read the content of mailboxes; None: where its role is
        an admin's and the caller may. ``networks``: those that it may be used from; None: any.
        """
        if caller.role is not Role.PLATFORM_ADMIN and role is Role.PLATFORM_ADMIN:
            raise ValidationFailed(
                FieldError("role", "only a platform admin may create a key of a platform admin")
            )
        if expires_at is not None and expires_at <= datetime.now(UTC):
            raise ValidationFailed(FieldError("expires_at", "this time is in the past"))
        if message_content and not caller.message_content:
            raise ValidationFailed(
                FieldError("message_content", "your own key may not read the content of mailboxes")
            )
        if message_content and role is Role.SEND_ONLY:
            raise ValidationFailed(
                FieldError("message_content", "a key of the role send-only cannot read messages")
            )
        if message_content is None:
            message_content = caller.message_content and role in (
                Role.PLATFORM_ADMIN,
                Role.TENANT_ADMIN,
            )
        key = f"ph_{secrets.token_urlsafe(32)}"
        new = ApiKey(
            new_id(),
            name,
            role,
            caller.tenant,
            expires_at,
            message_content=message_content,
            networks=networks_in("networks", networks),
        )
        return await self._keys.create(caller.tenant, new, tenant, hash_of_key(key), receipt), key

    async def keys(self, caller: ApiKey, asked: ListQuery) -> Listed[ApiKey]:
        """List keys."""
        return await self._keys.items(caller.tenant, asked)

    async def key(self, caller: ApiKey, number: UUID) -> ApiKey:
        """Return one."""
        try:
            return await self._keys.get(caller.tenant, number)
        except NotFound:
            raise NotFound(f"there is no API key {number}") from None

    async def delete_key(self, caller: ApiKey, number: UUID) -> None:
        """Take one away."""
        try:
            await self._keys.delete(caller.tenant, number)
        except NotFound:
            raise NotFound(f"there is no API key {number}") from None

    async def content_access(
        self, caller: ApiKey, account: Account, asked: ListQuery
    ) -> Listed[AuditLine]:
        """List who read the content of an account's mailboxes since the account was made, newest
        first."""
        which = AuditFilter(action=CONTENT, subject=account.address, since=account.created_at)
        return await self._audit.items(caller.tenant, which, asked)

    async def audit(
        self, caller: ApiKey, which: AuditFilter, asked: ListQuery
    ) -> Listed[AuditLine]:
        """List what was changed, newest first."""
        return await self._audit.items(caller.tenant, which, asked)


def hash_of_key(key: str) -> bytes:
    """Return the form in which a key is stored: 256 random bits need no slow hash."""
    return hashlib.sha256(key.encode()).digest()


def _fit_name(name: str) -> str:
    if not _NAME.match(name):
        text = "a name is made of lower-case letters, digits, dots, hyphens and underscores, 64 at most"
        raise ValidationFailed(FieldError("name", text))
    try:
        UUID(name)
    except ValueError:
        return name
    raise ValidationFailed(FieldError("name", "a name must not look like an id"))
