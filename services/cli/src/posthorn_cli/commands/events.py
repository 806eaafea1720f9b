"""`posthorn events`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Annotated, Any, cast

import typer

from posthorn_cli.client import ApiError, Unreachable
from posthorn_cli.client.server_events import ServerEvent, read_events
from posthorn_cli.output import plain
from posthorn_cli.session import Session, command, group

events = group(
    "The events of messages, as they happen.\n\nExample: `posthorn events follow --type bounced`"
)

_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 1.0, 30.0
_FOR_NOW = frozenset({429, 500, 502, 503, 504})
_WHO = ("recipient", "recipients", "account", "to", "domain", "subject")
_WHY = ("reply", "reason", "host", "reverse_path", "by", "state")


@command(events, "follow")
def follow(
    session: Session,
    *,
    types: Annotated[
        list[str] | None,
        typer.Option("--type", "-t", metavar="TYPE", help="Only these, such as bounced."),
    ] = None,
    message: Annotated[
        str | None, typer.Option(metavar="ID", help="Only events of this message.")
    ] = None,
    tenant: Annotated[str | None, typer.Option(metavar="NAME", help="Only this tenant's.")] = None,
    after: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Begin after the event with this id, as --json shows it."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", "-n", min=1, help="End after so many events.")
    ] = None,
) -> None:
    """Print each event as it happens: time, type, message, whom it is about, and why. With --json
    a document a line. A connection that breaks is made again, and goes on where it was.

    Example: `posthorn events follow --type bounced --type deferred --json`
    """
    left = limit
    for event in _events(session, types, tenant, after, message):
        document: dict[str, Any] = json.loads(event.data)
        if session.output.as_json:
            session.output.json_line({"id": event.id, **document})
        else:
            session.output.line(_line(document))
        if left is not None and (left := left - 1) == 0:
            return


def _events(
    session: Session,
    types: list[str] | None,
    tenant: str | None,
    after: str | None,
    message: str | None = None,
) -> Iterator[ServerEvent]:
    """Yield events for ever. Raises ApiError when the API refuses, and Unreachable when the first
    connection fails."""
    pause, was_connected = _FIRST_PAUSE_SECONDS, False
    while True:
        try:
            pieces = session.api.follow_events(
                type_=cast("Any", types), message=message, tenant=tenant, after=after
            )
            for event in read_events(pieces):
                was_connected, pause = True, _FIRST_PAUSE_SECONDS
                after = event.id or after
                if event.name:
                    _tell(session, event)
                elif event.data:
                    yield event
            if not was_connected and session.api.headers.get("Content-Type") != "text/event-stream":
                raise Unreachable(
                    f"what {session.api.url} answered is no stream of events: is it a Posthorn API?"
                )
            why = "the connection was closed"
        except Unreachable as fault:
            if not was_connected:
                raise
            why = str(fault)
        except ApiError as refused:
            if not was_connected or refused.status not in _FOR_NOW:
                raise
            why = str(refused)
        session.output.note(f"{why}; trying again in {pause:g} s")
        time.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)


def _tell(session: Session, event: ServerEvent) -> None:
    """Say what a message about the connection means. Raises ApiError for its end."""
    if event.name == "end":
        told = json.loads(event.data)
        raise ApiError.from_document(told["status"], told)
    if event.name == "gap":
        session.output.note("events are missing here: they are not kept any more")
    elif event.name == "behind":
        session.output.note("events come faster than they are read; none is lost")


def _line(document: dict[str, Any]) -> str:
    data = document["data"]
    who = next((data[name] for name in _WHO if data.get(name)), "")
    why = next((data[name] for name in _WHY if data.get(name)), "")
    return "\t".join(
        plain(part) for part in (document["timestamp"], document["type"], data["message"], who, why)
    )
