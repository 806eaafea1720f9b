"""`posthorn mailbox`."""

from __future__ import annotations

from typing import Annotated, cast

import typer

from posthorn_cli.client.types import MailboxChange
from posthorn_cli.options import Address
from posthorn_cli.output import Column, size
from posthorn_cli.session import Session, Yes, command, group
from posthorn_cli.values import given, require_change

mailboxes = group(
    "Mailboxes of an account: its folders.\n\nExample: `posthorn mailbox list carol@example.org`"
)
Name = Annotated[str, typer.Argument(help="The mailbox's name; levels are divided by slashes.")]
COLUMNS = [
    Column("name"),
    Column("role"),
    Column("messages"),
    Column("unseen"),
    Column("size_bytes", "size", size),
    Column("subscribed"),
]


@command(mailboxes, "list")
def list_mailboxes(session: Session, address: Address) -> None:
    """List the mailboxes of an account with the number of their messages.

    Example: `posthorn mailbox list carol@example.org`
    """
    session.output.items(session.api.list_mailboxes(address)["items"], COLUMNS)


@command(mailboxes, "create")
def create_mailbox(session: Session, address: Address, name: Name) -> None:
    """Create a mailbox, besides those that every account has.

    Example: `posthorn mailbox create carol@example.org Work/2026`
    """
    session.output.item(session.api.create_mailbox(address, {"name": name}), COLUMNS)


@command(mailboxes, "set")
def set_mailbox(
    session: Session,
    address: Address,
    name: Name,
    *,
    rename: Annotated[
        str | None, typer.Option(metavar="NAME", help="Its new name, for those below it too.")
    ] = None,
    subscribed: Annotated[
        bool | None,
        typer.Option("--subscribed/--not-subscribed", help="Whether mail clients show it."),
    ] = None,
) -> None:
    """Rename a mailbox, or say whether mail clients show it.

    Example: `posthorn mailbox set carol@example.org Work/2026 --rename Archive/2026`
    """
    body = given(name=rename, subscribed=subscribed)
    require_change(body)
    session.output.item(
        session.api.change_mailbox(address, name, cast("MailboxChange", body)), COLUMNS
    )


@command(mailboxes, "delete")
def delete_mailbox(session: Session, address: Address, name: Name, *, yes: Yes = False) -> None:
    """Delete a mailbox that is empty.

    Example: `posthorn mailbox delete carol@example.org Work/2026`
    """
    session.ask(f"Delete the mailbox {name} of {address}?", yes)
    session.api.delete_mailbox(address, name)
    session.output.deleted("mailbox", name)
