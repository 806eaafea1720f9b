"""The operation on statistics."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from fastapi import Depends, Query, Request
from pydantic import AwareDatetime, BaseModel, Field

from posthorn.ports.api_keys import ApiKey
from posthorn.ports.errors import FieldError, ValidationFailed
from posthorn.ports.statistics import Figure, Span, Statistics
from posthorn_api.directory.service import domain_in
from posthorn_api.http.operations import Caller, problems, router
from posthorn_api.http.pagination import Cursor, Limit, page, text_after
from posthorn_api.http.schemas import Page

stats = router("statistics")

_DEFAULT = timedelta(days=7)
_LONGEST = timedelta(days=400)


class StatsView(BaseModel):
    """How many messages of one outcome, in one hour or day, of one domain."""

    at: datetime = Field(description="When the hour or day (UTC) begins.")
    domain: str | None = Field(
        description="Null: no address of a domain here is known, as with mail sent with an API key."
    )
    outcome: Literal["accepted", "delivered", "relayed", "deferred", "bounced", "cancelled"] = Field(
        description="accepted: handed in by accounts or over the API. delivered: into mailboxes here. relayed: taken by a remote"
        " host. deferred: attempts that failed for now. bounced, cancelled: given up."
    )
    messages: int = Field(description="Messages; except for accepted, one for each recipient.")
    octets: int = Field(description="Of accepted, delivered and relayed messages.")

    @classmethod
    def of(cls, figure: Figure) -> StatsView:
        """Show a figure."""
        return cls(
            at=figure.at,
            domain=figure.domain or None,
            outcome=figure.outcome,  # type: ignore[arg-type]
            messages=figure.messages,
            octets=figure.octets,
        )


def _statistics(request: Request) -> Statistics:
    found: Statistics = request.app.state.statistics
    return found


Moment = Annotated[AwareDatetime | None, Query(examples=["2036-01-01T00:00:00Z"])]


@stats.get("/v1/stats", operation_id="listStats", summary="Count messages", responses=problems())
async def list_stats(
    caller: Caller,
    statistics: Annotated[Statistics, Depends(_statistics)],
    domain: Annotated[str | None, Query(max_length=1000, description="Only of this domain.")] = None,
    since: Annotated[Moment, Query(description="Without it, seven days before the end.")] = None,
    until: Annotated[Moment, Query(description="Not included. Without it, now.")] = None,
    by: Annotated[Literal["hour", "day"], Query(description="What is counted together (UTC).")] = "hour",
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[StatsView]:
    """By time, domain and outcome; what did not happen has no line. Figures are a few seconds behind, and are kept for 400 days.
    What goes out counts for the sender's domain, and what an alias forwards for the alias's. Mail that is refused is not counted
    here, but in the metrics of smtp-in."""
    try:
        end = (until or datetime.now(UTC)).astimezone(UTC)
        begin = end - _DEFAULT if since is None else since.astimezone(UTC)
        if not begin < end <= begin + _LONGEST:
            raise ValidationFailed(FieldError("since", "it must be before until, by 400 days at most"))
    except OverflowError:
        raise ValidationFailed(FieldError("since", "this time makes no sense")) from None
    name = None if domain is None else domain_in("domain", domain)
    found = await _figures(caller, statistics, Span(name, begin, end, by), cursor, limit + 1)
    return page(found, limit, StatsView.of, lambda line: f"{line.at.isoformat()} {line.outcome} {line.domain}")


async def _figures(caller: ApiKey, statistics: Statistics, span: Span, cursor: str | None, limit: int) -> list[Figure]:
    after: tuple[datetime, str, str] | None = None
    if key := text_after(cursor):
        moment, _, rest = key.partition(" ")
        outcome, _, domain = rest.partition(" ")
        try:
            after = datetime.fromisoformat(moment).astimezone(UTC), domain, outcome
        except (ValueError, OverflowError):
            raise ValidationFailed(FieldError("cursor", "this is no next_cursor of this list")) from None
    return list(await statistics.figures(caller.tenant, span, after, limit))
