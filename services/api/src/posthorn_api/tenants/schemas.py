"""The JSON shapes of tenants, API keys and the audit log."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, cast
from uuid import UUID

from pydantic import AwareDatetime, Field

from posthorn.ports.api_keys import ApiKey, Role
from posthorn.ports.audit import AuditLine
from posthorn.ports.tenants import Tenant, TenantRules
from posthorn_api.http.schemas import ApiModel, Count, Hourly, Line, Networks, Quota, RequestBody

RoleName = Literal["platform-admin", "tenant-admin", "read-only", "send-only"]
TenantStateName = Literal["active", "suspended"]
Length = Annotated[int, Field(ge=8, le=128)]

_NAME = "Lower-case ASCII characters, digits, dots, hyphens and underscores."
_VERIFY = (
    "Whether a new domain receives mail only after its ownership is verified. If false, the"
    " tenant can create any domain, and mail that other local accounts send to it stays in"
    " this system."
)
_LENGTH = "Minimum number of characters of a new password."


_CONTENT = (
    "Whether the key may list, search, read and export the messages of mailboxes. Each access"
    " is written to the audit log and shown to the account. Null: an admin's key may if the"
    " calling key may, any other may not."
)


class TenantCreation(RequestBody):
    """A tenant to create."""

    name: Line = Field(description=_NAME, examples=["acme"])
    max_domains: Count | None = Field(None, description="Null means unlimited.", examples=[10])
    max_accounts: Count | None = Field(None, description="Null means unlimited.", examples=[500])
    quota_bytes: Quota | None = Field(
        None,
        description="Maximum sum of the quotas of its accounts, in bytes; each account then needs a quota."
        " Null means unlimited.",
    )
    max_messages_per_hour: Hourly | None = Field(
        None, description="Messages that all its accounts together may send per hour."
    )
    max_recipients_per_hour: Hourly | None = Field(
        None, description="Recipients that all its accounts together may send to per hour."
    )
    verify_domains: bool = Field(True, description=_VERIFY)
    min_password_length: Length = Field(8, description=_LENGTH)

    def rules(self) -> TenantRules:
        """Return what bounds the tenant."""
        return TenantRules(**self.model_dump(exclude={"name"}))


class TenantChange(RequestBody):
    """Fields of a tenant to change; fields that are left out keep their values."""

    name: Line = Field(default_factory=str, description=_NAME)
    state: TenantStateName = Field(
        default_factory=lambda: "active",
        description="suspended: its keys are refused, its accounts cannot log in or send, and its messages in"
        " the queue are held. Mail for its accounts is still received, but not forwarded by its"
        " aliases.",
        examples=["suspended"],
    )
    max_domains: Count | None = None
    max_accounts: Count | None = None
    quota_bytes: Quota | None = None
    max_messages_per_hour: Hourly | None = None
    max_recipients_per_hour: Hourly | None = None
    verify_domains: bool = Field(default_factory=lambda: True, description=_VERIFY)
    min_password_length: Length = Field(default_factory=lambda: 8, description=_LENGTH)


class TenantView(ApiModel):
    """A tenant."""

    id: UUID
    name: str
    state: TenantStateName
    max_domains: int | None
    max_accounts: int | None
    quota_bytes: int | None
    max_messages_per_hour: int | None
    max_recipients_per_hour: int | None
    verify_domains: bool
    min_password_length: int
    domains: int = Field(description="Number of its domains.")
    accounts: int
    promised_bytes: int = Field(description="Sum of the quotas of its accounts, in bytes.")
    created_at: datetime
    updated_at: datetime

    @classmethod
    def from_tenant(cls, tenant: Tenant) -> TenantView:
        """Show a tenant."""
        rules = tenant.rules
        return cls(
            id=tenant.id,
            name=tenant.name,
            state=tenant.state.value,
            max_domains=rules.max_domains,
            max_accounts=rules.max_accounts,
            quota_bytes=rules.quota_bytes,
            max_messages_per_hour=rules.max_messages_per_hour,
            max_recipients_per_hour=rules.max_recipients_per_hour,
            verify_domains=rules.verify_domains,
            min_password_length=rules.min_password_length,
            domains=tenant.domains,
            accounts=tenant.accounts,
            promised_bytes=tenant.promised_bytes,
            created_at=tenant.created_at,
            updated_at=tenant.updated_at,
        )


class ApiKeyCreation(RequestBody):
    """An API key to create."""

    name: Line = Field(description="Purpose of the key or password.", examples=["backup job"])
    role: RoleName = Field(examples=["tenant-admin"])
    tenant: Line | None = Field(
        None,
        description="Name or id of the tenant; without it, the tenant of the calling key, or the whole"
        " platform for a platform admin.",
        examples=["acme"],
    )
    expires_at: Annotated[AwareDatetime, Field(strict=False)] | None = Field(
        None, description="Time of expiry; null: never.", examples=["2036-12-31T00:00:00Z"]
    )
    message_content: bool | None = Field(None, description=_CONTENT)
    networks: Networks | None = Field(
        None,
        description="CIDR networks that the key may be used from; null: any.",
        examples=[["192.0.2.0/24"]],
    )


class ApiKeyView(ApiModel):
    """An API key, without the key itself."""

    id: UUID
    name: str
    role: RoleName
    tenant: str | None = Field(description="Name of the tenant; null: the whole platform.")
    message_content: bool = Field(description="Whether the key may read the content of mailboxes.")
    expires_at: datetime | None
    last_used_at: datetime | None = Field(description="With a precision of one minute.")
    last_used_address: str | None = Field(description="IP address of the client that used it.")
    networks: list[str] | None = Field(
        description="CIDR networks that the key may be used from; null: any."
    )
    created_at: datetime

    @classmethod
    def from_key(cls, key: ApiKey) -> ApiKeyView:
        """Show a key."""
        assert key.created_at is not None
        return cls(
            id=key.id,
            name=key.name,
            role=cast(RoleName, key.role.value),
            tenant=key.tenant_name,
            message_content=key.message_content,
            expires_at=key.expires_at,
            last_used_at=key.last_used_at,
            last_used_address=key.last_used_address,
            networks=list(key.networks) or None,
            created_at=key.created_at,
        )


class NewApiKeyView(ApiKeyView):
    """An API key that was just created."""

    key: str | None = Field(
        description="Shown in this answer only, because it is not stored. Null in an answer repeated for its"
        " Idempotency-Key."
    )

    @classmethod
    def shown(cls, made: ApiKey, key: str | None) -> NewApiKeyView:
        """Show one with the key."""
        return cls(**ApiKeyView.from_key(made).model_dump(), key=key)


class AuditView(ApiModel):
    """A change made, or content read, through the API."""

    id: int
    at: datetime
    tenant: UUID | None = Field(description="Tenant of the object; null: the platform.")
    actor_id: str
    actor_name: str
    actor_role: str
    action: str = Field(examples=["account.change"])
    object: str = Field(examples=["alice@example.test"])
    details: dict[str, Any] = Field(
        description="The values that were set. A password appears as `changed`."
    )
    before: dict[str, Any] = Field(
        default_factory=dict,
        description="The values that the change replaced or deleted, by the same names; never a password.",
    )
    request_id: str = Field(description="The X-Request-Id of the request.")

    @classmethod
    def from_line(cls, line: AuditLine) -> AuditView:
        """Show a line."""
        return cls(
            id=line.id,
            at=line.at,
            tenant=line.tenant,
            actor_id=line.actor_id,
            actor_name=line.actor_name,
            actor_role=line.actor_role,
            action=line.action,
            object=line.subject,
            details=dict(line.details),
            before=dict(line.before),
            request_id=line.request_id,
        )


ROLES = {role.value: role for role in Role if role is not Role.ACCOUNT}
"""Roles by name."""
