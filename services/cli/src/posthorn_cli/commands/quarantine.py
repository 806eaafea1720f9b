"""`posthorn quarantine`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, cast

import typer

from posthorn_cli.client.types import QuarantineSelection
from posthorn_cli.commands.message import write_content
from posthorn_cli.faults import CommandError, usage
from posthorn_cli.options import list_options
from posthorn_cli.output import Column, size
from posthorn_cli.session import DEFAULT_LIMIT, All, Limit, Session, Yes, command, group
from posthorn_cli.values import given, start_of
from posthorn_cli.verdicts import VERDICT

quarantine = group(
    "Messages that were withheld from their recipients, a line for each copy.\n\n"
    "Example: `posthorn quarantine list --account carol@example.org`"
)


class Reason(StrEnum):
    """Why a copy was withheld."""

    VIRUS = "virus"
    DMARC = "dmarc"
    SCORE = "score"
    BLOCKED = "blocked"


Copy = Annotated[str, typer.Argument(metavar="ID", help="Id of the copy, from the list.")]
Copies = Annotated[
    list[str] | None, typer.Argument(metavar="[ID]...", help="Ids of copies, from the list.")
]
Ham = Annotated[
    bool, typer.Option("--ham", help="They are no spam: the filter of the account learns it.")
]
COLUMNS = [
    Column("id"),
    Column("created_at", "withheld"),
    Column("recipient"),
    Column("reason"),
    Column("score"),
    Column("from"),
    Column("subject", prose=True),
    Column("message"),
]
RESULTS = [Column("id"), Column("recipient"), Column("released"), Column("detail", prose=True)]


@command(quarantine, "list", list_options("created", "score"))
def list_quarantine(
    session: Session,
    /,
    *,
    account: Annotated[str | None, typer.Option(help="Only of this account.")] = None,
    domain: Annotated[str | None, typer.Option(help="Domain of the recipient.")] = None,
    reason: Annotated[Reason | None, typer.Option(help="Only for this reason.")] = None,
    message: Annotated[str | None, typer.Option(metavar="ID", help="Only this message.")] = None,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="SPAN|TIME", help="Withheld since then: 2d (two days ago), or a time."
        ),
    ] = None,
    limit: Limit = DEFAULT_LIMIT,
    whole: All = False,
    **asked: Any,
) -> None:
    """List what is in quarantine, newest first.

    Example: `posthorn quarantine list --domain example.org --reason virus --since 7d`
    """
    filters = given(
        account=account,
        domain=domain,
        reason=reason and reason.value,
        message=message,
        since=since and start_of(since),
    )
    session.list(session.api.list_quarantine, COLUMNS, limit, whole, **filters, **asked)


@command(quarantine, "show")
def show_quarantined(session: Session, copy: Copy) -> None:
    """Show a copy with the verdict on the message, without its content.

    Example: `posthorn quarantine show 0198c1d2-…`
    """
    session.output.item(session.api.get_quarantined(copy), [Column("size", show=size), VERDICT])


@command(quarantine, "raw")
def raw_quarantined(
    session: Session,
    copy: Copy,
    *,
    to: Annotated[
        str,
        typer.Option("--output", "-o", metavar="FILE", help="Where to write it; `-`: to stdout."),
    ] = "-",
) -> None:
    """Fetch a withheld message as it is (RFC 5322). It may hold a virus.

    Example: `posthorn quarantine raw 0198c1d2-… -o message.eml`
    """
    write_content(session, session.api.get_raw_quarantined(copy), to)


@command(quarantine, "release")
def release_quarantined(
    session: Session,
    copies: Copies = None,
    *,
    message: Annotated[
        str | None, typer.Option(metavar="ID", help="All copies of this message.")
    ] = None,
    ham: Ham = False,
) -> None:
    """Release copies: to INBOX, or to where an alias would have sent them.

    Example: `posthorn quarantine release 0198c1d2-… --ham`
    """
    if bool(copies) == bool(message):
        raise usage("name ids from `posthorn quarantine list`, or --message: one of them")
    asked: dict[str, Any] = given(
        ids=copies or None, message=message, classify="ham" if ham else None
    )
    found = session.api.release_all_quarantined(cast("QuarantineSelection", asked))
    session.output.items(found["items"], RESULTS)
    if found["more"]:
        session.output.note("there are more copies of the message: do it again for the rest")
    if not all(each["released"] for each in found["items"]):
        raise CommandError("not every copy was released")


@command(quarantine, "delete")
def delete_quarantined(session: Session, copy: Copy, *, yes: Yes = False) -> None:
    """Delete a copy for good. Other copies of the message stay.

    Example: `posthorn quarantine delete 0198c1d2-…`
    """
    session.ask(f"Delete the copy {copy}?", yes)
    session.api.delete_quarantined(copy)
    session.output.deleted("copy", copy)
