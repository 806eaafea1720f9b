"""`posthorn audit`."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

import typer

from posthorn_cli.options import list_options
from posthorn_cli.output import Column
from posthorn_cli.session import DEFAULT_LIMIT, All, Limit, Session, command, group
from posthorn_cli.values import given, start_of

audit = group("The audit log: who changed what.\n\nExample: `posthorn audit list --since 2d`")
COLUMNS = [
    Column("at"),
    Column("actor_name", "who"),
    Column("action"),
    Column("object"),
    Column("details", prose=True),
    Column("before", prose=True, seldom=True),
]


@command(audit, "list", list_options("at"))
def list_audit(
    session: Session,
    /,
    *,
    actor: Annotated[str | None, typer.Option(help="Id or name of the key that did it.")] = None,
    action: Annotated[
        str | None, typer.Option(help="Such as `account.change`, or `account` for all of accounts.")
    ] = None,
    subject: Annotated[
        str | None, typer.Option("--object", help="What was changed, such as an address.")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="SPAN|TIME", help="From then on: 2d (two days ago), or a time."),
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="SPAN|TIME", help="Up to then.")] = None,
    limit: Limit = DEFAULT_LIMIT,
    whole: All = False,
    **asked: Any,
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
    session.list(session.api.list_audit, COLUMNS, limit, whole, **filters, **asked)


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
    session.list(partial(session.api.list_content_access, address), COLUMNS, limit, whole)
