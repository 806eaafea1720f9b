"""The search for messages that were filtered."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import Depends, Query
from pydantic import AwareDatetime, BaseModel, Field

from posthorn.model.events import Event
from posthorn.ports.errors import FieldError, ValidationFailed
from posthorn_api.http.operations import Caller, problems, router, service_of
from posthorn_api.http.pagination import Cursor, Limit, part_of_list, text_after
from posthorn_api.http.schemas import Line, Page
from posthorn_api.search.service import Place, SearchFilter, SearchService

searches = router("Traces")


class FoundEventView(BaseModel):
    """What happened to a message."""

    message: UUID = Field(description="Id of the message; its trace shows the rest.")
    at: datetime
    kind: Literal["refused", "quarantined", "filed"]
    detail: dict[str, Any] = Field(
        description="Recipients, author, reverse_path, reason, rule, score and, of refusals, client and reply."
    )

    @classmethod
    def of(cls, event: Event) -> FoundEventView:
        """Show one."""
        return cls(
            message=event.message,
            at=datetime.fromtimestamp(event.at, UTC),
            kind=event.kind,  # type: ignore[arg-type]
            detail=dict(event.detail),
        )


@searches.get(
    "/v1/messages",
    operation_id="searchMessages",
    summary="Search messages refused, quarantined or filed in Junk.",
    responses=problems(),
)
async def search_messages(
    caller: Caller,
    service: Annotated[SearchService, Depends(service_of(SearchService))],
    outcome: Annotated[Literal["refused", "quarantined", "junk"] | None, Query()] = None,
    recipient: Annotated[Line | None, Query(description="An address of a recipient.")] = None,
    sender: Annotated[
        Line | None, Query(description="Address of the author, or the reverse-path.")
    ] = None,
    reason: Annotated[
        Line | None, Query(description="Such as virus, dmarc, score, blocked or listed.")
    ] = None,
    since: Annotated[
        AwareDatetime | None,
        Query(description="Recorded at this time or later. Without it, a day ago."),
    ] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[FoundEventView]:
    """Oldest first, as far back as events are kept. A tenant sees what was addressed to its own
    domains. A page examines a bounded number of events: it may hold fewer than `limit` items, or
    none, and still have a `next_cursor` to continue with.
    """
    which = SearchFilter(outcome, recipient, sender, reason, since)
    events, place = await service.events(caller, which, _place(cursor), limit)
    return part_of_list(
        events, FoundEventView.of, None if place is None else f"{place[0]}.{place[1]}"
    )


def _place(cursor: str | None) -> Place | None:
    text = text_after(cursor)
    if not text:
        return None
    sequence, _, line = text.partition(".")
    if not (sequence.isascii() and sequence.isdecimal() and line.isascii() and line.isdecimal()):
        raise ValidationFailed(FieldError("cursor", "not a next_cursor of this list"))
    return min(int(sequence), 2**62), min(int(line), 2**31)
