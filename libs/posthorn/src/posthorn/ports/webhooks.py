"""Webhooks: who is told of events over HTTP, and what became of the telling.

Words:

- A *webhook* is a place of a tenant's, or of the whole platform's, with the kinds of events it wants.
- A *delivery* is one event for one webhook. Its id is made of both, so that the same event never becomes two deliveries, and stays
  the same over every attempt: the receiver knows a repeat by it.
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

MOST_WEBHOOKS = 50
"""Webhooks that a tenant may have."""
MOST_WAITING = 100_000
"""Deliveries that may wait for a webhook; beyond, it is paused."""
FAILURES = 10
"""Attempts that fail in a row before a webhook is called failing."""
DAYS_OF_FAILURE = 3
"""Days without success after which a failing webhook is paused."""


class WebhookState(Enum):
    """Whether a webhook is told of anything."""

    ACTIVE = "active"
    FAILING = "failing"
    """Told, though the last attempts failed; active again with the next success."""
    PAUSED = "paused"
    """By its owner, or because it failed for days. What happens meanwhile is not kept for it; what waited goes on waiting."""


class DeliveryState(Enum):
    """Where a delivery stands."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Webhook:
    """A place that is told of events."""

    id: UUID
    tenant: UUID | None
    """None: of the whole platform, told of every tenant's events."""
    url: str
    events: tuple[str, ...]
    """Kinds of events (``model.events``); ``*`` stands for all."""
    domain: str | None
    """Told only of what concerns this domain; None: of all."""
    state: WebhookState
    created_at: datetime
    updated_at: datetime
    secret: bytes
    """What its signatures are made with, encrypted with the context ``webhook:<id>``."""
    tenant_name: str | None = None
    version: str = ""


@dataclass(frozen=True, slots=True)
class NewWebhook:
    """A webhook to be made."""

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
    """HTTP's; None: no answer yet, or none came."""
    last_reply: str
    """The beginning of the last answer, or why there was none."""
    created_at: datetime
    closed_at: datetime | None


@dataclass(frozen=True, slots=True)
class NewDelivery:
    """A delivery to be entered."""

    id: UUID
    webhook: UUID
    event_type: str
    event: Mapping[str, Any]


class Webhooks(Protocol):
    """``tenant`` is the caller's, as in ``ports.administration``. Every method raises Unavailable."""

    async def create(
        self, tenant: UUID | None, new: NewWebhook, owner: str | None, receipt: Receipt[Webhook] | None = None
    ) -> Webhook:
        """Enter one of the tenant named ``owner`` (name or id; None: the caller's, or of the whole platform).

        Raises ValidationFailed (``tenant``, ``domain``) and, when the tenant has too many, Conflict.
        """
        ...

    async def items(self, tenant: UUID | None, after: UUID | None, limit: int) -> Sequence[Webhook]:
        """List by id, which is by time."""
        ...

    async def get(self, tenant: UUID | None, number: UUID) -> Webhook:
        """Return one. Raises NotFound."""
        ...

    async def change(
        self, tenant: UUID | None, number: UUID, changes: Mapping[str, object], expected: Versions = None
    ) -> Webhook:
        """Set ``url``, ``events``, ``domain`` or ``state``. One that is made active tries at once what waits. Raises NotFound,
        PreconditionFailed, ValidationFailed."""
        ...

    async def rotate(
        self,
        tenant: UUID | None,
        number: UUID,
        renew: Callable[[bytes], bytes],
        receipt: Receipt[Webhook] | None = None,
    ) -> Webhook:
        """Put what ``renew`` makes of the encrypted secret in its place. Raises NotFound."""
        ...

    async def delete(self, tenant: UUID | None, number: UUID, expected: Versions = None) -> None:
        """Remove one with its deliveries. Raises NotFound, PreconditionFailed."""
        ...

    async def deliveries(
        self, tenant: UUID | None, number: UUID, state: DeliveryState | None, before: UUID | None, limit: int
    ) -> Sequence[Delivery]:
        """List a webhook's, newest first. Raises NotFound."""
        ...

    async def delivery(self, tenant: UUID | None, webhook: UUID, number: UUID) -> Delivery:
        """Return one. Raises NotFound."""
        ...

    async def replay(self, tenant: UUID | None, webhook: UUID, number: UUID) -> Delivery:
        """Have it sent again, now, under the id it has. Raises NotFound; Conflict while the webhook is paused."""
        ...

    async def enter(self, tenant: UUID | None, new: NewDelivery) -> Delivery:
        """Enter one by hand. Raises NotFound; Conflict while the webhook is paused."""
        ...


@dataclass(frozen=True, slots=True)
class OutgoingDelivery:
    """A delivery at hand."""

    id: UUID
    webhook: UUID
    url: str
    secret: bytes
    event_type: str
    event: Mapping[str, Any]
    attempt: int
    """Which one this is; the first is 1."""
    tenant: UUID | None = None
    """Whose webhook it is; None: the platform's."""


@dataclass(frozen=True, slots=True)
class Shares:
    """How many deliveries may be taken, and by whose they are."""

    most: int
    """In all."""
    of_webhook: int
    of_tenant: int
    """At work at a time."""
    spare: int
    """Of ``most``, for tenants of which nothing is at work."""
    busy: Sequence[UUID] = ()
    """Webhooks of which none is taken."""
    at_work: Mapping[UUID | None, int] = field(default_factory=dict)
    """Deliveries at work, by tenant."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What became of an attempt."""

    status: int | None
    reply: str
    is_delivered: bool = False
    retry_in: float | None = None
    """Seconds; None, and not delivered: it has failed for good."""
    stop: bool = False
    """The receiver wants no more: the webhook is paused."""


class Dispatch(Protocol):
    """The sender's side. Every method raises Unavailable."""

    async def claim(self, shares: Shares, seconds: float) -> Sequence[OutgoingDelivery]:
        """Take what is due, by turns: of each tenant one, then of each another, the tenants with the fewest at work first. Whoever
        dies with them at hand leaves them to others after ``seconds``."""
        ...

    async def close(self, parcel: OutgoingDelivery, attempt: Attempt) -> WebhookState | None:
        """Note what became of it, unless another has taken it since. Returns the webhook's state when that has changed."""
        ...

    async def upkeep(self) -> Sequence[UUID]:
        """Forget deliveries closed a week ago; pause webhooks that have failed for days, or that too much waits for, and give
        them."""
        ...
