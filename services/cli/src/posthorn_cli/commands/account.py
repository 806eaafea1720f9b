"""`posthorn account`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, cast

import typer

from posthorn_cli.client.types import AccountChange, AccountCreation
from posthorn_cli.faults import CommandError
from posthorn_cli.options import Address, OfDomain, list_options
from posthorn_cli.output import MANAGED_BY, Column, size
from posthorn_cli.session import DEFAULT_LIMIT, All, Limit, Session, Yes, command, group
from posthorn_cli.values import (
    PasswordFile,
    PasswordInArgument,
    generated,
    given,
    nullable,
    require_change,
    secret,
    size_of,
    whole_number,
    words_of,
)

accounts = group(
    "Accounts: mailboxes with an address and a password.\n\nExample: `posthorn account create carol@example.org`"
)
Quota = Annotated[
    str | None,
    typer.Option(metavar="SIZE|none", help="Room for mail, such as 2GiB; none: unlimited."),
]
Generate = Annotated[
    bool, typer.Option("--generate-password", help="Make up a password and show it this once.")
]
Hourly = Annotated[
    str | None,
    typer.Option(
        metavar="NUMBER|none", help="In an hour; none: as its domain or the settings say."
    ),
]
COLUMNS = [
    Column("address"),
    Column("state"),
    Column("used_bytes", "used", size),
    Column("quota_bytes", "quota", size),
    Column("used_messages", "messages"),
    Column("created_at"),
    MANAGED_BY,
]


SIGN_IN_COLUMNS = [
    Column("last_at", "last"),
    Column("protocol"),
    Column("address", "client"),
    Column("app_password_name", "app password"),
    Column("result"),
    Column("attempts"),
]


class AccountState(StrEnum):
    """States of an account."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    RECEIVE_ONLY = "receive-only"


@command(
    accounts,
    "list",
    list_options("address", "created", "used", states="active, suspended or receive-only"),
)
def list_accounts(
    session: Session,
    /,
    *,
    domain: OfDomain = None,
    limit: Limit = DEFAULT_LIMIT,
    whole: All = False,
    **asked: Any,
) -> None:
    """List accounts by address, with what they use.

    Example: `posthorn account list --domain example.org --sort -used`
    """
    session.list(session.api.list_accounts, COLUMNS, limit, whole, domain=domain, **asked)


@command(accounts, "show")
def show_account(session: Session, address: Address) -> None:
    """Show an account.

    Example: `posthorn account show carol@example.org`
    """
    session.output.item(session.api.get_account(address), COLUMNS)


@command(accounts, "create")
def create_account(
    session: Session,
    address: Address,
    *,
    quota: Quota = None,
    password_file: PasswordFile = None,
    generate_password: Generate = False,
    password: PasswordInArgument = None,
) -> None:
    """Create an account. Its password is asked for, unless a file is named or one is to be made up.

    Example: `posthorn account create carol@example.org --quota 2GiB --generate-password`
    """
    text = _password(session, password_file, password, generate_password)
    body = {"address": address, "password": text} | nullable("quota_bytes", quota, size_of)
    made = cast("dict[str, Any]", session.api.create_account(cast("AccountCreation", body)))
    session.output.item(made | ({"password": text} if generate_password else {}), COLUMNS)


@command(accounts, "set")
def set_account(
    session: Session,
    address: Address,
    *,
    state: Annotated[
        AccountState | None,
        typer.Option(
            help="suspended: takes no mail and may not log in. receive-only: takes mail, sends none."
        ),
    ] = None,
    quota: Quota = None,
    max_messages_per_hour: Hourly = None,
    max_recipients_per_hour: Hourly = None,
    allowed_networks: Annotated[
        str | None,
        typer.Option(metavar="CIDR,…|none", help="Networks that mail may be submitted from."),
    ] = None,
    save_sent: Annotated[
        bool | None,
        typer.Option(
            "--save-sent/--no-save-sent", help="Put a copy of what it sends into its Sent mailbox."
        ),
    ] = None,
    hide_imap_capabilities: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,…|none", help="IMAP capabilities that its clients are not shown."
        ),
    ] = None,
) -> None:
    """Change what is named; the rest stays. For the password see `posthorn account password`.

    Example: `posthorn account set carol@example.org --quota 5GiB`
    """
    body = (
        given(state=state)
        | nullable("quota_bytes", quota, size_of)
        | nullable("max_messages_per_hour", max_messages_per_hour, whole_number)
        | nullable("max_recipients_per_hour", max_recipients_per_hour, whole_number)
        | nullable("allowed_networks", allowed_networks, words_of)
        | given(save_sent=save_sent)
    )
    if hide_imap_capabilities is not None:
        hidden = nullable("hidden", hide_imap_capabilities, words_of)["hidden"]
        body["hidden_imap_capabilities"] = hidden or []
    require_change(body)
    session.api.get_account(address)
    changed = session.api.change_account(
        address, cast("AccountChange", body), if_match=session.api.etag
    )
    session.output.item(changed, COLUMNS)


@command(accounts, "password")
def set_password(
    session: Session,
    address: Address,
    *,
    password_file: PasswordFile = None,
    generate_password: Generate = False,
    password: PasswordInArgument = None,
) -> None:
    """Set the password of an account.

    Example: `posthorn account password carol@example.org`
    """
    text = _password(session, password_file, password, generate_password)
    session.api.change_account(address, {"password": text})
    document = {"address": address} | ({"password": text} if generate_password else {})
    session.output.done(
        text if generate_password else f"the password of {address} is set", document
    )


@command(accounts, "sign-ins")
def list_sign_ins(
    session: Session, address: Address, *, limit: Limit = DEFAULT_LIMIT, whole: All = False
) -> None:
    """List who signed in to an account, or tried to, within 30 days.

    Example: `posthorn account sign-ins carol@example.org`
    """

    def pages(**page: Any) -> Any:
        return session.api.list_sign_ins(address, **page)

    session.list(pages, SIGN_IN_COLUMNS, limit, whole)


@command(accounts, "delete")
def delete_account(session: Session, address: Address, *, yes: Yes = False) -> None:
    """Delete an account with all its mail.

    Example: `posthorn account delete carol@example.org`
    """
    found = session.api.get_account(address)
    etag = session.api.etag
    session.ask(
        f"Delete the account {found['address']} with {found['used_messages']} messages?", yes
    )
    session.api.delete_account(address, if_match=None if yes else etag)
    session.output.deleted("account", found["address"])


def _password(session: Session, file: str | None, argument: str | None, generate: bool) -> str:
    if generate and file is None and argument is None:
        return generated()
    if generate:
        raise CommandError("either a password is given, or one is made up")
    return secret(session.output, "password", file, argument, confirm=True)
