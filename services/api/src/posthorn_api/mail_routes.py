"""Operations on the mail of accounts, and on dead letters."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Annotated
from uuid import UUID

from fastapi import Path, Query, Response
from starlette.responses import StreamingResponse

from posthorn_api.operations import POST_ONLY, AddressPath, Caller, Decisions, Platform, problems, router
from posthorn_api.paging import Cursor, Limit, number_in, page
from posthorn_api.schemas import DeadLetterView, Line, MessageView, Page, Retried

messages = router("messages")
dead = router("dead letters")

MessagePath = Annotated[UUID, Path(alias="id", description="The message's id.")]
Sequence = Annotated[int, Path(ge=1, le=2**63 - 1, description="The letter's number, from the list.")]
_ONE = "/v1/accounts/{address:address}/messages/{id}"


@messages.get(
    "/v1/accounts/{address:address}/messages",
    operation_id="listMessages",
    summary="List the messages of a mailbox",
    responses=problems(404),
)
async def list_messages(
    address: AddressPath,
    caller: Caller,
    service: Decisions,
    mailbox: Annotated[Line, Query(description="INBOX, Junk, Sent or Trash.")] = "INBOX",
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[MessageView]:
    """Newest first."""
    found = await service.messages(caller, address, mailbox, number_in(cursor), limit + 1)
    return page(found, limit, MessageView.of, lambda message: message.uid)


@messages.get(_ONE, operation_id="getMessage", summary="Show what is known of a message", responses=problems(404))
async def get_message(address: AddressPath, message: MessagePath, caller: Caller, service: Decisions) -> MessageView:
    """Without its body."""
    return MessageView.of(await service.message(caller, address, message))


@messages.get(
    f"{_ONE}/raw",
    operation_id="getRawMessage",
    summary="Fetch a message",
    response_class=Response,
    responses={
        200: {
            "description": "The octets of the message, exactly as POP3 gives them.",
            "content": {"message/rfc822": {"schema": {"type": "string", "format": "binary"}}},
        },
        **problems(404),
    },
)
async def get_raw_message(address: AddressPath, message: MessagePath, caller: Caller, service: Decisions) -> Response:
    """All of it, with the trace fields that were added at its arrival."""
    size, first, rest = await service.raw(caller, address, message)
    headers = {
        "Content-Length": str(size),
        "Content-Disposition": f'attachment; filename="{message}.eml"',
        "X-Content-Type-Options": "nosniff",
    }
    return StreamingResponse(_pieces(first, rest), 200, headers, "message/rfc822")


async def _pieces(first: bytes, rest: AsyncGenerator[bytes]) -> AsyncIterator[bytes]:
    async with aclosing(rest):
        yield first
        async for piece in rest:
            yield piece


@messages.delete(
    _ONE, operation_id="deleteMessage", summary="Delete a message", status_code=204, responses=problems(404)
)
async def delete_message(address: AddressPath, message: MessagePath, caller: Caller, service: Decisions) -> Response:
    """Out of every mailbox of the account; its octets count against the quota no more."""
    await service.delete_message(caller, address, message)
    return Response(status_code=204)


@dead.get("/v1/dead", operation_id="listDeadLetters", summary="List dead letters", responses=problems())
async def list_dead_letters(
    _: Platform, service: Decisions, limit: Limit = 50, cursor: Cursor = None
) -> Page[DeadLetterView]:
    """Messages that were accepted and could not be delivered, oldest first. Nothing leaves this list by itself."""
    found = await service.dead_letters(number_in(cursor) or 0, limit + 1)
    return page(found, limit, DeadLetterView.of, lambda parked: parked.sequence)


@dead.post(
    "/v1/dead/{sequence}/retry",
    operation_id="retryDeadLetter",
    summary="Try to deliver a dead letter again",
    status_code=202,
    response_model=Retried,
    responses=problems(404),
    dependencies=POST_ONLY,
)
async def retry_dead_letter(sequence: Sequence, _: Platform, service: Decisions) -> Response:
    """It leaves the list, and comes back under another number should it fail again."""
    await service.retry_dead_letter(sequence)
    return Response(Retried(sequence=sequence).model_dump_json(), 202, media_type="application/json")


@dead.delete(
    "/v1/dead/{sequence}",
    operation_id="discardDeadLetter",
    summary="Discard a dead letter",
    status_code=204,
    responses=problems(404),
)
async def discard_dead_letter(sequence: Sequence, _: Platform, service: Decisions) -> Response:
    """For good."""
    await service.discard_dead_letter(sequence)
    return Response(status_code=204)
