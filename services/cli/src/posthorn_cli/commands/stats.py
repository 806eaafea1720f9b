"""`posthorn stats`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from posthorn_cli.output import Column, size
from posthorn_cli.session import DEFAULT_LIMIT, All, Limit, Session, command, group
from posthorn_cli.values import given, start_of

stats = group(
    "Statistics: messages by time, domain and outcome.\n\nExample: `posthorn stats list --by day --since 30d`"
)
COLUMNS = [
    Column("at"),
    Column("domain"),
    Column("outcome"),
    Column("messages"),
    Column("size_bytes", "size", size),
    Column("reason"),
]


SERIES = [Column("domain"), Column("outcome"), Column("reason"), Column("total")]


class Period(StrEnum):
    """What is counted together."""

    HOUR = "hour"
    DAY = "day"


@command(stats, "list")
def list_stats(
    session: Session,
    *,
    domain: Annotated[str | None, typer.Option(help="Only of this domain.")] = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="SPAN|TIME", help="From then on: 30d (30 days ago), or a time."),
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="SPAN|TIME", help="Up to then.")] = None,
    by: Annotated[Period, typer.Option(help="What is counted together (UTC).")] = Period.HOUR,
    limit: Limit = DEFAULT_LIMIT,
    whole: All = False,
) -> None:
    """Count messages by time, domain and outcome; of the last seven days unless said otherwise.

    Example: `posthorn stats list --by day --since 30d --domain example.org`
    """
    filters = given(
        domain=domain, since=since and start_of(since), until=until and start_of(until), by=by.value
    )
    session.list(session.api.list_stats, COLUMNS, limit, whole, **filters)


@command(stats, "series")
def series(
    session: Session,
    *,
    domain: Annotated[str | None, typer.Option(help="Only of this domain.")] = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="SPAN|TIME", help="From then on: 30d (30 days ago), or a time."),
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="SPAN|TIME", help="Up to then.")] = None,
    by: Annotated[Period, typer.Option(help="What is counted together (UTC).")] = Period.DAY,
    by_domain: Annotated[
        bool, typer.Option("--by-domain", help="Of each domain, not of all together.")
    ] = False,
) -> None:
    """Show the sum of each outcome, by reason; with --json a number for every hour or day.

    Example: `posthorn stats series --by day --since 30d --json`
    """
    found = session.api.get_stats_series(
        domain=domain,
        since=start_of(since) if since else None,
        until=start_of(until) if until else None,
        by=by.value,
        by_domain=by_domain or None,
    )
    if session.output.as_json:
        session.output.json(found)
        return
    session.output.items(found["series"], SERIES)
