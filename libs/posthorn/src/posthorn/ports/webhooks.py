"""Webhooks: events sent over HTTP, and the state of their deliveries.

Words:

- A *webhook* is an endpoint of a tenant, or of the whole platform, with the kinds of events it
  subscribes to.
- A *delivery* is one event for one webhook. Its id is derived from both, so that the same event
  never becomes two deliveries, and stays the same over every attempt: the receiver recognises a
  repeat by it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any, Protocol
from uuid import UUID

from posthorn.ports.changes import Versions
from posthorn.ports.idempotency import Receipt
from posthorn.ports.listing import Listed, ListQuery
from posthorn.ports.managers import ManagedBy

MOST_WEBHOOKS = 50
"""Most webhooks of a tenant."""
MOST_WAITING = 100_000
"""Most waiting deliveries of a webhook; beyond, it is paused."""
MOST_REPLAYED = 1000
"""Most failed deliveries that one request sends again."""
MOST_COUNTED = 100_000
"""Up to which failed deliveries that are left are counted."""
FAILURES = 10
"""Consecutive failed attempts after which a webhook is failing."""
DAYS_OF_FAILURE = 3
"""Days without success after which a failing webhook is paused."""


class WebhookState(Enum):
    """State of a webhook."""

    ACTIVE = "active"
    FAILING = "failing"
    """Receives events, though the last attempts failed; active again with the next success."""
    PAUSED = "paused"
    """Paused by its owner, or because it failed for days. Events meanwhile are not stored for
    it; waiting deliveries keep waiting."""


class DeliveryState(Enum):
    """Where a delivery stands."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Webhook:
    """An endpoint that receives events."""

    id: UUID
    tenant: UUID | None
    """None: of the whole platform, with every tenant's events."""
    url: str
    events: tuple[str, ...]
    """Kinds of events (``model.events``); ``*`` stands for all."""
    domain: str | None
    """Only events of this domain; None: all."""
    state: WebhookState
    created_at: datetime
    updated_at: datetime
    secret: bytes
    """Its signing secret, encrypted with the context ``webhook:<id>``."""
    tenant_name: str | None = None
    version: str = ""
    managed_by: ManagedBy | None = None


