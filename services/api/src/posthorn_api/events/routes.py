"""The operation on statistics."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from fastapi import Depends, Query
from pydantic import AwareDatetime, Field

from posthorn.ports.api_keys import ApiKey
from posthorn.ports.errors import FieldError, ValidationFailed
from posthorn.ports.statistics import BY, Figure, Span, Statistics
from posthorn_api.directory.fields import domain_in
from posthorn_api.events.series import (
    MOST_DOMAINS,
    MOST_INTERVALS,
    StatsSeriesView,
    filled,
    intervals,
)
from posthorn_api.http.operations import Caller, problems, router, service_of
from posthorn_api.http.pagination import Cursor, Limit, page, text_after
from posthorn_api.http.schemas import ApiModel, Page

stats = router("Statistics")

_DEFAULT = timedelta(days=7)
_LONGEST = timedelta(days=400)


class StatsView(ApiModel):
    """Number of messages with one outcome, in one hour or day, for one domain."""

    at: datetime = Field(description="Start of the hour or day (UTC).")
    domain: str | None = Field(
        description="Domain counted for; null if no local domain is involved, as for mail sent with an API key."
    )
    outcome: Literal[
        "accepted",
        "delivered",
        "relayed",
        "deferred",
        "bounced",
        "cancelled",
        "refused",
        "quarantined",
        "junk",
    ] = Field(
        description="accepted: submitted by accounts or over the API. delivered: to local mailboxes. relayed:"
        " accepted by a remote host. deferred: attempts that failed temporarily. bounced,"
        " cancelled: given up. refused: incoming, permanently, because of what the message is. quarantined:"
        " withheld. junk: those of the delivered ones that are in Junk."
    )
    reason: str | None = Field(
        None, description="For refused, quarantined and junk, why: such as dmarc, score or virus."
    )
    messages: int = Field(
        description="Number of messages; for every outcome but accepted, one for each recipient."
    )
    size_bytes: int = Field(
        description="Sum of the sizes of accepted, delivered and relayed messages, in bytes."
    )

    @classmethod
    def from_figure(cls, figure: Figure) -> StatsView:
        """Show a figure."""
        outcome, _, reason = figure.outcome.partition(BY)
        return cls(
            at=figure.at,
            domain=figure.domain or None,
            outcome=outcome,  # type: ignore[arg-type]
            reason=reason or None,
            messages=figure.messages,
            size_bytes=figure.octets,
        )


Moment = Annotated[AwareDatetime | None, Query(examples=["2036-01-01T00:00:00Z"])]
OneDomain = Annotated[str | None, Query(max_length=1000, description="Only this domain.")]
Since = Annotated[
    Moment, Query(description="Start of the period. Without it, seven days before the end.")
]
Until = Annotated[Moment, Query(description="End of the period, exclusive. Without it, now.")]
By = Annotated[Literal["hour", "day"], Query(description="Length of the intervals (UTC).")]


@stats.get(
    "/v1/stats", operation_id="listStats", summary="Get message statistics.", responses=problems()
)
async def list_stats(
    caller: Caller,
    statistics: Annotated[Statistics, Depends(service_of(Statistics))],
    domain: OneDomain = None,
    since: Since = None,
    until: Until = None,
    by: By = "hour",
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[StatsView]:
    """By time, domain and outcome; combinations without messages are left out. Figures lag a few
    seconds behind and are kept for 400 days. Outgoing messages count for the domain of the
    sender, forwarded ones for the domain of the alias. Mail refused before its content is known is
    counted in the metrics of smtp-in only.
    """
    span = _span(domain, since, until, by)
    found = await _figures(caller, statistics, span, cursor, limit + 1)
    return page(
        found,
        limit,
        StatsView.from_figure,
        lambda line: f"{line.at.isoformat()} {line.outcome} {line.domain}",
    )


@stats.get(
    "/v1/stats/series",
    operation_id="getStatsSeries",
    summary="Get message statistics as series.",
    responses=problems(),
)
async def get_stats_series(
    caller: Caller,
    statistics: Annotated[Statistics, Depends(service_of(Statistics))],
    domain: OneDomain = None,
    since: Since = None,
    until: Until = None,
    by: By = "hour",
    by_domain: Annotated[
        bool,
        Query(description="Series of each domain, of the 100 with the most messages, not of all."),
    ] = False,
) -> StatsSeriesView:
    """Every interval has a number, zero where there were no messages, and so has every outcome
    unless `by_domain`. Refused, quarantined and junk messages have a series of all, and one of each
    reason. At most 800 intervals.
    """
    span = _span(domain, since, until, by)
    at = intervals(span)
    if len(at) > MOST_INTERVALS:
        raise ValidationFailed(
            FieldError("since", f"the period has more than {MOST_INTERVALS} intervals")
        )
    whole = replace(span, since=at[0])
    figures = await statistics.series(
        caller.tenant, whole, by_domain=by_domain, most_domains=MOST_DOMAINS
    )
    return filled(figures, at, by_domain=by_domain)


def _span(
    domain: str | None, since: datetime | None, until: datetime | None, by: Literal["hour", "day"]
) -> Span:
    try:
        end = (until or datetime.now(UTC)).astimezone(UTC)
        begin = end - _DEFAULT if since is None else since.astimezone(UTC)
        if not begin < end <= begin + _LONGEST:
            raise ValidationFailed(FieldError("since", "must be before until, by at most 400 days"))
    except OverflowError:
        raise ValidationFailed(FieldError("since", "not a valid time")) from None
    return Span(None if domain is None else domain_in("domain", domain), begin, end, by)


async def _figures(
    caller: ApiKey, statistics: Statistics, span: Span, cursor: str | None, limit: int
) -> list[Figure]:
    after: tuple[datetime, str, str] | None = None
    if key := text_after(cursor):
        moment, _, rest = key.partition(" ")
        outcome, _, domain = rest.partition(" ")
        try:
            after = datetime.fromisoformat(moment).astimezone(UTC), domain, outcome
        except (ValueError, OverflowError):
            raise ValidationFailed(FieldError("cursor", "not a next_cursor of this list")) from None
    return list(await statistics.figures(caller.tenant, span, after, limit))
