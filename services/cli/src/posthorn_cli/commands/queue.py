"""`posthorn queue`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, cast

import typer

from posthorn_cli.client import Client
from posthorn_cli.client.types import MatchedView, QueueSelection
from posthorn_cli.faults import usage
from posthorn_cli.options import list_options
from posthorn_cli.output import Column, size
from posthorn_cli.session import DEFAULT_LIMIT, All, Limit, Session, Yes, command, group
from posthorn_cli.values import given, seconds_of

queue = group(
    "The outbound queue: a line for each recipient elsewhere.\n\n"
    "Actions take ids from the list, or filters for all that match, or --all.\n\n"
    "Example: `posthorn queue retry --domain example.org`"
)


class State(StrEnum):
    """States of a recipient. ``waiting``: each that is not finished."""

    WAITING = "waiting"
    QUEUED = "queued"
    SENDING = "sending"
    DEFERRED = "deferred"
    HELD = "held"
    DELIVERED = "delivered"
    BOUNCED = "bounced"
    CANCELLED = "cancelled"


class OpenState(StrEnum):
    """States of a recipient that is not finished."""

    QUEUED = "queued"
    SENDING = "sending"
    DEFERRED = "deferred"
    HELD = "held"


FILTERS: dict[str, Any] = {
    "domain": Annotated[str | None, typer.Option("--domain", help="Domain of the recipient.")],
    "state": Annotated[State | None, typer.Option("--state", help="Only in this state.")],
    "sender": Annotated[
        str | None, typer.Option("--sender", help="The reverse-path; `<>` for DSNs.")
    ],
    "recipient": Annotated[str | None, typer.Option("--recipient", help="Only this address.")],
    "message": Annotated[
        str | None, typer.Option("--message", metavar="ID", help="Only this message.")
    ],
    "older_than": Annotated[
        str | None,
        typer.Option("--older-than", metavar="SPAN", help="In the queue for longer, such as 6h."),
    ],
    "younger_than": Annotated[
        str | None, typer.Option("--younger-than", metavar="SPAN", help="In the queue for less.")
    ],
    "tenant": Annotated[
        str | None, typer.Option("--tenant", metavar="NAME", help="Only what is this tenant's.")
    ],
}
"""Options that choose recipients, by the API's names."""

Ids = Annotated[list[int] | None, typer.Argument(metavar="[ID]...", help="Numbers from the list.")]
Everything = Annotated[bool, typer.Option("--all", help="Everything in the queue.")]

COLUMNS = [
    Column("id"),
    Column("state"),
    Column("sender"),
    Column("recipient"),
    Column("attempts"),
    Column("next_attempt_at", "next attempt"),
    Column("last_reply", "last reply", prose=True),
    Column("next_hop_closed_until", "next hop closed until"),
    Column("next_hop_reply", "why", prose=True),
    Column("message"),
]


GROUPS = [
    Column("domain"),
    Column("state"),
    Column("reply_class", "class"),
    Column("recipients"),
    Column("oldest_at", "oldest"),
    Column("next_attempt_at", "next attempt"),
    Column("next_hop_closed_until", "next hop closed until"),
    Column("sample_reply", "reply", prose=True),
]
_AT_ONCE = 1000
"""Ids in one request."""


@dataclass(frozen=True, slots=True)
class Action:
    """What can be done to recipients in the queue."""

    name: str
    about: str
    """The command's help."""
    one: Callable[[Client, int], object]
    matching: Callable[[Client, QueueSelection], MatchedView]
    question: str = ""
    """What is asked before; empty: nothing."""


ACTIONS = (
    Action(
        "retry",
        "Try again now what is queued or deferred.\n\n"
        "Example: `posthorn queue retry 4711 4712`, or `posthorn queue retry --domain example.org`",
        Client.retry_queued,
        Client.retry_all_queued,
    ),
    Action(
        "hold",
        "Hold back what is queued or deferred, until it is released.\n\n"
        "Example: `posthorn queue hold --sender alice@example.test`",
        Client.hold_queued,
        Client.hold_all_queued,
    ),
    Action(
        "release",
        "Release what is held.\n\nExample: `posthorn queue release --all`",
        Client.release_queued,
        Client.release_all_queued,
    ),
    Action(
        "cancel",
        "Cancel what is not sent yet. No DSN is sent.\n\nExample: `posthorn queue cancel --message 0198c1d2-…`",
        Client.cancel_queued,
        Client.cancel_all_queued,
        question="Cancel",
    ),
)


