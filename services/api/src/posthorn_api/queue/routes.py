"""Operations on the outbound queue and on suppressions, and the trace of a message."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Literal
from uuid import UUID

from fastapi import Depends, Path, Query, Response

from posthorn.model.outbound import QueueState
from posthorn.ports.errors import FieldError, ValidationFailed
from posthorn.ports.queue_administration import QueueFilter
from posthorn_api.http.operations import (
    BODY_PROBLEMS,
    POST_ONLY,
    AddressPath,
    Caller,
    created,
    problems,
    router,
    service_of,
)
from posthorn_api.http.pagination import (
    SORT,
    AskedList,
    Cursor,
    Limit,
    Part,
    listed,
    number_in,
    part_of_list,
)
from posthorn_api.http.schemas import Line, Page
from posthorn_api.queue.schemas import (
    Age,
    AskedState,
    EventView,
    MatchedView,
    OpenState,
    QueueGroupView,
    QueueItemView,
    QueueSelection,
    SuppressionCreation,
    SuppressionView,
    TraceView,
    state_of,
)
from posthorn_api.queue.service import QueueService

queue = router("Queue")
suppressions = router("Suppressions")
traces = router("Traces")
_MOST_GROUPS = 1_000_000


Queue = Annotated[QueueService, Depends(service_of(QueueService))]
Number = Annotated[
    int,
    Path(
        alias="id",
        ge=1,
        le=2**63 - 1,
        description="Number of the recipient in the queue, from the list.",
    ),
]


OfDomain = Annotated[Line | None, Query(description="Domain of the recipient.")]
OfTenant = Annotated[
    Line | None,
    Query(
        description="Name or id of the tenant that sends the message or whose alias forwards it."
    ),
]


@queue.get(
    "/v1/queue",
    operation_id="listQueue",
    summary="Search the outbound queue.",
    responses=problems(),
)
async def list_queue(
    caller: Caller,
    service: Queue,
    asked: AskedList,
    domain: OfDomain = None,
    state: Annotated[
        AskedState | None, Query(description="waiting: queued, sending, deferred or held.")
    ] = None,
    sender: Annotated[
        str | None,
        Query(
            max_length=1000,
            description="The reverse-path; `<>` for bounces and other notifications.",
        ),
    ] = None,
    recipient: Annotated[Line | None, Query()] = None,
    message: Annotated[UUID | None, Query(description="Id of the message.")] = None,
    older_than: Annotated[
        Age | None, Query(description="Minimum age in the queue, in seconds.")
    ] = None,
    younger_than: Annotated[
        Age | None, Query(description="Maximum age in the queue, in seconds.")
    ] = None,
    tenant: OfTenant = None,
    sort: Annotated[
        Literal["created", "-created", "due", "-due"] | None,
        Query(
            description=f"{SORT} `due`: by the time of the next attempt, of recipients that wait."
        ),
    ] = None,
) -> Page[QueueItemView]:
    """Remote recipients, newest first. Finished ones are included for some days. `q` is part of the
    recipient, of the reverse-path or of the last reply.
    """
    which = QueueFilter(
        domain,
        state_of(state),
        sender,
        recipient,
        message,
        older_than,
        younger_than,
        tenant,
        waits=state == "waiting",
    )
    found = await service.items(caller, which, asked.query(sort))
    return listed(found, QueueItemView.from_item, sort)


@queue.get(
    "/v1/queue/summary",
    operation_id="summarizeQueue",
    summary="Get a summary of the outbound queue by destination.",
    responses=problems(),
)
async def summarize_queue(
    caller: Caller,
    service: Queue,
    domain: OfDomain = None,
    state: Annotated[OpenState | None, Query()] = None,
    tenant: OfTenant = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    part: Part = None,
) -> Page[QueueGroupView]:
    """What waits or is being sent, grouped by destination, state and class of the last reply, the
    largest group first. The queue moves on between two pages: a group may be missing or there twice.
    `q` is part of the recipient, of the reverse-path or of the last reply, as in the list.
    """
    which = QueueFilter(
        domain=domain, state=None if state is None else QueueState(state), tenant=tenant
    )
    offset = min(number_in(cursor) or 0, _MOST_GROUPS)
    found = await service.summary(caller, which, offset, limit + 1, part)
    return part_of_list(
        found[:limit], QueueGroupView.from_group, offset + limit if len(found) > limit else None
    )


@queue.get(
    "/v1/queue/{id}",
    operation_id="getQueued",
    summary="Get a recipient in the queue.",
    responses=problems(404),
)
async def get_queued(number: Number, caller: Caller, service: Queue) -> QueueItemView:
    """The answer includes the result of the last attempt."""
    return QueueItemView.from_item(await service.item(caller, number))


@queue.delete(
    "/v1/queue/{id}",
    operation_id="cancelQueued",
    summary="Cancel a recipient in the queue.",
    status_code=204,
    responses=problems(404, 409),
)
async def cancel_queued(number: Number, caller: Caller, service: Queue) -> Response:
    """The message is no longer sent to this recipient, and no bounce is sent. Refused with 409
    (conflict) while it is being sent or after it has finished.
    """
    await service.act(caller, "cancel", number)
    return Response(status_code=204)


def _on_one(action: str) -> Callable[..., Awaitable[QueueItemView]]:
    async def act(number: Number, caller: Caller, service: Queue) -> QueueItemView:
        return QueueItemView.from_item(await service.act(caller, action, number))

    return act


def _on_many(action: str) -> Callable[..., Awaitable[MatchedView]]:
    async def act(body: QueueSelection, caller: Caller, service: Queue) -> MatchedView:
        which = body.which()
        if which == QueueFilter() and not body.all:
            raise ValidationFailed(FieldError("all", "without any filter, all must be true"))
        matched = await service.act_on_all(caller, action, which)
        return MatchedView(
            matched=matched.number,
            more=matched.more,
            passed_over=matched.passed_over,
            left=matched.left,
        )

    return act


_ACTIONS = {
    "retry": (
        "Retry {} now.",
        "A queued or deferred recipient becomes due at once.",
        "Queued and deferred recipients become due at once.",
    ),
    "hold": (
        "Hold {}.",
        "A queued or deferred recipient waits until it is released.",
        "Queued and deferred recipients wait until they are released.",
    ),
    "release": (
        "Release {}.",
        "A held recipient becomes due at once.",
        "Held recipients become due at once.",
    ),
    "cancel": (
        "Cancel {}.",
        "",
        "Queued, deferred and held recipients are no longer sent to, and no bounces are sent.",
    ),
}
for _action, (_summary, _of_one, _of_many) in _ACTIONS.items():
    if _action != "cancel":
        queue.add_api_route(
            f"/v1/queue/{{id}}/{_action}",
            _on_one(_action),
            methods=["POST"],
            operation_id=f"{_action}Queued",
            summary=_summary.format("a recipient"),
            description=f"{_of_one} Refused with 409 (conflict) in any other state.",
            response_model=QueueItemView,
            responses=problems(404, 409),
            dependencies=POST_ONLY,
        )
    queue.add_api_route(
        f"/v1/queue/{_action}",
        _on_many(_action),
        methods=["POST"],
        operation_id=f"{_action}AllQueued",
        summary=_summary.format("all matching recipients"),
        description=f"{_of_many} Recipients in other states are skipped.",
        response_model=MatchedView,
        responses=problems(*BODY_PROBLEMS),
        dependencies=POST_ONLY,
    )


@suppressions.get(
    "/v1/suppressions",
    operation_id="listSuppressions",
    summary="List suppressed addresses.",
    responses=problems(),
)
async def list_suppressions(
    caller: Caller,
    service: Queue,
    asked: AskedList,
    domain: Annotated[Line | None, Query(description="Only addresses of this domain.")] = None,
    tenant: Annotated[
        Line | None, Query(description="Name or id of the tenant whose list it is.")
    ] = None,
    sort: Annotated[
        Literal["address", "-address", "created", "-created"] | None, Query(description=SORT)
    ] = None,
) -> Page[SuppressionView]:
    """Sorted by address. `q` is part of the address or of the reason. A key of a tenant
    sees its own list, a key of the whole platform that of the tenant `default` unless `tenant` is
    given.
    """
    found = await service.suppressions(caller, asked.query(sort, owner=tenant), domain)
    return listed(found, SuppressionView.from_suppression, sort)


@suppressions.post(
    "/v1/suppressions",
    operation_id="suppress",
    summary="Suppress an address.",
    status_code=201,
    response_model=SuppressionView,
    responses={
        200: {"model": SuppressionView, "description": "The address was already suppressed."},
        **problems(409, *BODY_PROBLEMS),
    },
    dependencies=POST_ONLY,
)
async def suppress(body: SuppressionCreation, caller: Caller, service: Queue) -> Response:
    """The address gets no more mail from the tenant, and messages queued for it bounce. Addresses
    that bounce permanently are added automatically. Refused with 409 (conflict) when the tenant has
    1,000,000 suppressions: then delete some first.
    """
    made, is_new = await service.suppress(caller, body.address, body.reason)
    answer = created(SuppressionView.from_suppression(made), "suppressions", made.address)
    answer.status_code = 201 if is_new else 200
    return answer


@suppressions.delete(
    "/v1/suppressions/{address:address}",
    operation_id="unsuppress",
    summary="Remove an address from the suppression list.",
    status_code=204,
    responses=problems(404),
)
async def unsuppress(address: AddressPath, caller: Caller, service: Queue) -> Response:
    """The address gets mail again."""
    await service.unsuppress(caller, address)
    return Response(status_code=204)


@traces.get(
    "/v1/messages/{id}/trace",
    operation_id="traceMessage",
    summary="Get the trace of a message.",
    responses=problems(404),
)
async def trace_message(
    message: Annotated[UUID, Path(alias="id", description="Id of the message.")],
    caller: Caller,
    service: Queue,
) -> TraceView:
    """Every event of the message in chronological order, kept for two weeks unless configured
    otherwise. A key of a tenant sees the messages that the tenant has sent; only a key of the
    whole platform sees those received from elsewhere.
    """
    return TraceView(
        items=[EventView.from_event(event) for event in await service.trace(caller, message)],
        trace_url=service.trace_link(caller, message),
    )
