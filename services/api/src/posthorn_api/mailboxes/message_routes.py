"""Operations on the mail of accounts."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Annotated

from fastapi import Query, Response
from pydantic import AwareDatetime, Field
from starlette.responses import StreamingResponse

from posthorn.ports.account_mail import Which
from posthorn_api.http.operations import (
    AddressPath,
    Caller,
    problems,
    router,
)
from posthorn_api.http.pagination import Cursor, Limit, number_in, part_of_list
from posthorn_api.http.schemas import Line, Page
from posthorn_api.http.untrusted_content import UNTRUSTED_CONTENT_HEADERS
from posthorn_api.mailboxes.routes import ONE_MESSAGE as _ONE
from posthorn_api.mailboxes.routes import Mailboxes, MessagePath
from posthorn_api.mailboxes.schemas import MessageView

messages = router("Messages")

Octets = Annotated[int, Field(ge=0, le=2**62)]


@messages.get(
    "/v1/accounts/{address:address}/messages",
    operation_id="listMessages",
    summary="List or search the messages of a mailbox.",
    responses=problems(404),
)
async def list_messages(
    address: AddressPath,
    caller: Caller,
    service: Mailboxes,
    mailbox: Annotated[
        Line,
        Query(
            description="INBOX, Junk, Sent, Trash, Drafts, Archive, or another mailbox of the account."
        ),
    ] = "INBOX",
    from_: Annotated[
        Line | None, Query(alias="from", description="Text that the decoded From field contains.")
    ] = None,
    subject: Annotated[
        Line | None, Query(description="Text that the decoded Subject field contains.")
    ] = None,
    message_id: Annotated[
        Line | None, Query(description="Text that the Message-ID field contains.")
    ] = None,
    since: Annotated[
        AwareDatetime | None, Query(description="Received at this time or later.")
    ] = None,
    until: Annotated[AwareDatetime | None, Query(description="Received before this time.")] = None,
    larger: Annotated[Octets | None, Query(description="Larger than this, in bytes.")] = None,
    smaller: Annotated[Octets | None, Query(description="Smaller than this, in bytes.")] = None,
    seen: Annotated[bool | None, Query(description="Whether the message has been seen.")] = None,
    text: Annotated[
        Line | None,
        Query(description="Text that the header or the body contains, as in IMAP's SEARCH TEXT."),
    ] = None,
    body: Annotated[
        Line | None,
        Query(description="Text that the body contains, as in IMAP's SEARCH BODY."),
    ] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[MessageView]:
    """Newest first. Searches ignore case. A page of a search examines a few thousand messages, with
    `text` or `body` a few hundred, and then stops: it may hold fewer than `limit` items, or none,
    and still have a `next_cursor` to continue with.

    `text` and `body` are looked for in decoded header fields and in the decoded text of all text
    parts, of HTML in what is shown and where links lead.
    """
    which = Which(from_, subject, message_id, since, until, larger, smaller, seen, text, body)
    found = await service.messages(caller, address, mailbox, which, number_in(cursor), limit)
    return part_of_list(found.messages, MessageView.from_message, found.next)


@messages.get(
    _ONE,
    operation_id="getMessage",
    summary="Get the metadata of a message.",
    responses=problems(404),
)
async def get_message(
    address: AddressPath, message: MessagePath, caller: Caller, service: Mailboxes
) -> MessageView:
    """The body is not included."""
    return MessageView.from_message(await service.message(caller, address, message))


@messages.get(
    f"{_ONE}/raw",
    operation_id="getRawMessage",
    summary="Download a message.",
    response_class=Response,
    responses={
        200: {
            "description": "The bytes of the message, exactly as POP3 transmits them.",
            "content": {"message/rfc822": {"schema": {"type": "string", "format": "binary"}}},
        },
        **problems(404),
    },
)
async def get_raw_message(
    address: AddressPath, message: MessagePath, caller: Caller, service: Mailboxes
) -> Response:
    """The whole message, with the trace fields that were added on arrival."""
    size, first, rest = await service.raw(caller, address, message)
    headers = {
        "Content-Length": str(size),
        "Content-Disposition": f'attachment; filename="{message}.eml"',
        **UNTRUSTED_CONTENT_HEADERS,
    }
    return StreamingResponse(pieces_of(first, rest), 200, headers, "message/rfc822")


async def pieces_of(first: bytes, rest: AsyncGenerator[bytes]) -> AsyncIterator[bytes]:
    """Yield the bytes of an answer that has begun."""
    async with aclosing(rest):
        yield first
        async for piece in rest:
            yield piece


@messages.delete(
    _ONE,
    operation_id="deleteMessage",
    summary="Delete a message.",
    status_code=204,
    responses=problems(404),
)
async def delete_message(
    address: AddressPath, message: MessagePath, caller: Caller, service: Mailboxes
) -> Response:
    """Removes the message from every mailbox of the account; it no longer counts against the
    quota."""
    await service.delete_message(caller, address, message)
    return Response(status_code=204)
