"""`posthorn send-test` and `posthorn trace`."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, cast

import typer

from posthorn_cli.client import ApiError, Client
from posthorn_cli.client.types import EventView, Sending
from posthorn_cli.faults import FAILED, UNAVAILABLE, CommandError
from posthorn_cli.output import harmless, moment, plain
from posthorn_cli.session import Session, command
from posthorn_cli.values import seconds_of
from posthorn_cli.verdicts import scanned_detail

app = typer.Typer()

_ENDS = ("delivered", "bounced", "cancelled", "quarantined", "refused")
_FIRST_EVENT = 10.0
"""Seconds in which a message that was just accepted may have no event yet."""
_LATE_SECONDS = 3.0
"""Seconds after a recipient's end in which ``accepted`` may come: another process records it."""
_KIND_WIDTH = 11
"""Characters of the longest kind of event."""
_PAUSE = 0.5
"""Seconds between two looks at a trace."""


@command(app, "send-test")
def send_test(
    session: Session,
    *,
    sender: Annotated[str, typer.Option("--from", help="An account or alias here.")],
    to: Annotated[list[str], typer.Option(help="Who gets it; may be given more than once.")],
    subject: Annotated[str, typer.Option(help="Its subject.")] = "Test message",
    text: Annotated[
        str, typer.Option(help="What it says.")
    ] = "This is a test message. It needs no answer.",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Show its trace.")] = False,
    wait: Annotated[
        str, typer.Option(metavar="SPAN", help="With --follow: how long to wait for its end.")
    ] = "60s",
) -> None:
    """Send a short message, and print its id for `posthorn trace`.

    Example: `posthorn send-test --from alice@example.test --to bob@example.test --follow`
    """
    patience = seconds_of(wait)
    body = cast("Sending", {"from": sender, "to": to, "subject": subject, "text": text + "\n"})
    sent = session.api.send_message(body)
    if follow:
        session.output.note(f"sent as {sent['id']}")
        _follow(session, sent["id"], patience, len(sent["recipients"]))
    else:
        session.output.done(sent["id"], cast("dict[str, Any]", sent))


@command(app, "trace")
def trace(
    session: Session,
    message: Annotated[
        str,
        typer.Argument(metavar="ID", help="The message's id, from a log, a list or `send-test`."),
    ],
    *,
    follow: Annotated[
        bool,
        typer.Option(
            "--follow", "-f", help="Go on until every recipient has got it, or never will."
        ),
    ] = False,
    wait: Annotated[str, typer.Option(metavar="SPAN", help="With --follow: how long.")] = "1h",
) -> None:
    """Show what happened to a message: each event in the order of time.

    With --follow the exit code is 0 when all recipients have it, 1 when one never will, 5 when the
    time is over.

    Example: `posthorn trace 0198c1d2-… --follow`
    """
    if follow:
        _follow(session, message, seconds_of(wait))
        return
    events = session.api.trace_message(message)["items"]
    if session.output.as_json:
        session.output.json(events)
        return
    for event in events:
        session.output.line(line_of(event, session.output.for_people))


def settled(events: Sequence[EventView]) -> tuple[set[str], set[str], int]:
    """Return who received it, who never will, and how many recipients are known."""
    got: set[str] = set()
    lost: set[str] = set()
    known: set[str] = set()
    named = 0
    for event in events:
        who = _who(event["detail"])
        known |= who
        if event["kind"] == "accepted":
            number = event["detail"].get("recipients")
            named = number if isinstance(number, int) else named
        elif event["kind"] in _ENDS:
            (got if event["kind"] == "delivered" else lost).update(who)
    return got, lost - got, max(named, len(known))


def watched(api: Client, message: str, patience: float) -> Iterator[list[EventView]]:
    """Yield all events at each look, until ``patience`` seconds are over."""
    began = time.monotonic()
    deadline = began + patience
    while True:
        yield _events(api, message, time.monotonic() - began < min(_FIRST_EVENT, patience))
        if time.monotonic() > deadline:
            return
        time.sleep(_PAUSE)


def _events(api: Client, message: str, forgiving: bool) -> list[EventView]:
    try:
        return api.trace_message(message)["items"]
    except ApiError as error:
        if error.status == 404 and forgiving:
            return []
        raise


def _follow(session: Session, message: str, patience: float, recipients: int = 0) -> None:
    shown: list[EventView] = []
    whole_at: float | None = None
    for events in watched(session.api, message, patience):
        # one that comes late may stand before others: events are in the order of time
        new = [event for event in events if event not in shown]
        for event in new:
            if session.output.as_json:
                session.output.json_line(event)
            else:
                session.output.line(line_of(event, session.output.for_people))
        shown += new
        got, lost, named = settled(events)
        if got or lost:
            whole_at = whole_at or time.monotonic() + _LATE_SECONDS
            is_accepted = any(event["kind"] == "accepted" for event in events)
            if not is_accepted and time.monotonic() < whole_at:
                continue  # that event says how many recipients there are
            left = max(named, recipients) - len(got | lost)
            if left <= 0 and lost:
                raise CommandError(f"{', '.join(sorted(lost))} will not get it", FAILED)
            if left <= 0:
                return
    raise CommandError("not every recipient has got it yet", UNAVAILABLE)


def _who(detail: dict[str, Any]) -> set[str]:
    many = detail.get("recipients")
    found = {str(each) for each in many} if isinstance(many, list) else set()
    one = detail.get("recipient")
    return found | {str(one)} if one else found


def line_of(event: EventView, aligned: bool) -> str:
    """Write an event: time, kind and detail with tabs between them, or with spaces that align
    them."""
    at, kind, detail = moment(event["at"]), event["kind"], event["detail"]
    shown = scanned_detail(detail) if kind == "scanned" else detail
    rest = " ".join(
        f"{name}={plain(value)}" for name, value in shown.items() if value not in (None, "", [])
    )
    return harmless(
        f"{at}  {kind:<{_KIND_WIDTH}}  {rest}" if aligned else f"{at}\t{kind}\t{rest}", "\t"
    )
