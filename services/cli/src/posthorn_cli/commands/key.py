"""`posthorn key`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, cast

import typer

from posthorn_cli.client.types import ApiKeyCreation
from posthorn_cli.options import list_options
from posthorn_cli.output import Column
from posthorn_cli.session import DEFAULT_LIMIT, All, Limit, Session, Yes, command, group
from posthorn_cli.values import end_of, given, words_of

keys = group(
    "API keys, for programs and people that manage the system or send by it.\n\nExample: `posthorn key list`"
)
COLUMNS = [
    Column("id"),
    Column("name"),
    Column("role"),
    Column("tenant"),
    Column("message_content", "reads mail"),
    Column("expires_at"),
    Column("last_used_at", "last used"),
    Column("last_used_address", "from"),
]


class Role(StrEnum):
    """Roles of keys."""

    PLATFORM_ADMIN = "platform-admin"
    TENANT_ADMIN = "tenant-admin"
    READ_ONLY = "read-only"
    SEND_ONLY = "send-only"


@command(keys, "list", list_options("created", "name", "used", states="active or expired"))
def list_keys(
    session: Session, /, *, limit: Limit = DEFAULT_LIMIT, whole: All = False, **asked: Any
) -> None:
    """List API keys, without the keys themselves.

    Example: `posthorn key list`
    """
    session.list(session.api.list_api_keys, COLUMNS, limit, whole, **asked)


@command(keys, "show")
def show_key(
    session: Session, key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id.")]
) -> None:
    """Show what is known of a key.

    Example: `posthorn key show 0198c1d2-…`
    """
    session.output.item(session.api.get_api_key(key_id), COLUMNS)


@command(keys, "create")
def create_key(
    session: Session,
    name: Annotated[str, typer.Argument(help="What it is for.")],
    *,
    role: Annotated[Role, typer.Option(help="What it may do.")],
    tenant: Annotated[
        str | None, typer.Option(help="Whose it is; without it yours, or the whole platform's.")
    ] = None,
    expires: Annotated[
        str | None,
        typer.Option(
            metavar="SPAN|TIME", help="When it ceases to work: 90d, or 2036-01-31T00:00:00Z."
        ),
    ] = None,
    message_content: Annotated[
        bool | None,
        typer.Option(
            "--message-content/--no-message-content",
            help="Whether it may read the content of mailboxes; without it, an admin's key may if yours may.",
        ),
    ] = None,
    networks: Annotated[
        str | None,
        typer.Option(metavar="CIDR,…", help="Networks that it may be used from."),
    ] = None,
) -> None:
    """Create an API key. It is printed this once: keep it.

    Into a pipe only the key is printed.

    Example: `posthorn key create "backup job" --role tenant-admin --tenant acme --expires 90d`
    """
    body = {"name": name, "role": role.value} | given(
        tenant=tenant, message_content=message_content
    )
    if networks is not None:
        body["networks"] = words_of(networks)
    if expires is not None:
        body["expires_at"] = end_of(expires)
    made = session.api.create_api_key(cast("ApiKeyCreation", body))
    session.output.once(cast("dict[str, Any]", made), "key", COLUMNS)


@command(keys, "login-link")
def create_login_link(session: Session) -> None:
    """Create a link that signs a browser in to the console, once, within 10 minutes.

    It signs in with the rights of your key: give it to nobody.

    Example: `posthorn key login-link`
    """
    made = session.api.create_login_link()
    url = session.api.url + made["path"]
    session.output.done(url, {"url": url, **made})


@command(keys, "end-sessions")
def end_sessions(
    session: Session,
    subject: Annotated[str, typer.Argument(help="The claim `sub` of its tokens.")],
) -> None:
    """End all sessions of a person who has signed in by single sign-on.

    Take the role away at the issuer first, or the person signs in again.

    Example: `posthorn key end-sessions ann`
    """
    done = session.api.end_sessions({"subject": subject})
    session.output.done(f"ended {done['ended']} sessions", cast("dict[str, Any]", done))


@command(keys, "delete")
def delete_key(
    session: Session,
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id.")],
    *,
    yes: Yes = False,
) -> None:
    """Delete a key. It is refused from then on.

    Example: `posthorn key delete 0198c1d2-…`
    """
    found = session.api.get_api_key(key_id)
    session.ask(f"Delete the key {found['name']} ({found['role']})?", yes)
    session.api.delete_api_key(key_id)
    session.output.deleted("key", key_id)
