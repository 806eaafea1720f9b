"""The operation that sends a message."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import Depends, Request, Response

from posthorn_api.http.guard import Guard
from posthorn_api.http.large_bodies import SEND_PATH
from posthorn_api.http.operations import (
    BODY_PROBLEMS,
    POST_ONLY,
    Caller,
    problems,
    router,
    service_of,
)
from posthorn_api.sending.schemas import Sending as SendingBody
from posthorn_api.sending.schemas import SentView
from posthorn_api.sending.service import SendingService

sending = router("Sending")


@sending.post(
    SEND_PATH,
    operation_id="sendMessage",
    summary="Send a message.",
    status_code=202,
    response_model=SentView,
    responses=problems(429, *BODY_PROBLEMS),
    dependencies=POST_ONLY,
)
async def send_message(
    request: Request,
    body: SendingBody,
    caller: Caller,
    service: Annotated[SendingService, Depends(service_of(SendingService))],
) -> Response:
    """The message is stored durably once this is answered, and is handled like one that a mail
    client submits: delivered to the mailboxes of local recipients, and queued for other servers.
    With an `Idempotency-Key`, a repeated request does not send the message again, even if the
    first answer was lost.
    """
    guard: Guard = request.app.state.guard
    wish = await asyncio.to_thread(body.wish)
    number = await guard.attempts.first_attempt(request)
    client = request.client.host if request.client else ""
    sent = await service.send(caller, number, wish, client)
    view = SentView(id=sent.id, recipients=list(sent.recipients))
    return Response(
        view.model_dump_json(),
        202,
        {"Location": f"/v1/messages/{sent.id}/trace"},
        media_type="application/json",
    )
