"""`posthorn report`."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

import typer

from posthorn_cli.options import list_options
from posthorn_cli.output import Column
from posthorn_cli.session import DEFAULT_LIMIT, All, Limit, Session, command, group
from posthorn_cli.values import given, start_of

reports = group(
    "What other hosts report: DMARC and TLS reports as figures, and complaints.\n\nExample: `posthorn report dmarc example.org`"
)
_DMARC = [
    Column("messages"),
    Column("source"),
    Column("reporter"),
    Column("believed"),
    Column("disposition"),
    Column("dkim_aligned", "dkim"),
    Column("spf_aligned", "spf"),
    Column("last_day"),
]
_TLS = [
    Column("sessions"),
    Column("result_type", "result"),
    Column("policy_type", "policy"),
    Column("receiving_host", "host"),
    Column("reporter"),
    Column("believed"),
    Column("last_day"),
]
_COMPLAINTS = [
    Column("created_at"),
    Column("recipient"),
    Column("feedback_type", "type"),
    Column("reporter"),
    Column("believed"),
    Column("suppressed"),
    Column("message"),
]
Domain = Annotated[str, typer.Argument(help="The domain.")]
Since = Annotated[
    str | None,
    typer.Option(metavar="SPAN|TIME", help="From that day on: 90d (90 days ago), or a date."),
]
Until = Annotated[str | None, typer.Option(metavar="SPAN|TIME", help="Up to that day, included.")]


@command(reports, "dmarc")
def list_dmarc_reports(
    session: Session,
    domain: Domain,
    *,
    since: Since = None,
    until: Until = None,
    limit: Limit = DEFAULT_LIMIT,
    whole: All = False,
) -> None:
    """Show who sends mail in the domain's name, and whether it passes, as receivers report it; of
    the last 30 days unless said otherwise.

    Example: `posthorn report dmarc example.org --since 90d`
    """
    pages = partial(session.api.list_dmarc_reports, domain)
    session.list(pages, _DMARC, limit, whole, **_period(since, until))


@command(reports, "tls")
def list_tls_reports(
    session: Session,
    domain: Domain,
    *,
    since: Since = None,
    until: Until = None,
    limit: Limit = DEFAULT_LIMIT,
    whole: All = False,
) -> None:
    """Show how connections to the domain's hosts were secured, as senders report it; of the last 30
    days unless said otherwise.

    Example: `posthorn report tls example.org`
    """
    pages = partial(session.api.list_tls_reports, domain)
    session.list(pages, _TLS, limit, whole, **_period(since, until))


@command(reports, "complaints", list_options("created"))
def list_complaints(
    session: Session,
    /,
    *,
    domain: Annotated[str | None, typer.Option(help="Only about senders of this domain.")] = None,
    limit: Limit = DEFAULT_LIMIT,
    whole: All = False,
    **asked: Any,
) -> None:
    """List complaints of recipients, the newest first.

    Example: `posthorn report complaints --domain example.org`
    """
    asked |= given(domain=domain)
    session.list(session.api.list_complaints, _COMPLAINTS, limit, whole, **asked)


def _period(since: str | None, until: str | None) -> dict[str, object]:
    return given(since=since and start_of(since)[:10], until=until and start_of(until)[:10])
