"""`posthorn tenant`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, cast

import typer

from posthorn_cli.client.types import TenantChange, TenantCreation
from posthorn_cli.options import list_options
from posthorn_cli.output import Column, size
from posthorn_cli.session import DEFAULT_LIMIT, All, Limit, Session, Yes, command, group
from posthorn_cli.values import given, nullable, require_change, size_of, whole_number

tenants = group(
    "Tenants: the owners of domains and keys, each with limits of its own.\n\nExample: `posthorn tenant create acme`"
)
Tenant = Annotated[str, typer.Argument(help="A tenant's name or id.")]
Bound = Annotated[
    str | None, typer.Option(metavar="NUMBER|none", help="How many; `none`: as many as they like.")
]
Quota = Annotated[
    str | None,
    typer.Option(
        "--quota",
        metavar="SIZE|none",
        help="What its accounts may be promised together, such as 50GiB.",
    ),
]
Hourly = Annotated[
    str | None,
    typer.Option(metavar="NUMBER|none", help="In an hour, from all its accounts together."),
]
Verify = Annotated[
    bool | None,
    typer.Option(
        "--verify-domains/--no-verify-domains",
        help="A new domain takes mail only after its ownership is shown.",
    ),
]
Shortest = Annotated[int | None, typer.Option(help="Characters that a new password must have.")]
COLUMNS = [
    Column("name"),
    Column("state"),
    Column("domains"),
    Column("accounts"),
    Column("quota_bytes", "quota", size),
    Column("promised_bytes", "promised", size),
    Column("created_at"),
]


class TenantState(StrEnum):
    """States of a tenant."""

    ACTIVE = "active"
    SUSPENDED = "suspended"


def _limits(
    max_domains: str | None,
    max_accounts: str | None,
    quota: str | None,
    messages: str | None,
    recipients: str | None,
) -> dict[str, Any]:
    return (
        nullable("max_domains", max_domains, whole_number)
        | nullable("max_accounts", max_accounts, whole_number)
        | nullable("quota_bytes", quota, size_of)
        | nullable("max_messages_per_hour", messages, whole_number)
        | nullable("max_recipients_per_hour", recipients, whole_number)
    )


@command(
    tenants,
    "list",
    list_options("name", "created", states="active or suspended", tenant=False),
)
def list_tenants(
    session: Session, /, *, limit: Limit = DEFAULT_LIMIT, whole: All = False, **asked: Any
) -> None:
    """List tenants by name.

    Example: `posthorn tenant list`
    """
    session.list(session.api.list_tenants, COLUMNS, limit, whole, **asked)


@command(tenants, "show")
def show_tenant(session: Session, tenant: Tenant) -> None:
    """Show a tenant with its limits and what it has.

    Example: `posthorn tenant show acme`
    """
    session.output.item(session.api.get_tenant(tenant), COLUMNS)


@command(tenants, "create")
def create_tenant(
    session: Session,
    name: Annotated[
        str, typer.Argument(help="Lower-case letters, digits, dots, hyphens and underscores.")
    ],
    *,
    max_domains: Bound = None,
    max_accounts: Bound = None,
    quota: Quota = None,
    max_messages_per_hour: Hourly = None,
    max_recipients_per_hour: Hourly = None,
    verify_domains: Verify = None,
    min_password_length: Shortest = None,
) -> None:
    """Create a tenant. Without limits it may have any number of everything.

    Example: `posthorn tenant create acme --max-accounts 500 --quota 100GiB`
    """
    body = {"name": name} | _limits(
        max_domains, max_accounts, quota, max_messages_per_hour, max_recipients_per_hour
    )
    body |= given(verify_domains=verify_domains, min_password_length=min_password_length)
    session.output.item(session.api.create_tenant(cast("TenantCreation", body)), COLUMNS)


@command(tenants, "set")
def set_tenant(
    session: Session,
    tenant: Tenant,
    *,
    name: Annotated[str | None, typer.Option(help="A new name.")] = None,
    state: Annotated[
        TenantState | None,
        typer.Option(
            help="suspended: its keys and logins are refused, its mail is still received."
        ),
    ] = None,
    max_domains: Bound = None,
    max_accounts: Bound = None,
    quota: Quota = None,
    max_messages_per_hour: Hourly = None,
    max_recipients_per_hour: Hourly = None,
    verify_domains: Verify = None,
    min_password_length: Shortest = None,
) -> None:
    """Change what is named; the rest stays.

    Example: `posthorn tenant set acme --state suspended`
    """
    body = _limits(max_domains, max_accounts, quota, max_messages_per_hour, max_recipients_per_hour)
    body |= given(
        name=name,
        state=state,
        verify_domains=verify_domains,
        min_password_length=min_password_length,
    )
    require_change(body)
    session.api.get_tenant(tenant)
    changed = session.api.change_tenant(
        tenant, cast("TenantChange", body), if_match=session.api.etag
    )
    session.output.item(changed, COLUMNS)


@command(tenants, "delete")
def delete_tenant(session: Session, tenant: Tenant, *, yes: Yes = False) -> None:
    """Delete a tenant that has nothing any more.

    Example: `posthorn tenant delete acme`
    """
    found = session.api.get_tenant(tenant)
    etag = session.api.etag
    session.ask(f"Delete the tenant {found['name']}?", yes)
    session.api.delete_tenant(tenant, if_match=etag)
    session.output.deleted("tenant", found["name"])
