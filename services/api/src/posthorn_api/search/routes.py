"""The search for messages."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Depends, Query
from pydantic import AwareDatetime

from posthorn.ports.errors import FieldError, ValidationFailed
from posthorn_api.http.operations import Caller, problems, router, service_of
from posthorn_api.http.pagination import SORT, Asked, Cursor, Limit, Total, listed
from posthorn_api.http.schemas import Line, Page
from posthorn_api.search.schemas import Direction, FoundMessageView, Outcome
from posthorn_api.search.service import MessageQuery, SearchService

searches = router("Traces")

_SENDER = "Author or reverse-path: an address, or a domain."
_RECIPIENT = "Recipient, or where an alias sent the message on to: an address, or a domain."


@searches.get(
    "/v1/messages",
    operation_id="searchMessages",
    summary="Search messages, whatever happened to them.",
    responses=problems(),
)
async def search_messages(
    caller: Caller,
    service: Annotated[SearchService, Depends(service_of(SearchService))],
    q: Annotated[
        Line | None,
        Query(
            description="Id of the message, or any of: address, `@` and domain, Message-ID, words"
            " of the subject. All parts must match.",
        ),
    ] = None,
    from_: Annotated[Line | None, Query(alias="from", description=_SENDER)] = None,
    to: Annotated[Line | None, Query(description=_RECIPIENT)] = None,
    subject: Annotated[Line | None, Query(description="Words of the subject.")] = None,
    direction: Annotated[Direction | None, Query()] = None,
    outcome: Annotated[Outcome | None, Query()] = None,
    recipient: Annotated[Line | None, Query(description="The same as `to`.")] = None,
    sender: Annotated[Line | None, Query(description="The same as `from`.")] = None,
    reason: Annotated[
        Line | None, Query(description="Such as virus, dmarc, score, blocked or listed.")
    ] = None,
    after: Annotated[AwareDatetime | None, Query(description="Received then or later.")] = None,
    before: Annotated[AwareDatetime | None, Query(description="Received earlier.")] = None,
    since: Annotated[AwareDatetime | None, Query(description="The same as `after`.")] = None,
    tenant: Annotated[Line | None, Query(description="Name or id of the tenant.")] = None,
    sort: Annotated[Literal["received", "-received"] | None, Query(description=SORT)] = None,
    total: Total = False,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[FoundMessageView]:
    """The newest first, an item for each recipient, as far back as events are kept. Incoming,
    outgoing, refused and quarantined messages are found a few seconds after they came. A tenant
    finds what its domains sent and received, without the recipients of other tenants; what goes
    from one tenant to another is found by each.
    """
    query = MessageQuery(
        q=q,
        sender=_one("from", from_, sender),
        recipient=_one("to", to, recipient),
        subject=subject,
        direction=direction,
        outcome=outcome,
        reason=reason,
        after=_one("after", after, since),
        before=before,
        tenant=tenant,
    )
    asked = Asked(limit, cursor, None, total)
    found = await service.messages(caller, query, asked.query(sort))
    return listed(found, FoundMessageView.from_entry, sort)


def _one[T](name: str, value: T | None, other: T | None) -> T | None:
    if value is not None and other is not None:
        raise ValidationFailed(FieldError(name, "given twice, by both of its names"))
    return other if value is None else value
