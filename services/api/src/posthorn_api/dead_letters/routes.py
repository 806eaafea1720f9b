"""Operations on dead letters, which the API calls parked messages."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Path, Response

from posthorn_api.dead_letters.schemas import DeadLetterView, Retried
from posthorn_api.dead_letters.service import DeadLetterService
from posthorn_api.http.operations import POST_ONLY, Platform, problems, router, service_of
from posthorn_api.http.pagination import Cursor, Limit, number_in, page
from posthorn_api.http.schemas import Page

dead = router("Parked messages")

DeadLetters = Annotated[DeadLetterService, Depends(service_of(DeadLetterService))]
Sequence = Annotated[
    int, Path(ge=1, le=2**63 - 1, description="Sequence number of the message, from the list.")
]


@dead.get(
    "/v1/dead",
    operation_id="listDeadLetters",
    summary="List parked messages.",
    responses=problems(),
)
async def list_dead_letters(
    _: Platform, service: DeadLetters, limit: Limit = 50, cursor: Cursor = None
) -> Page[DeadLetterView]:
    """Messages that were accepted and could not be delivered, oldest first. Nothing is removed from
    this list automatically.
    """
    found = await service.parked(number_in(cursor) or 0, limit + 1)
    return page(found, limit, DeadLetterView.from_parked, lambda parked: parked.sequence)


@dead.post(
    "/v1/dead/{sequence}/retry",
    operation_id="retryDeadLetter",
    summary="Retry a parked message.",
    status_code=202,
    response_model=Retried,
    responses=problems(404),
    dependencies=POST_ONLY,
)
async def retry_dead_letter(sequence: Sequence, _: Platform, service: DeadLetters) -> Response:
    """The message leaves the list; if it fails again, it is parked again under another number."""
    await service.retry(sequence)
    return Response(
        Retried(sequence=sequence).model_dump_json(), 202, media_type="application/json"
    )


@dead.delete(
    "/v1/dead/{sequence}",
    operation_id="discardDeadLetter",
    summary="Discard a parked message.",
    status_code=204,
    responses=problems(404),
)
async def discard_dead_letter(sequence: Sequence, _: Platform, service: DeadLetters) -> Response:
    """The message is deleted permanently."""
    await service.discard(sequence)
    return Response(status_code=204)
