"""Operations on the quarantine."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from fastapi import Depends, Path, Query, Request, Response
from pydantic import AwareDatetime
from starlette.responses import StreamingResponse

from posthorn.ports.quarantine import QuarantineFilter
from posthorn_api.http.operations import (
    BODY_PROBLEMS,
    POST_ONLY,
    Caller,
    problems,
    router,
    service_of,
)
from posthorn_api.http.pagination import SORT, AskedList, OfTenant, listed
from posthorn_api.http.schemas import Line, Page
from posthorn_api.http.untrusted_content import UNTRUSTED_CONTENT_HEADERS
from posthorn_api.mailboxes.message_routes import pieces_of
from posthorn_api.quarantine.schemas import (
    MOST_AT_ONCE,
    QuarantinedView,
    QuarantineRelease,
    QuarantineSelection,
    ReleasedView,
    ReleasesView,
)
from posthorn_api.quarantine.service import QuarantineService

quarantine = router("Quarantine")

Quarantine = Annotated[QuarantineService, Depends(service_of(QuarantineService))]
CopyPath = Annotated[
    UUID, Path(alias="id", description="Id of the copy in quarantine, from the list.")
]


@quarantine.get(
    "/v1/quarantine",
    operation_id="listQuarantine",
    summary="List the quarantine.",
    responses=problems(404),
)
async def list_quarantine(
    caller: Caller,
    service: Quarantine,
    asked: AskedList,
    account: Annotated[Line | None, Query(description="Address of an account.")] = None,
    domain: Annotated[Line | None, Query(description="Domain of the recipient.")] = None,
    reason: Annotated[Literal["virus", "dmarc", "score", "blocked"] | None, Query()] = None,
    message: Annotated[UUID | None, Query(description="Id of a message.")] = None,
    since: Annotated[
        AwareDatetime | None, Query(description="Withheld at this time or later.")
    ] = None,
    tenant: OfTenant = None,
    sort: Annotated[
        Literal["created", "-created", "score", "-score"] | None, Query(description=SORT)
    ] = None,
) -> Page[QuarantinedView]:
    """Newest first. `q` is part of the recipient, of the reason in words, or of From or Subject as
    they are written in the message. Each copy is that of one account, or that of an alias which
    would have sent it on. Copies are removed after 30 days, unless the installation keeps them for
    another time.
    """
    which = QuarantineFilter(account, domain, reason, message, since)
    found = await service.items(caller, which, asked.query(sort, owner=tenant))
    return listed(found, QuarantinedView.of, sort)


@quarantine.get(
    "/v1/quarantine/{id}",
    operation_id="getQuarantined",
    summary="Get a copy in quarantine.",
    responses=problems(404),
)
async def get_quarantined(number: CopyPath, caller: Caller, service: Quarantine) -> QuarantinedView:
    """The content is not included."""
    return QuarantinedView.of(await service.item(caller, number))


@quarantine.get(
    "/v1/quarantine/{id}/raw",
    operation_id="getRawQuarantined",
    summary="Download a message in quarantine.",
    response_class=Response,
    responses={
        200: {
            "description": "The bytes of the message.",
            "content": {"message/rfc822": {"schema": {"type": "string", "format": "binary"}}},
        },
        **problems(404),
    },
)
async def get_raw_quarantined(
    number: CopyPath, caller: Caller, service: Quarantine, request: Request
) -> Response:
    """The whole message, with the trace fields that were added on arrival. It may hold a virus."""
    copy, first, rest = await service.raw(caller, number)
    request.state.content_of = copy.account or copy.recipient
    headers = {
        "Content-Length": str(copy.size),
        "Content-Disposition": f'attachment; filename="{copy.message}.eml"',
        **UNTRUSTED_CONTENT_HEADERS,
    }
    return StreamingResponse(pieces_of(first, rest), 200, headers, "message/rfc822")


@quarantine.post(
    "/v1/quarantine/{id}/release",
    operation_id="releaseQuarantined",
    summary="Release a copy from quarantine.",
    responses=problems(404, 409, *BODY_PROBLEMS),
    dependencies=POST_ONLY,
)
async def release_quarantined(
    number: CopyPath, body: QuarantineRelease, caller: Caller, service: Quarantine
) -> QuarantinedView:
    """Delivers the copy to INBOX, or sends on what the alias would have sent on, with the original
    envelope. The answer shows the copy as it was. Refused with 409 (conflict) if the account has
    no room for it.
    """
    released = await service.release(caller, number, is_ham=body.classify == "ham")
    return QuarantinedView.of(released)


@quarantine.post(
    "/v1/quarantine/release",
    operation_id="releaseAllQuarantined",
    summary="Release several copies from quarantine.",
    responses=problems(404, *BODY_PROBLEMS),
    dependencies=POST_ONLY,
)
async def release_all_quarantined(
    body: QuarantineSelection, caller: Caller, service: Quarantine
) -> ReleasesView:
    """Each copy by itself: the answer has the result for each."""
    results, more = await service.release_all(
        caller, body.ids, body.message, MOST_AT_ONCE, is_ham=body.classify == "ham"
    )
    items = [
        ReleasedView(
            id=each.id,
            recipient=each.recipient,
            released=each.refusal is None,
            detail=each.refusal,
        )
        for each in results
    ]
    return ReleasesView(items=items, more=more)


@quarantine.delete(
    "/v1/quarantine/{id}",
    operation_id="deleteQuarantined",
    summary="Delete a copy in quarantine.",
    status_code=204,
    responses=problems(404),
)
async def delete_quarantined(number: CopyPath, caller: Caller, service: Quarantine) -> Response:
    """The copy is removed permanently; other copies of the message stay."""
    await service.delete(caller, number)
    return Response(status_code=204)