@command(queue, "list", {**list_options("created", "due", tenant=False), **FILTERS})
def list_queue(
    session: Session, /, *, limit: Limit = DEFAULT_LIMIT, whole: All = False, **filters: Any
) -> None:
    """Search the queue, newest first. Finished recipients stay in it for some days.

    Example: `posthorn queue list --state deferred --domain example.org`
    """
    session.list(session.api.list_queue, COLUMNS, limit, whole, **_query(filters))


@command(queue, "summary")
def summary(
    session: Session,
    *,
    match: Annotated[
        str | None,
        typer.Option(
            "--match",
            "-m",
            metavar="TEXT",
            help="Only recipients with this in recipient, sender or last reply.",
        ),
    ] = None,
    domain: Annotated[str | None, typer.Option(help="Only this destination.")] = None,
    state: Annotated[OpenState | None, typer.Option(help="Only in this state.")] = None,
    tenant: Annotated[str | None, typer.Option(metavar="NAME", help="Only this tenant's.")] = None,
    limit: Limit = DEFAULT_LIMIT,
    whole: All = False,
) -> None:
    """Show what waits, by destination, state and class of the last reply, the largest first.

    Example: `posthorn queue summary --state deferred`
    """
    filters = given(q=match, domain=domain, state=state and state.value, tenant=tenant)
    session.list(session.api.summarize_queue, GROUPS, limit, whole, **filters)


@command(queue, "show")
def show_queued(
    session: Session,
    number: Annotated[int, typer.Argument(metavar="ID", help="Number from the list.")],
) -> None:
    """Show all of one recipient.

    Example: `posthorn queue show 4711`
    """
    session.output.item(session.api.get_queued(number), [Column("size", show=size)])


def _add(action: Action) -> None:
    """Create a command of an action."""

    def act(
        session: Session, /, ids: Ids = None, *, everything: Everything = False, **given: Any
    ) -> None:
        sure = bool(given.pop("yes", False))
        query = _query(given)
        if bool(ids) + bool(query) + everything > 1:
            raise usage("name ids, or filters, or --all: one of them")
        if not ids and not query and not everything:
            raise usage("name ids from `posthorn queue list`, or filters, or --all")
        if action.question:
            what = (
                f"{len(ids)} recipients"
                if ids
                else "all recipients that match"
                if query
                else "everything in the queue"
            )
            session.ask(f"{action.question} {what}?", sure)
        _act(session, action, ids or [], query)

    act.__doc__ = action.about
    command(queue, action.name, FILTERS | ({"yes": Yes} if action.question else {}))(act)


for _action in ACTIONS:
    _add(_action)


def _act(session: Session, action: Action, ids: list[int], query: dict[str, Any]) -> None:
    if len(ids) == 1:
        action.one(session.api, ids[0])
        matched = 1
    else:
        parts = [{"ids": ids[at : at + _AT_ONCE]} for at in range(0, len(ids), _AT_ONCE)]
        found = [
            action.matching(session.api, cast("QueueSelection", part))
            for part in parts or [query or {"all": True}]
        ]
        matched = sum(each["matched"] for each in found)
        passed_over = sum(each["passed_over"] for each in found)
        if passed_over:
            session.output.note(f"{passed_over} passed over: their state does not permit it")
        if any(each["more"] for each in found):
            session.output.note("there are more that match: do it again for the rest")
    session.output.done(
        f"{action.name}: {matched} recipients", {"action": action.name, "matched": matched}
    )


def _query(filters: dict[str, Any]) -> dict[str, Any]:
    """Return the filters that were given, as the API takes them."""
    found = given(**filters)
    for span in ("older_than", "younger_than"):
        if span in found:
            found[span] = seconds_of(found[span])
    if "state" in found:
        found["state"] = found["state"].value
    return found