@dataclass(frozen=True, slots=True)
class NewWebhook:
    """A webhook to create."""

    id: UUID
    url: str
    events: tuple[str, ...]
    domain: str | None
    secret: bytes
    state: WebhookState = WebhookState.ACTIVE


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event for one webhook."""

    id: UUID
    webhook: UUID
    event_type: str
    event: Mapping[str, Any]
    """The document that is sent."""
    state: DeliveryState
    attempts: int
    due_at: datetime
    last_status: int | None
    """HTTP status; None: no answer yet, or none."""
    last_reply: str
    """The beginning of the last answer, or why there was none."""
    created_at: datetime
    closed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Replayed:
    """The result of a replay of failed deliveries."""

    number: int
    left: int
    """Failed ones that are left for another request; ``MOST_COUNTED`` if there are more."""


@dataclass(frozen=True, slots=True)
class NewDelivery:
    """A delivery to add."""

    id: UUID
    webhook: UUID
    event_type: str
    event: Mapping[str, Any]


class Webhooks(Protocol):
    """``tenant`` is the caller's, as in ``ports.administration``. Every method raises
    Unavailable."""

    async def create(
        self,
        tenant: UUID | None,
        new: NewWebhook,
        owner: str | None,
        receipt: Receipt[Webhook] | None = None,
    ) -> Webhook:
        """Create one of the tenant ``owner`` (name or id; None: the caller's, or of the whole
        platform).

        Raises ValidationFailed (``tenant``, ``domain``) and, when the tenant has too many,
        Conflict.
        """
        ...

    async def items(self, tenant: UUID | None, asked: ListQuery) -> Listed[Webhook]:
        """Return a page. Orders: ``created``, ``url``."""
        ...

    async def get(self, tenant: UUID | None, number: UUID) -> Webhook:
        """Return one. Raises NotFound."""
        ...

    async def change(
        self,
        tenant: UUID | None,
        number: UUID,
        changes: Mapping[str, object],
        expected: Versions = None,
    ) -> Webhook:
        """Set ``url``, ``events``, ``domain`` or ``state``. Activating it makes waiting
        deliveries due at once. Raises NotFound, PreconditionFailed, ValidationFailed."""
        ...

    async def rotate(
        self,
        tenant: UUID | None,
        number: UUID,
        renew: Callable[[bytes], bytes],
        receipt: Receipt[Webhook] | None = None,
    ) -> Webhook:
        """Replace the encrypted secret by the result of ``renew``. Raises NotFound."""
        ...

    async def delete(self, tenant: UUID | None, number: UUID, expected: Versions = None) -> None:
        """Delete one with its deliveries. Raises NotFound, PreconditionFailed."""
        ...

    async def deliveries(
        self, tenant: UUID | None, number: UUID, asked: ListQuery
    ) -> Listed[Delivery]:
        """Return a page of a webhook's, newest first. Orders: ``created``. Searched: type of the
        event and last reply. Raises NotFound, ValidationFailed."""
        ...

    async def delivery(self, tenant: UUID | None, webhook: UUID, number: UUID) -> Delivery:
        """Return one. Raises NotFound."""
        ...

    async def replay(self, tenant: UUID | None, webhook: UUID, number: UUID) -> Delivery:
        """Send it again now, with the same id. Raises NotFound; Conflict while the webhook is
        paused."""
        ...

    async def replay_failed(self, tenant: UUID | None, webhook: UUID) -> Replayed:
        """Send the failed deliveries again now, the oldest first, ``MOST_REPLAYED`` at most.
        Raises NotFound; Conflict while the webhook is paused."""
        ...

    async def enter(self, tenant: UUID | None, new: NewDelivery) -> Delivery:
        """Add a delivery. Raises NotFound; Conflict while the webhook is paused."""
        ...


@dataclass(frozen=True, slots=True)
class OutgoingDelivery:
    """A claimed delivery."""

    id: UUID
    webhook: UUID
    url: str
    secret: bytes
    event_type: str
    event: Mapping[str, Any]
    attempt: int
    """Number of the attempt, from 1."""
    tenant: UUID | None = None
    """Tenant of the webhook; None: the platform."""
    wanted_at: float = 0.0
    """Time of its event, in seconds since the epoch; of one that was replayed or waited for a paused
    webhook, the time since which it was due."""


@dataclass(frozen=True, slots=True)
class Shares:
    """How many deliveries may be claimed, by tenant."""

    most: int
    """In all."""
    of_webhook: int
    of_tenant: int
    """Most in progress at a time."""
    spare: int
    """Of ``most``, for tenants with nothing in progress."""
    busy: Sequence[UUID] = ()
    """Webhooks excluded from the claim."""
    at_work: Mapping[UUID | None, int] = field(default_factory=dict)
    """Deliveries in progress, by tenant."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """Result of an attempt."""

    status: int | None
    reply: str
    is_delivered: bool = False
    retry_in: float | None = None
    """Seconds until the next attempt; None, and not delivered: it has failed permanently."""
    stop: bool = False
    """The receiver wants no more events: the webhook is paused."""


class Dispatch(Protocol):
    """The sender's side. Every method raises Unavailable."""

    async def claim(self, shares: Shares, seconds: float) -> Sequence[OutgoingDelivery]:
        """Claim due deliveries in turns: of each tenant one, then of each another, the tenants
        with the fewest in progress first. If the claimant dies, others get them after
        ``seconds``."""
        ...

    async def close(self, parcel: OutgoingDelivery, attempt: Attempt) -> WebhookState | None:
        """Record the result, unless another has claimed it since. Return the webhook's state
        when that has changed."""
        ...

    async def upkeep(self) -> Sequence[UUID]:
        """Delete deliveries closed a week ago; pause webhooks that have failed for days or have
        too many waiting deliveries, and return them."""
        ...
