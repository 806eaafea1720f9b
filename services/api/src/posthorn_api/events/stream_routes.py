"""The operation that follows the events: server-sent events (WHATWG HTML §9.2)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import ExitStack, aclosing
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Header, Query, Request, Response

from posthorn.ports.errors import FieldError, NotFound, ValidationFailed
from posthorn_api.events.feed import EventFeed, Place, Placed, place_in
from posthorn_api.events.kinds import Kind
from posthorn_api.http.asgi import EVENT_STREAM
from posthorn_api.http.event_stream import EventStream, server_event
from posthorn_api.http.guard import Guard
from posthorn_api.http.operations import Caller, problems, router, service_of
from posthorn_api.http.pagination import OfTenant
from posthorn_api.http.permissions import rule_of
from posthorn_api.tenants.service import TenantService
from posthorn_api.webhooks.matching import document

following = router("Events")

HEARTBEAT_SECONDS = 15.0
_RETRY_MILLISECONDS = 3_000

_EXAMPLE = (
    "id: 1793000000000000-4711-0\n"
    'data: {"type": "delivered", "timestamp": "2036-01-01T00:00:00.000Z", "data": {"message":'
    ' "01a20715-6d61-7a3e-9f0b-2f3a5c7d9e11", "recipients": ["alice@example.test"]}}\n\n'
)


@following.get(
    "/v1/events/stream",
    operation_id="followEvents",
    summary="Follow the events of messages as they happen.",
    response_class=Response,
    responses={
        200: {
            "description": "Server-sent events, without end.",
            "content": {EVENT_STREAM: {"schema": {"type": "string"}, "example": _EXAMPLE}},
        },
        **problems(),
    },
)
async def follow_events(
    request: Request,
    caller: Caller,
    feed: Annotated[EventFeed, Depends(service_of(EventFeed))],
    tenants: Annotated[TenantService, Depends(service_of(TenantService))],
    kinds: Annotated[
        list[Kind] | None, Query(alias="type", description="Only events of these types.")
    ] = None,
    message: Annotated[
        UUID | None, Query(description="Only events of the message with this id.")
    ] = None,
    tenant: OfTenant = None,
    after: Annotated[
        str | None,
        Query(max_length=100, description="As Last-Event-ID, for clients that cannot set it."),
    ] = None,
    last_event_id: Annotated[
        str | None,
        Header(
            alias="Last-Event-ID",
            description="The id of the last event that was received: those after it follow first.",
        ),
    ] = None,
) -> Response:
    """Each message is an event as webhooks get it (`type`, `timestamp`, `data`) with an id. A tenant
    gets the events that its webhooks would get. An event may come twice.

    Messages with an event name are about the connection. `gap`: events were missed that are not
    retained any more. `behind`: the client reads too slowly; nothing is lost. `end`: the caller may
    not go on, with `status` and `detail`. A comment comes every 15 seconds if nothing else does. A
    caller may have 10 connections to a server, and all callers of a tenant 50.
    """
    held = ExitStack()
    held.enter_context(feed.room(caller))
    try:
        whose = caller.tenant
        if tenant is not None:
            whose = await _tenant_named(tenants, caller, tenant)
        begin = await _begin(feed, last_event_id or after)
    except BaseException:
        held.close()
        raise
    guard: Guard = request.app.state.guard
    rule = rule_of("followEvents")
    followed = feed.follow(whose, frozenset(kinds or ()), begin, HEARTBEAT_SECONDS, message)
    return EventStream(
        _pieces(followed), lambda: guard.callers.check_still(request, rule), feed.closing, held
    )


async def _tenant_named(tenants: TenantService, caller: Any, named: str) -> UUID:
    try:
        return (await tenants.tenant(caller, named)).id
    except NotFound:
        raise ValidationFailed(FieldError("tenant", "there is no such tenant")) from None


async def _begin(feed: EventFeed, text: str | None) -> Place:
    end = await feed.here()
    if not text:
        return end
    place = place_in(text)
    if place is None:
        raise ValidationFailed(FieldError("Last-Event-ID", "not the id of an event of this stream"))
    return place


async def _pieces(followed: AsyncGenerator[Placed]) -> AsyncIterator[bytes]:
    yield b"retry: %d\n: following\n\n" % _RETRY_MILLISECONDS
    async with aclosing(followed) as places:
        async for placed in places:
            head = f"id: {placed.next}\n".encode()
            if placed.event is not None:
                yield head + server_event("", document(placed.event))
            elif placed.notice == "here":
                yield b": nothing new\n" + head + b"\n"
            else:
                yield head + server_event(placed.notice, {})
