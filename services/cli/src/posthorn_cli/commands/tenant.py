"""`posthorn tenant`, `posthorn key` and `posthorn audit`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import partial
from typing import Annotated, Any, cast

import typer

from posthorn_cli.client.types import ApiKeyCreation, TenantChange, TenantCreation
from posthorn_cli.faults import usage
from posthorn_cli.output import Column, size
from posthorn_cli.session import DEFAULT_LIMIT, All, Limit, Session, Yes, command, group
from posthorn_cli.values import given, nullable, seconds_of, size_of, whole_number

tenants = group(
    "Tenants: the owners of domains and keys, each with limits of its own.\n\nExample: `posthorn tenant create acme`"
)
keys = group("API keys, for programs and people that manage the system or send by it.\n\nExample: `posthorn key list`")
audit = group("The audit log: who changed what.\n\nExample: `posthorn audit list --since 2d`")

Tenant = Annotated[str, typer.Argument(help="A tenant's name or id.")]
Bound = Annotated[str | None, typer.Option(metavar="NUMBER|none", help="How many; `none`: as many as they like.")]
Octets = Annotated[
    str | None,
    typer.Option("--quota", metavar="SIZE|none", help="What its accounts may be promised together, such as 50GiB."),
]
Hourly = Annotated[str | None, typer.Option(metavar="NUMBER|none", help="In an hour, from all its accounts together.")]
Verify = Annotated[
    bool | None,
    typer.Option(
        "--verify-domains/--no-verify-domains", help="A new domain takes mail only after its ownership is shown."
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
KEY_COLUMNS = [
    Column("id"),
    Column("name"),
    Column("role"),
    Column("tenant"),
    Column("message_content", "reads mail"),
    Column("expires_at"),
    Column("last_used_at", "last used"),
]
AUDIT_COLUMNS = [Column("at"), Column("actor_name", "who"), Column("action"), Column("object"), Column("details")]


class TenantState(StrEnum):
    """States of a tenant."""

    ACTIVE = "active"
    SUSPENDED = "suspended"


class Role(StrEnum):
    """Roles of keys."""

    PLATFORM_ADMIN = "platform-admin"
    TENANT_ADMIN = "tenant-admin"
    READ_ONLY = "read-only"
    SEND_ONLY = "send-only"


def _limits(
    max_domains: str | None, max_accounts: str | None, quota: str | None, messages: str | None, recipients: str | None
) -> dict[str, Any]:
    return (
        nullable("max_domains", max_domains, whole_number)
        | nullable("max_accounts", max_accounts, whole_number)
        | nullable("quota_bytes", quota, size_of)
        | nullable("max_messages_per_hour", messages, whole_number)
        | nullable("max_recipients_per_hour", recipients, whole_number)
    )


@command(tenants, "list")
def list_tenants(session: Session, *, limit: Limit = DEFAULT_LIMIT, whole: All = False) -> None:
    """List tenants by name.

    Example: `posthorn tenant list`
    """
    session.list(session.api.list_tenants, COLUMNS, limit, whole)


@command(tenants, "show")
def show_tenant(session: Session, tenant: Tenant) -> None:
    """Show a tenant with its limits and what it has.

    Example: `posthorn tenant show acme`
    """
    session.output.item(session.api.get_tenant(tenant), COLUMNS)


@command(tenants, "create")
def create_tenant(
    session: Session,
    name: Annotated[str, typer.Argument(help="Lower-case letters, digits, dots, hyphens and underscores.")],
    *,
    max_domains: Bound = None,
    max_accounts: Bound = None,
    quota: Octets = None,
    max_messages_per_hour: Hourly = None,
    max_recipients_per_hour: Hourly = None,
    verify_domains: Verify = None,
    min_password_length: Shortest = None,
) -> None:
    """Make a tenant. Without limits it may have what it likes.

    Example: `posthorn tenant create acme --max-accounts 500 --quota 100GiB`
    """
    body = {"name": name} | _limits(max_domains, max_accounts, quota, max_messages_per_hour, max_recipients_per_hour)
    body |= given(verify_domains=verify_domains, min_password_length=min_password_length)
    session.output.item(session.api.create_tenant(cast("TenantCreation", body)), COLUMNS)


@command(tenants, "set")
def set_tenant(
    session: Session,
    tenant: Tenant,
    *,
    name: Annotated[str | None, typer.Option(help="A new name.")] = None,
    state: Annotated[
        TenantState | None, typer.Option(help="suspended: its keys and logins are refused, its mail is still received.")
    ] = None,
    max_domains: Bound = None,
    max_accounts: Bound = None,
    quota: Octets = None,
    max_messages_per_hour: Hourly = None,
    max_recipients_per_hour: Hourly = None,
    verify_domains: Verify = None,
    min_password_length: Shortest = None,
) -> None:
    """Change what is named; the rest stays.

    Example: `posthorn tenant set acme --state suspended`
    """
    body = _limits(max_domains, max_accounts, quota, max_messages_per_hour, max_recipients_per_hour)
    body |= given(name=name, state=state, verify_domains=verify_domains, min_password_length=min_password_length)
    something(body)
    session.api.get_tenant(tenant)
    changed = session.api.change_tenant(tenant, cast("TenantChange", body), if_match=session.api.etag)
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
    deleted(session, "tenant", found["name"])


@command(keys, "list")
def list_keys(session: Session, *, limit: Limit = DEFAULT_LIMIT, whole: All = False) -> None:
    """List API keys, without the keys themselves.

    Example: `posthorn key list`
    """
    session.list(session.api.list_api_keys, KEY_COLUMNS, limit, whole)


@command(keys, "show")
def show_key(session: Session, key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id.")]) -> None:
    """Show what is known of a key.

    Example: `posthorn key show 0198c1d2-…`
    """
    session.output.item(session.api.get_api_key(key_id), KEY_COLUMNS)


@command(keys, "create")
def create_key(
    session: Session,
    name: Annotated[str, typer.Argument(help="What it is for.")],
    *,
    role: Annotated[Role, typer.Option(help="What it may do.")],
    tenant: Annotated[str | None, typer.Option(help="Whose it is; without it yours, or the whole platform's.")] = None,
    expires: Annotated[
        str | None, typer.Option(metavar="SPAN|TIME", help="When it ceases to work: 90d, or 2036-01-31T00:00:00Z.")
    ] = None,
    message_content: Annotated[
        bool | None,
        typer.Option(
            "--message-content/--no-message-content",
            help="Whether it may read the content of mailboxes; without it, an admin's key may if yours may.",
        ),
    ] = None,
) -> None:
    """Make an API key. It is printed this once: keep it.

    Into a pipe only the key is printed.

    Example: `posthorn key create "backup job" --role tenant-admin --tenant acme --expires 90d`
    """
    body = {"name": name, "role": role.value} | given(tenant=tenant, message_content=message_content)
    if expires is not None:
        body["expires_at"] = _end(expires).isoformat()
    made = session.api.create_api_key(cast("ApiKeyCreation", body))
    once(session, cast("dict[str, Any]", made), "key", KEY_COLUMNS)


@command(keys, "delete")
def delete_key(
    session: Session, key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id.")], *, yes: Yes = False
) -> None:
    """Delete a key. It is refused from then on.

    Example: `posthorn key delete 0198c1d2-…`
    """
    found = session.api.get_api_key(key_id)
    session.ask(f"Delete the key {found['name']} ({found['role']})?", yes)
    session.api.delete_api_key(key_id)
    deleted(session, "key", key_id)


@command(audit, "list")
def list_audit(
    session: Session,
    *,
    actor: Annotated[str | None, typer.Option(help="Id or name of the key that did it.")] = None,
    action: Annotated[
        str | None, typer.Option(help="Such as `account.change`, or `account` for all of accounts.")
    ] = None,
    subject: Annotated[str | None, typer.Option("--object", help="What was changed, such as an address.")] = None,
    since: Annotated[str | None, typer.Option(metavar="SPAN|TIME", help="From then on: 2d ago, or a time.")] = None,
    until: Annotated[str | None, typer.Option(metavar="SPAN|TIME", help="Up to then.")] = None,
    limit: Limit = DEFAULT_LIMIT,
    whole: All = False,
) -> None:
    """Show changes, newest first.

    Example: `posthorn audit list --action account --since 2d`
    """
    filters = given(
        actor=actor,
        action=action,
        object_=subject,
        since=since and start_of(since),
        until=until and start_of(until),
    )
    session.list(session.api.list_audit, AUDIT_COLUMNS, limit, whole, **filters)


@command(audit, "content")
def list_content_access(
    session: Session,
    address: Annotated[str, typer.Argument(help="The account.")],
    *,
    limit: Limit = DEFAULT_LIMIT,
    whole: All = False,
) -> None:
    """Show who read the content of an account's mailboxes through the API, newest first.

    Example: `posthorn audit content alice@example.test`
    """
    session.list(partial(session.api.list_content_access, address), AUDIT_COLUMNS, limit, whole)


def something(body: dict[str, Any]) -> None:
    """See that a change changes something. Raises CommandError."""
    if not body:
        raise usage("nothing to change was named: --help shows what can be")


def deleted(session: Session, what: str, name: str) -> None:
    """Say that something is no more."""
    session.output.done(f"{what} {name} deleted", {"deleted": name})


def once(session: Session, made: dict[str, Any], field: str, columns: list[Column]) -> None:
    """Print what was made with a secret that is shown this once; in a pipe the secret alone."""
    output = session.output
    if output.as_json or output.for_people:
        output.item(made, columns)
        output.note(f"The {field} is shown this once: keep it.")
    else:
        output.line(str(made[field]))


def start_of(text: str) -> str:
    """Read a time in the past: a span before now, or a time (RFC 3339). Raises CommandError."""
    return _time(text, -1).isoformat()


def _end(text: str) -> datetime:
    return _time(text, 1)


def _time(text: str, direction: int) -> datetime:
    if text[:4].isdigit() and "-" in text:
        try:
            found = datetime.fromisoformat(text)
        except ValueError:
            raise usage(f"{text!r} is no time: it looks like 2036-01-31T00:00:00Z") from None
        return found if found.tzinfo else found.astimezone()
    return datetime.now(UTC) + direction * timedelta(seconds=seconds_of(text))
