"""`posthorn app-password`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, cast

import typer

from posthorn_cli.client.types import AppPasswordCreation
from posthorn_cli.options import Address
from posthorn_cli.output import Column
from posthorn_cli.session import DEFAULT_LIMIT, All, Limit, Session, Yes, command, group
from posthorn_cli.values import end_of, words_of

app_passwords = group(
    "App passwords: a password for one program of an account's owner.\n\n"
    "Example: `posthorn app-password create carol@example.org phone --scope imap --scope smtp`"
)
COLUMNS = [
    Column("id"),
    Column("name"),
    Column("scopes"),
    Column("created_at"),
    Column("last_used_at", "last used"),
    Column("last_used_protocol", "by"),
    Column("last_used_address", "from"),
    Column("expires_at", "expires"),
]


class Scope(StrEnum):
    """What an app password is good for."""

    SMTP = "smtp"
    IMAP = "imap"
    POP3 = "pop3"


Expires = Annotated[
    str | None,
    typer.Option(metavar="SPAN|TIME", help="When it ceases to work: 90d, or 2036-01-31T00:00:00Z."),
]
Networks = Annotated[
    str | None, typer.Option(metavar="CIDR,…", help="Networks that it may be used from.")
]


@command(app_passwords, "list")
def list_app_passwords(
    session: Session, address: Address, *, limit: Limit = DEFAULT_LIMIT, whole: All = False
) -> None:
    """List the app passwords of an account, without the passwords themselves.

    Example: `posthorn app-password list carol@example.org`
    """

    def pages(**page: Any) -> Any:
        return session.api.list_app_passwords(address, **page)

    session.list(pages, COLUMNS, limit, whole)


@command(app_passwords, "create")
def create_app_password(
    session: Session,
    address: Address,
    name: Annotated[str, typer.Argument(help="What it is for, such as `phone`.")],
    *,
    scope: Annotated[
        list[Scope] | None, typer.Option(help="What it is good for; without it, for all.")
    ] = None,
    expires: Expires = None,
    networks: Networks = None,
) -> None:
    """Create an app password. It is printed this once; into a pipe, only the password.

    Example: `posthorn app-password create carol@example.org phone --scope imap`
    """
    body = creation(name, scope, expires, networks)
    made = session.api.create_app_password(address, body)
    session.output.once(cast("dict[str, Any]", made), "password", COLUMNS)


def creation(
    name: str, scopes: list[Scope] | None, expires: str | None, networks: str | None
) -> AppPasswordCreation:
    """Return the app password to create."""
    body: dict[str, Any] = {
        "name": name,
        "scopes": [each.value for each in dict.fromkeys(scopes or Scope)],
    }
    if expires is not None:
        body["expires_at"] = end_of(expires)
    if networks is not None:
        body["networks"] = words_of(networks)
    return cast("AppPasswordCreation", body)


@command(app_passwords, "delete")
def delete_app_password(
    session: Session,
    address: Address,
    password_id: Annotated[
        str, typer.Argument(metavar="ID", help="The app password's id, from the list.")
    ],
    *,
    yes: Yes = False,
) -> None:
    """Delete an app password. It is refused from then on.

    Example: `posthorn app-password delete carol@example.org 0198c1d2-…`
    """
    session.ask(f"Delete this app password of {address}?", yes)
    session.api.delete_app_password(address, password_id)
    session.output.deleted("app password", password_id)
