"""The JSON shapes of webhooks and their deliveries."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field

from posthorn.ports.webhooks import MOST_COUNTED, Delivery, Webhook
from posthorn_api.events.kinds import OnTheWay
from posthorn_api.http.schemas import ApiModel, Line, ManagedByView, Management, RequestBody

EventName = Literal["*", OnTheWay, "complained"]
Events = Annotated[list[EventName], Field(min_length=1, max_length=20)]
Url = Annotated[Line, Field(max_length=2000)]
WebhookStateName = Literal["active", "failing", "paused"]
DeliveryStateName = Literal["waiting", "delivered", "failed"]

_EVENTS = "Event types, named as in the trace of a message; `*`: all."
_DOMAIN = "Only events of this domain; null: all."


class WebhookCreation(RequestBody):
    """A webhook to create."""

    url: Url = Field(
        description="https or http. The host must be reachable on the Internet, unless the operator permits"
        " its network.",
        examples=["https://hooks.example.test/posthorn"],
    )
    events: Events = Field(description=_EVENTS, examples=[["delivered", "bounced"]])
    domain: Line | None = Field(None, description=_DOMAIN, examples=["example.test"])
    tenant: Line | None = Field(
        None,
        description="Name or id of the tenant; without it, the tenant of the key, or the whole platform for a"
        " platform admin.",
    )


class WebhookChange(RequestBody):
    """Fields of a webhook to change; fields that are left out keep their values."""

    url: Url = Field(default_factory=str)
    events: Events = Field(default_factory=list, description=_EVENTS)
    domain: Line | None = Field(None, description=_DOMAIN)
    state: Literal["active", "paused"] = Field(
        default_factory=lambda: "active",
        description="paused: events that occur meanwhile are not queued for it; those already waiting are"
        " sent when it becomes active again.",
        examples=["paused"],
    )


class WebhookView(ApiModel):
    """A webhook."""

    id: UUID
    tenant: str | None = Field(description="Name of the tenant; null: the whole platform.")
    url: str
    events: list[str]
    domain: str | None
    state: WebhookStateName = Field(
        description="failing: still sent to, although the last ten attempts failed. paused: by a request,"
        " after three days without success, or because the receiver answered 410."
    )
    managed_by: Management
    created_at: datetime
    updated_at: datetime

    @classmethod
    def from_webhook(cls, webhook: Webhook) -> WebhookView:
        """Show a webhook."""
        return cls(**_shown(webhook))


class NewWebhookView(WebhookView):
    """A webhook with its secret."""

    secret: str | None = Field(
        description="Secret for verifying signatures: `whsec_` and 32 bytes in base64. Shown in this answer"
        " only, and null in an answer repeated for its Idempotency-Key.",
        examples=["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo="],
    )

    @classmethod
    def shown(cls, webhook: Webhook, secret: str | None) -> NewWebhookView:
        """Show a webhook that was just made."""
        return cls(**_shown(webhook), secret=secret)


class DeliveryView(ApiModel):
    """An event for a webhook."""

    id: UUID = Field(
        description="The value of the header `webhook-id`, the same for every attempt."
    )
    event_type: str
    event: dict[str, Any] = Field(description="The document that is sent.")
    state: DeliveryStateName = Field(description="failed: given up after a day of attempts.")
    attempts: int
    next_attempt_at: datetime | None = Field(description="Null if no further attempt is planned.")
    last_status: int | None = Field(
        description="HTTP status of the last response; null if there was none."
    )
    last_reply: str = Field(
        description="The beginning of the last response, or the reason why there was none."
    )
    created_at: datetime
    closed_at: datetime | None

    @classmethod
    def from_delivery(cls, delivery: Delivery) -> DeliveryView:
        """Show a delivery."""
        waiting = delivery.closed_at is None
        return cls(
            id=delivery.id,
            event_type=delivery.event_type,
            event=dict(delivery.event),
            state=delivery.state.value,
            attempts=delivery.attempts,
            next_attempt_at=delivery.due_at if waiting else None,
            last_status=delivery.last_status,
            last_reply=delivery.last_reply,
            created_at=delivery.created_at,
            closed_at=delivery.closed_at,
        )


class ReplayedView(ApiModel):
    """The result of a replay of failed deliveries."""

    replayed: int = Field(description="Number of deliveries that are sent again.")
    left: int = Field(
        description=f"Number of failed deliveries that are left for another request; {MOST_COUNTED:,} if there"
        " are more."
    )


def _shown(webhook: Webhook) -> dict[str, Any]:
    return {
        "id": webhook.id,
        "tenant": webhook.tenant_name,
        "url": webhook.url,
        "events": list(webhook.events),
        "domain": webhook.domain,
        "state": webhook.state.value,
        "managed_by": ManagedByView.of(webhook.managed_by),
        "created_at": webhook.created_at,
        "updated_at": webhook.updated_at,
    }
