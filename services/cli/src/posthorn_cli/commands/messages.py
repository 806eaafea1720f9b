"""`posthorn messages`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from posthorn_cli.options import list_options
from posthorn_cli.output import Column, size
from posthorn_cli.session import DEFAULT_LIMIT, All, Limit, Session, command, group
from posthorn_cli.values import given, start_of

messages = group(
    "All mail that came in or went out, whatever happened to it.\n\n"
    "Example: `posthorn messages find alice@example.org`"
)


class Direction(StrEnum):
    """Where a message goes, as a tenant sees it."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"


class Outcome(StrEnum):
    """What happened to a message for a recipient."""

    ACCEPTED = "accepted"
    QUEUED = "queued"
    DEFERRED = "deferred"
    HELD = "held"
    DELIVERED = "delivered"
    RELAYED = "relayed"
    JUNK = "junk"
    QUARANTINED = "quarantined"
    REFUSED = "refused"
    BOUNCED = "bounced"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


FOUND = [
    Column("received_at", "received"),
    Column("outcome"),
    Column("reason"),
    Column("sender"),
    Column("recipient"),
    Column("subject", prose=True),
    Column("reply", prose=True),
    Column("rule", prose=True),
    Column("size_bytes", "size", size),
    Column("message"),
]
_ORDER = {
    name: option
    for name, option in list_options("received", tenant=False).items()
    if name in ("sort", "total")
}
_OF_EVENT = ("reason", "reply", "rule", "score")


@command(messages, "find", _ORDER)
def find(
    session: Session,
    /,
    query: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[QUERY]...",
            help="Id, address, `@` and domain, Message-ID, or words of the subject.",
        ),
    ] = None,
    *,
    sender: Annotated[
        str | None, typer.Option("--from", help="Author or reverse-path: an address or a domain.")
    ] = None,
    recipient: Annotated[
        str | None, typer.Option("--to", help="Recipient: an address or a domain.")
    ] = None,
    subject: Annotated[str | None, typer.Option(help="Words of the subject.")] = None,
    direction: Annotated[Direction | None, typer.Option(help="Only these.")] = None,
    outcome: Annotated[Outcome | None, typer.Option(help="Only these.")] = None,
    reason: Annotated[
        str | None, typer.Option(metavar="WORD", help="Such as dmarc, score or virus.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="SPAN|TIME", help="Received since then.")
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="SPAN|TIME", help="Received before then.")
    ] = None,
    tenant: Annotated[str | None, typer.Option(metavar="NAME", help="Only this tenant's.")] = None,
    limit: Limit = DEFAULT_LIMIT,
    whole: All = False,
    **asked: Any,
) -> None:
    """Find messages, newest first; a line for each recipient. `posthorn trace` shows the rest.

    Example: `posthorn messages find invoice --to carol@example.org --outcome refused --since 3d`
    """
    filters = given(
        q=" ".join(query) if query else None,
        from_=sender,
        to=recipient,
        subject=subject,
        direction=direction and direction.value,
        outcome=outcome and outcome.value,
        reason=reason,
        after=since and start_of(since),
        before=until and start_of(until),
        tenant=tenant,
    )

    def pages(**page: Any) -> Any:
        found = session.api.search_messages(**page)
        rows = [
            {**each, **{name: each["detail"].get(name) for name in _OF_EVENT}}
            for each in found["items"]
        ]
        return {**found, "items": rows}

    session.list(pages, FOUND, limit, whole, **filters, **asked)
