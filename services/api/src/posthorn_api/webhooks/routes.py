"""Operations on webhooks."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from fastapi import Depends, Path, Query, Request, Response

from posthorn.ports.webhooks import Webhook
from posthorn_api.http.guard import Guard
from posthorn_api.http.idempotency import receipt
from posthorn_api.http.operations import (
    BODY_PROBLEMS,
    POST_ONLY,
    Caller,
    Expected,
    created,
    etag,
    problems,
    router,
    service_of,
)
from posthorn_api.http.pagination import (
    SORT,
    AskedList,
    OfTenant,
    listed,
)
from posthorn_api.http.schemas import Page
from posthorn_api.webhooks.schemas import (
    DeliveryStateName,
    DeliveryView,
    NewWebhookView,
    ReplayedView,
    WebhookChange,
    WebhookCreation,
    WebhookView,
)
from posthorn_api.webhooks.service import WebhookService

webhooks = router("Webhooks")


Webhooks = Annotated[WebhookService, Depends(service_of(WebhookService))]
WebhookPath = Annotated[UUID, Path(alias="id", description="Id of the webhook.")]
DeliveryPath = Annotated[UUID, Path(alias="delivery", description="Id of the delivery.")]
_ONE = "/v1/webhooks/{id}"
_DELIVERIES = "/v1/webhooks/{id}/deliveries"


def _render(webhook: Webhook, secret: str | None = None) -> Response:
    return created(
        NewWebhookView.shown(webhook, secret), "webhooks", str(webhook.id), webhook.version
    )


def _shown(webhook: Webhook, response: Response) -> WebhookView:
    response.headers["ETag"] = etag(webhook.version)
    return WebhookView.from_webhook(webhook)


@webhooks.post(
    "/v1/webhooks",
    operation_id="createWebhook",
    summary="Create a webhook.",
    status_code=201,
    response_model=NewWebhookView,
    responses=problems(409, *BODY_PROBLEMS),
    dependencies=POST_ONLY,
)
async def create_webhook(
    request: Request, body: WebhookCreation, caller: Caller, service: Webhooks
) -> Response:
    """Events are posted to the URL as JSON: `{"type": "delivered", "timestamp": "2036-01-01T00:00:00.000Z", "data": {"message":
    "<id>", …}}`, with `type` and `data` as in the trace of the message. A tenant gets the events of messages that it sent, of
    messages delivered to its domains, and of messages that its aliases forwarded.

    Any 2xx status within 15 seconds is success. After any other answer, redirects included, the event is sent again with
    increasing delays for a day; 410 pauses the webhook. The order is not guaranteed, and an event may arrive twice: discard
    those whose `webhook-id` you have seen.

    Requests are signed according to Standard Webhooks. Verify the signature before you trust a request:

    ```python
    import base64, hashlib, hmac, time

    def is_genuine(secret: str, headers, body: bytes) -> bool:
        key = base64.b64decode(secret.removeprefix("whsec_"))
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        wanted = "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
        is_fresh = abs(time.time() - int(headers["webhook-timestamp"])) < 300
        return is_fresh and any(hmac.compare_digest(wanted, each) for each in headers["webhook-signature"].split())
    ```
    """
    made, secret = await service.create(
        caller, body.url, body.events, body.domain, body.tenant, receipt(request, _render)
    )
    return _render(made, secret)


@webhooks.get(
    "/v1/webhooks", operation_id="listWebhooks", summary="List webhooks.", responses=problems()
)
async def list_webhooks(
    caller: Caller,
    service: Webhooks,
    asked: AskedList,
    state: Annotated[
        Literal["active", "paused", "failing"] | None,
        Query(description="Only webhooks in this state."),
    ] = None,
    tenant: OfTenant = None,
    sort: Annotated[
        Literal["created", "-created", "url", "-url"] | None, Query(description=SORT)
    ] = None,
) -> Page[WebhookView]:
    """Sorted by creation time. `q` is part of the URL or of the domain. The secrets are not shown."""
    found = await service.items(caller, asked.query(sort, state=state, owner=tenant))
    return listed(found, WebhookView.from_webhook, sort)


@webhooks.get(_ONE, operation_id="getWebhook", summary="Get a webhook.", responses=problems(404))
async def get_webhook(
    number: WebhookPath, caller: Caller, service: Webhooks, response: Response
) -> WebhookView:
    """The secret is not shown."""
    return _shown(await service.get(caller, number), response)


@webhooks.patch(
    _ONE,
    operation_id="changeWebhook",
    summary="Update a webhook.",
    responses=problems(404, 412, *BODY_PROBLEMS),
)
async def change_webhook(
    number: WebhookPath,
    body: WebhookChange,
    caller: Caller,
    service: Webhooks,
    expected: Expected,
    response: Response,
) -> WebhookView:
    """Only the fields in the body are changed. A webhook that becomes active again continues with
    its waiting events.
    """
    return _shown(
        await service.change(caller, number, body.model_dump(exclude_unset=True), expected),
        response,
    )


@webhooks.delete(
    _ONE,
    operation_id="deleteWebhook",
    summary="Delete a webhook.",
    status_code=204,
    responses=problems(400, 404, 412),
)
async def delete_webhook(
    number: WebhookPath, caller: Caller, service: Webhooks, expected: Expected
) -> Response:
    """Its deliveries are deleted too."""
    await service.delete(caller, number, expected)
    return Response(status_code=204)


@webhooks.post(
    f"{_ONE}/rotate",
    operation_id="rotateWebhookSecret",
    summary="Rotate the secret of a webhook.",
    status_code=201,
    response_model=NewWebhookView,
    responses=problems(404),
    dependencies=POST_ONLY,
)
async def rotate_webhook_secret(
    request: Request, number: WebhookPath, caller: Caller, service: Webhooks
) -> Response:
    """For a day every request is signed with both the new and the previous secret:
    `webhook-signature` then holds two signatures, separated by a space, of which either is
    valid.
    """
    return _render(*await service.rotate(caller, number, receipt(request, _render)))


@webhooks.post(
    f"{_ONE}/test",
    operation_id="testWebhook",
    summary="Send a test event.",
    status_code=201,
    response_model=DeliveryView,
    responses=problems(404, 409),
    dependencies=POST_ONLY,
)
async def test_webhook(
    request: Request, number: WebhookPath, caller: Caller, service: Webhooks
) -> Response:
    """An event of the type `test`, whichever events the webhook subscribes to. Its result is listed
    among the deliveries.
    """
    guard: Guard = request.app.state.guard
    delivery = await service.test(caller, number, await guard.attempts.first_attempt(request))
    return created(
        DeliveryView.from_delivery(delivery), f"webhooks/{number}/deliveries", str(delivery.id)
    )


@webhooks.get(
    _DELIVERIES,
    operation_id="listWebhookDeliveries",
    summary="List the deliveries of a webhook.",
    responses=problems(404),
)
async def list_webhook_deliveries(
    number: WebhookPath,
    caller: Caller,
    service: Webhooks,
    asked: AskedList,
    state: Annotated[
        DeliveryStateName | None, Query(description="Only deliveries in this state.")
    ] = None,
    sort: Annotated[Literal["created", "-created"] | None, Query(description=SORT)] = None,
) -> Page[DeliveryView]:
    """Newest first. `q` is part of the type of the event or of the last reply. Finished deliveries
    are kept for a week.
    """
    found = await service.deliveries(caller, number, asked.query(sort, state=state))
    return listed(found, DeliveryView.from_delivery, sort)


@webhooks.get(
    f"{_DELIVERIES}/{{delivery}}",
    operation_id="getWebhookDelivery",
    summary="Get a delivery of a webhook.",
    responses=problems(404),
)
async def get_webhook_delivery(
    number: WebhookPath, delivery: DeliveryPath, caller: Caller, service: Webhooks
) -> DeliveryView:
    """The answer includes the event and the last response of the receiver."""
    return DeliveryView.from_delivery(await service.delivery(caller, number, delivery))


@webhooks.post(
    f"{_DELIVERIES}/{{delivery}}/replay",
    operation_id="replayWebhookDelivery",
    summary="Replay a delivery.",
    response_model=DeliveryView,
    responses=problems(404, 409),
    dependencies=POST_ONLY,
)
async def replay_webhook_delivery(
    number: WebhookPath, delivery: DeliveryPath, caller: Caller, service: Webhooks
) -> Response:
    """Sends the event again at once, in whatever state the delivery is, with the same `webhook-id`.
    Earlier attempts stay counted.
    """
    view = DeliveryView.from_delivery(await service.replay(caller, number, delivery))
    return Response(view.model_dump_json(), media_type="application/json")


@webhooks.post(
    f"{_DELIVERIES}/replay",
    operation_id="replayFailedWebhookDeliveries",
    summary="Replay the failed deliveries of a webhook.",
    response_model=ReplayedView,
    responses=problems(404, 409),
    dependencies=POST_ONLY,
)
async def replay_failed_webhook_deliveries(
    number: WebhookPath, caller: Caller, service: Webhooks
) -> ReplayedView:
    """Sends the events again at once, the oldest first, each with the same `webhook-id`. One request
    replays at most 1,000; repeat it while `left` is not 0.
    """
    replayed = await service.replay_failed(caller, number)
    return ReplayedView(replayed=replayed.number, left=replayed.left)
