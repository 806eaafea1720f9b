"""Operations on the mail of accounts, and on dead letters."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Annotated

from fastapi import Path, Query, Response
from pydantic import AwareDatetime, Field
from starlette.responses import StreamingResponse

from posthorn.ports.account_mail import Which
from posthorn_api.http.operations import POST_ONLY, AddressPath, Caller, Decisions, Platform, problems, router
from posthorn_api.http.pagination import Cursor, Limit, number_in, page, part_of_list
from posthorn_api.http.schemas import DeadLetterView, Line, MessageView, Page, Retried
from posthorn_api.http.untrusted_content import UNTRUSTED_CONTENT_HEADERS
from posthorn_api.mailboxes.routes import ONE_MESSAGE as _ONE
from posthorn_api.mailboxes.routes import MailDecisions, MessagePath

messages = router("messages")
dead = router("dead letters")

Octets = Annotated[int, Field(ge=0, le=2**62)]
Sequence = Annotated[int, Path(ge=1, le=2**63 - 1, description="The letter's number, from the list.")]


@messages.get(
    "/v1/accounts/{address:address}/messages",
    operation_id="listMessages",
    summary="List or search the messages of a mailbox",
    responses=problems(404),
)
async def list_messages(
    address: AddressPath,
    caller: Caller,
    service: MailDecisions,
    mailbox: Annotated[Line, Query(description="INBOX, Junk, Sent, Trash, or one of the owner's own.")] = "INBOX",
    from_: Annotated[Line | None, Query(alias="from", description="A part of the From field, decoded.")] = None,
    subject: Annotated[Line | None, Query(description="A part of the Subject field, decoded.")] = None,
    message_id: Annotated[Line | None, Query(description="A part of the Message-ID field.")] = None,
    since: Annotated[AwareDatetime | None, Query(description="Received then or later.")] = None,
    until: Annotated[AwareDatetime | None, Query(description="Received before.")] = None,
    larger: Annotated[Octets | None, Query(description="Of more octets than that.")] = None,
    smaller: Annotated[Octets | None, Query(description="Of fewer octets than that.")] = None,
    seen: Annotated[bool | None, Query(description="Whether it has been seen.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[MessageView]:
    """Newest first. A page of a search looks at a few thousand messages and then stops: it may hold fewer than `limit`, or none,
    and still have a `next_cursor` to go on with. Letters of either case are the same."""
    which = Which(from_, subject, message_id, since, until, larger, smaller, seen)
    found = await service.messages(caller, address, mailbox, which, number_in(cursor), limit)
    return part_of_list(found.messages, MessageView.of, found.next)


@messages.get(_ONE, operation_id="getMessage", summary="Show what is known of a message", responses=problems(404))
async def get_message(
    address: AddressPath, message: MessagePath, caller: Caller, service: MailDecisions
) -> MessageView:
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
async def get_raw_message(
    address: AddressPath, message: MessagePath, caller: Caller, service: MailDecisions
) -> Response:
    """All of it, with the trace fields that were added at its arrival."""
    size, first, rest = await service.raw(caller, address, message)
    headers = {
        "Content-Length": str(size),
        "Content-Disposition": f'attachment; filename="{message}.eml"',
        **UNTRUSTED_CONTENT_HEADERS,
    }
    return StreamingResponse(pieces_of(first, rest), 200, headers, "message/rfc822")


async def pieces_of(first: bytes, rest: AsyncGenerator[bytes]) -> AsyncIterator[bytes]:
    """Give the octets of an answer that has begun."""
    async with aclosing(rest):
        yield first
        async for piece in rest:
            yield piece


@messages.delete(
    _ONE, operation_id="deleteMessage", summary="Delete a message", status_code=204, responses=problems(404)
)
async def delete_message(
    address: AddressPath, message: MessagePath, caller: Caller, service: MailDecisions
) -> Response:
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
