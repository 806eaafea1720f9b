"""Statistics as series: a number for every interval of a period, zeros included."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from pydantic import Field

from posthorn.ports import statistics as outcomes
from posthorn.ports.statistics import BY, Figure, Span
from posthorn_api.http.schemas import ApiModel

MOST_INTERVALS = 800
MOST_DOMAINS = 100
_OUTCOMES = (
    outcomes.ACCEPTED,
    outcomes.DELIVERED,
    outcomes.RELAYED,
    outcomes.DEFERRED,
    outcomes.BOUNCED,
    outcomes.CANCELLED,
    outcomes.REFUSED,
    outcomes.QUARANTINED,
    outcomes.JUNK,
)

type _Key = tuple[str, str, str | None]
"""Domain, outcome, reason."""


class SeriesView(ApiModel):
    """Messages with one outcome, in each interval."""

    domain: str | None = Field(description="Null: all domains, or no local domain is involved.")
    outcome: str = Field(description="As in the list of figures.")
    reason: str | None = Field(
        description="Of refused, quarantined and junk: those with this reason; null: all of them."
    )
    messages: list[int] = Field(description="A number for each interval.")
    size_bytes: list[int] = Field(description="The same of their sizes.")
    total: int = Field(description="Sum of `messages`.")


class StatsSeriesView(ApiModel):
    """Statistics as series."""

    at: list[datetime] = Field(description="Start of each interval (UTC).")
    series: list[SeriesView]


def intervals(span: Span) -> list[datetime]:
    """Return the starts of the hours or days that a period touches; more than MOST_INTERVALS only
    as far as that shows."""
    step = timedelta(hours=1) if span.by == "hour" else timedelta(days=1)
    at = span.since.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    if span.by == "day":
        at = at.replace(hour=0)
    found: list[datetime] = []
    while at < span.until and len(found) <= MOST_INTERVALS:
        found.append(at)
        at += step
    return found


def filled(
    figures: Iterable[Figure], at: Sequence[datetime], *, by_domain: bool
) -> StatsSeriesView:
    """Return series with a number for each interval: of every outcome, of each reason that there
    is, and, if wanted, of each domain that has any."""
    places = {moment: place for place, moment in enumerate(at)}
    sums: defaultdict[_Key, tuple[list[int], list[int]]] = defaultdict(
        lambda: ([0] * len(at), [0] * len(at))
    )
    for figure in figures:
        outcome, _, reason = figure.outcome.partition(BY)
        place = places.get(figure.at.astimezone(UTC))
        for key in {(figure.domain, outcome, None), (figure.domain, outcome, reason or None)}:
            if place is not None:
                sums[key][0][place] += figure.messages
                sums[key][1][place] += figure.octets
    if not by_domain:
        for outcome in _OUTCOMES:
            sums["", outcome, None]  # one without messages is all zeros
    ordered = sorted(sums.items(), key=lambda each: _order(each[0]))
    return StatsSeriesView(
        at=list(at),
        series=[
            SeriesView(
                domain=domain or None,
                outcome=outcome,
                reason=reason,
                messages=messages,
                size_bytes=sizes,
                total=sum(messages),
            )
            for (domain, outcome, reason), (messages, sizes) in ordered
        ],
    )


def _order(key: _Key) -> tuple[str, int, str]:
    domain, outcome, reason = key
    known = _OUTCOMES.index(outcome) if outcome in _OUTCOMES else len(_OUTCOMES)
    return domain, known, reason or ""
