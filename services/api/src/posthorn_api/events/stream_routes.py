"""The operation that follows the events: server-sent events (WHATWG HTML §9.2)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, aclosing, suppress
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import Depends, Header, Query, Request, Response
from starlette.types import Receive, Scope, Send

from posthorn.ports.errors import FieldError, NotFound, Unavailable, ValidationFailed
from posthorn_api.events.feed import EventFeed, Place, Placed, place_in
from posthorn_api.http.asgi import EVENT_STREAM
from posthorn_api.http.guard import Guard
from posthorn_api.http.operations import Caller, problems, router, service_of
from posthorn_api.http.pagination import OfTenant
from posthorn_api.http.permissions import rule_of
from posthorn_api.http.problems import Problem, problem_of
from posthorn_api.tenants.service import TenantService
from posthorn_api.webhooks.matching import document

following = router("Events")

HEARTBEAT_SECONDS = 15.0
_CHECK_SECONDS = 0.4
"""Together with the time for which the guard remembers a caller: under two seconds."""
_RETRY_MILLISECONDS = 3_000
_FAREWELL_SECONDS = 1.0

type Kind = Literal[
    "accepted",
    "delivered",
    "queued",
    "deferred",
    "bounced",
    "notice",
    "held",
    "released",
    "cancelled",
    "retried",
    "read",
    "scanned",
    "refused",
    "filed",
    "quarantined",
    "restored",
    "classified",
    "listed",
    "dns-changed",
    "complained",
]

_EXAMPLE = (
    "id: 1793000000000000-4711-0\n"
    'data: {"type": "delivered", "timestamp": "2036-01-01T00:00:00.000Z", "data": {"message":'
    ' "01a20715-6d61-7a3e-9f0b-2f3a5c7d9e11", "recipients": ["alice@example.test"]}}\n\n'
)


class EventStream(Response):
    """The answer. It ends with the connection, with the right to it, and with the process."""

    def __init__(
        self,
        pieces: AsyncIterator[bytes],
        check: Callable[[], Awaitable[None]],
        closing: asyncio.Event,
        held: ExitStack,
    ) -> None:
        headers = {"Cache-Control": "no-store, no-transform", "X-Accel-Buffering": "no"}
        super().__init__(status_code=200, headers=headers)
        self.raw_headers = [
            (name, value) for name, value in self.raw_headers if name != b"content-length"
        ]
        self.raw_headers.append((b"content-type", EVENT_STREAM.encode()))
        self._pieces, self._check, self._closing, self._held = pieces, check, closing, held

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Send it (ASGI)."""
        with self._held:
            start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
            await send(start)
            sending = asyncio.create_task(self._send(send))
            ends = (
                sending,
                asyncio.create_task(_gone(receive)),
                asyncio.create_task(self._closing.wait()),
            )
            allowed = asyncio.create_task(self._until_forbidden())
            try:
                await asyncio.wait((*ends, allowed), return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (*ends, allowed):
                    task.cancel()
                with suppress(asyncio.CancelledError, OSError):
                    await sending
            last = b""
            if allowed.done() and not allowed.cancelled():
                problem = problem_of(_reason(allowed))
                last = _told("end", {"status": problem.status, "detail": problem.detail})
            with suppress(TimeoutError):
                async with asyncio.timeout(_FAREWELL_SECONDS):
                    await send({"type": "http.response.body", "body": last})

    async def _send(self, send: Send) -> None:
        async for piece in self._pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})

    async def _until_forbidden(self) -> None:
        while True:
            await asyncio.sleep(_CHECK_SECONDS)
            with suppress(Unavailable):  # nobody can take a right away meanwhile
                await self._check()


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
    caller may have 10 connections to a server.
    """
    held = ExitStack()
    held.enter_context(feed.room(caller.id))
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
    followed = feed.follow(whose, frozenset(kinds or ()), begin, HEARTBEAT_SECONDS)
    return EventStream(
        _pieces(followed), lambda: guard.check_still(request, rule), feed.closing, held
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


def _reason(ended: asyncio.Task[None]) -> Exception:
    error = ended.exception()
    return error if isinstance(error, Exception) else Problem(403, "forbidden", "no more")


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _pieces(followed: AsyncGenerator[Placed]) -> AsyncIterator[bytes]:
    yield b"retry: %d\n: following\n\n" % _RETRY_MILLISECONDS
    async with aclosing(followed) as places:
        async for placed in places:
            head = f"id: {placed.next}\n".encode()
            if placed.event is not None:
                yield head + _told("", document(placed.event))
            elif placed.notice == "here":
                yield b": nothing new\n" + head + b"\n"
            else:
                yield head + _told(placed.notice, {})


def _told(name: str, data: dict[str, Any]) -> bytes:
    text = json.dumps(data, ensure_ascii=True)
    return (f"event: {name}\n" if name else "").encode() + f"data: {text}\n\n".encode()
