"""`posthorn message`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from posthorn_cli.client.types import MessageChange
from posthorn_cli.faults import CommandError
from posthorn_cli.options import Address
from posthorn_cli.output import Column, size
from posthorn_cli.session import DEFAULT_LIMIT, All, Limit, Session, Yes, command, group
from posthorn_cli.values import given, nullable, require_change, size_of, start_of, words_of
from posthorn_cli.verdicts import FILED, VERDICT

messages = group(
    "Messages in the mailboxes of an account.\n\nExample: `posthorn message list carol@example.org`"
)
Message = Annotated[str, typer.Argument(metavar="ID", help="The message's id.")]
COLUMNS = [
    Column("id"),
    Column("received_at"),
    Column("from"),
    Column("subject", prose=True),
    Column("size", show=size),
    Column("flags"),
]
PART_COLUMNS = [
    Column("number"),
    Column("type"),
    Column("name"),
    Column("disposition"),
    Column("charset"),
    Column("decoded_bytes", "size", size),
]
CLASSIFIED_COLUMNS = [
    Column("message"),
    Column("classification"),
    Column("taught"),
    Column("mailbox"),
]
DELETED_COLUMNS = [
    Column("id"),
    Column("deleted_at"),
    Column("until"),
    Column("mailbox"),
    Column("from"),
    Column("subject", prose=True),
]


@command(messages, "list")
def list_messages(
    session: Session,
    address: Address,
    *,
    mailbox: Annotated[
        str, typer.Option(help="INBOX, Junk, Sent, Trash, or one of the owner's own.")
    ] = "INBOX",
    sender: Annotated[
        str | None, typer.Option("--from", metavar="TEXT", help="A part of the From field.")
    ] = None,
    subject: Annotated[
        str | None, typer.Option(metavar="TEXT", help="A part of the Subject field.")
    ] = None,
    message_id: Annotated[
        str | None, typer.Option(metavar="TEXT", help="A part of the Message-ID field.")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="SPAN|TIME", help="Received since then: 2d (two days ago), or a time."
        ),
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="SPAN|TIME", help="Received before.")] = None,
    larger: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Larger than that, such as 1MB.")
    ] = None,
    smaller: Annotated[str | None, typer.Option(metavar="SIZE", help="Smaller than that.")] = None,
    seen: Annotated[
        bool | None, typer.Option("--seen/--unseen", help="Whether it has been seen.")
    ] = None,
    text: Annotated[
        str | None, typer.Option(metavar="TEXT", help="A part of the header or of the body.")
    ] = None,
    body: Annotated[str | None, typer.Option(metavar="TEXT", help="A part of the body.")] = None,
    limit: Limit = DEFAULT_LIMIT,
    whole: All = False,
) -> None:
    """List or search the messages of a mailbox, newest first.

    Example: `posthorn message list carol@example.org --mailbox Junk --subject invoice --since 30d`
    """
    filters = given(
        mailbox=mailbox,
        from_=sender,
        subject=subject,
        message_id=message_id,
        since=since and start_of(since),
        until=until and start_of(until),
        larger=None if larger is None else size_of(larger),
        smaller=None if smaller is None else size_of(smaller),
        seen=seen,
        text=text,
        body=body,
    )
    session.list(partial(session.api.list_messages, address), COLUMNS, limit, whole, **filters)


@command(messages, "show")
def show_message(session: Session, address: Address, message: Message) -> None:
    """Show what is known of a message, without its body.

    Example: `posthorn message show carol@example.org 0198c1d2-…`
    """
    session.output.item(session.api.get_message(address, message), [*COLUMNS, VERDICT, FILED])


@command(messages, "raw")
def raw_message(
    session: Session,
    address: Address,
    message: Message,
    *,
    to: Annotated[
        str,
        typer.Option("--output", "-o", metavar="FILE", help="Where to write it; `-`: to stdout."),
    ] = "-",
) -> None:
    """Fetch a message as it is (RFC 5322).

    Example: `posthorn message raw carol@example.org 0198c1d2-… -o message.eml`
    """
    write_content(session, session.api.get_raw_message(address, message), to)


@command(messages, "structure")
def message_structure(session: Session, address: Address, message: Message) -> None:
    """List the parts and attachments of a message.

    Example: `posthorn message structure carol@example.org 0198c1d2-…`
    """
    found = session.api.get_message_structure(address, message)
    session.output.items(found["parts"], PART_COLUMNS)
    if not found["is_complete"]:
        session.output.note("warning: the message has more parts, or deeper ones, than are listed")


@command(messages, "part")
def message_part(
    session: Session,
    address: Address,
    message: Message,
    part: Annotated[
        str,
        typer.Argument(
            metavar="NUMBER", help="The part's number, from `posthorn message structure`."
        ),
    ],
    *,
    raw: Annotated[bool, typer.Option("--raw", help="As it lies in the message, encoded.")] = False,
    to: Annotated[
        str,
        typer.Option("--output", "-o", metavar="FILE", help="Where to write it; `-`: to stdout."),
    ] = "-",
) -> None:
    """Fetch a part of a message, such as an attachment, decoded.

    Example: `posthorn message part carol@example.org 0198c1d2-… 2 -o plans.pdf`
    """
    write_content(
        session, session.api.get_message_part(address, message, part, raw=raw or None), to
    )


def write_content(session: Session, pieces: Iterator[bytes], to: str) -> None:
    """Write bytes to stdout, or into a new file."""
    if to == "-":
        session.output.write(pieces)
        return
    first = next(pieces, b"")
    try:
        with Path(to).open("xb") as out:
            out.write(first)
            out.writelines(pieces)
    except FileExistsError:
        raise CommandError(f"{to} is there already") from None
    except OSError as error:
        raise CommandError(f"cannot write {to}: {error.strerror}") from None


@command(messages, "delete")
def delete_message(
    session: Session, address: Address, message: Message, *, yes: Yes = False
) -> None:
    """Delete a message out of every mailbox of the account.

    Example: `posthorn message delete carol@example.org 0198c1d2-…`
    """
    session.ask(f"Delete the message {message} of {address}?", yes)
    session.api.delete_message(address, message)
    session.output.deleted("message", message)


@command(messages, "flag")
def flag_message(
    session: Session,
    address: Address,
    message: Message,
    *,
    flags: Annotated[
        str | None,
        typer.Option(
            metavar="FLAG,…|none",
            help="Flags it is to have: seen, answered, flagged, deleted, draft.",
        ),
    ] = None,
    keywords: Annotated[
        str | None,
        typer.Option(
            metavar="KEYWORD,…|none", help="Keywords it is to have, such as `$Forwarded`."
        ),
    ] = None,
) -> None:
    """Set the flags or keywords of a message.

    Example: `posthorn message flag carol@example.org 0198c1d2-… --flags seen,flagged`
    """
    body = nullable("flags", flags, words_of) | nullable("keywords", keywords, words_of)
    require_change(body)
    change = {name: words or [] for name, words in body.items()}
    session.output.item(
        session.api.change_message(address, message, cast("MessageChange", change)), COLUMNS
    )


@command(messages, "move")
def move_message(
    session: Session,
    address: Address,
    message: Message,
    mailbox: Annotated[str, typer.Argument(help="Where to.")],
) -> None:
    """Move a message into a mailbox, out of every other one.

    Example: `posthorn message move carol@example.org 0198c1d2-… Trash`
    """
    session.output.item(session.api.move_message(address, message, {"mailbox": mailbox}), COLUMNS)


@command(messages, "classify")
def classify_message(
    session: Session,
    address: Address,
    message: Message,
    classification: Annotated[
        str, typer.Argument(metavar="spam|ham|none", help="none: take back what was said before.")
    ],
    *,
    move: Annotated[
        bool, typer.Option("--move/--keep", help="Move spam to Junk, and ham in Junk to INBOX.")
    ] = True,
) -> None:
    """Say that a message is spam, or not: the filter learns it.

    Example: `posthorn message classify carol@example.org 0198c1d2-… ham`
    """
    said: Any = {"classification": classification}
    done = session.api.classify_message(address, message, said, move=move)
    session.output.item(done, CLASSIFIED_COLUMNS)


@command(messages, "deleted")
def list_deleted(
    session: Session, address: Address, *, limit: Limit = DEFAULT_LIMIT, whole: All = False
) -> None:
    """List deleted messages that can be brought back.

    Example: `posthorn message deleted carol@example.org`
    """

    def pages(**page: Any) -> Any:
        found = session.api.list_deleted_messages(address, **page)
        rows = [
            {**each["message"], "deleted_at": each["deleted_at"], "until": each["until"]}
            for each in found["items"]
        ]
        return {"items": rows, "next_cursor": found["next_cursor"]}

    session.list(pages, DELETED_COLUMNS, limit, whole)


@command(messages, "undelete")
def undelete_message(session: Session, address: Address, message: Message) -> None:
    """Bring a deleted message back to where it was.

    Example: `posthorn message undelete carol@example.org 0198c1d2-…`
    """
    session.output.item(session.api.undelete_message(address, message), COLUMNS)
