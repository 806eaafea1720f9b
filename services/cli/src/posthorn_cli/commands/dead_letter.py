"""`posthorn dead-letter`."""

from __future__ import annotations

from typing import Annotated

import typer

from posthorn_cli.output import Column, size
from posthorn_cli.session import DEFAULT_LIMIT, All, Limit, Session, Yes, command, group

dead = group(
    "Dead letters: accepted, and impossible to deliver. Nothing leaves this list by itself.\n\nExample: `posthorn dead-letter list`"
)
Sequence = Annotated[
    int, typer.Argument(metavar="NUMBER", help="The dead letter's number, from the list.")
]
COLUMNS = [
    Column("sequence", "number"),
    Column("message_id", "message"),
    Column("parked_at"),
    Column("size", show=size),
    Column("reason", prose=True),
]


@command(dead, "list")
def list_dead(session: Session, *, limit: Limit = DEFAULT_LIMIT, whole: All = False) -> None:
    """List dead letters, oldest first, each with its reason.

    Example: `posthorn dead-letter list`
    """
    session.list(session.api.list_dead_letters, COLUMNS, limit, whole)


@command(dead, "retry")
def retry_dead(session: Session, sequence: Sequence) -> None:
    """Try to deliver a dead letter again.

    Example: `posthorn dead-letter retry 3`
    """
    retried = session.api.retry_dead_letter(sequence)
    session.output.done(f"dead letter {sequence} is on its way again", dict(retried))


@command(dead, "delete")
def discard_dead(session: Session, sequence: Sequence, *, yes: Yes = False) -> None:
    """Discard a dead letter for good.

    Example: `posthorn dead-letter delete 3`
    """
    session.ask(f"Discard the dead letter {sequence} for good?", yes)
    session.api.discard_dead_letter(sequence)
    session.output.deleted("dead letter", str(sequence))
