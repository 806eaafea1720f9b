"""Which webhooks are told of which events: what a tenant may see of a message
(``queue.trace_sight``), and asked for."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from posthorn.model import events as kinds
from posthorn.model.events import Event, encode_event
from posthorn.ports.statistics import Facts
from posthorn.ports.webhooks import NewDelivery, Webhook
from posthorn_api.events.counting import domain_of, hour_of
from posthorn_api.queue.trace_sight import visible_to

ANY = "*"
KINDS = (
    kinds.ACCEPTED,
    kinds.DELIVERED,
    kinds.QUEUED,
    kinds.DEFERRED,
    kinds.BOUNCED,
    kinds.NOTICE,
    kinds.HELD,
    kinds.RELEASED,
    kinds.CANCELLED,
    kinds.RETRIED,
    kinds.READ,
    kinds.SCANNED,
    kinds.REFUSED,
    kinds.FILED,
    kinds.QUARANTINED,
    kinds.RESTORED,
    kinds.CLASSIFIED,
    kinds.LISTED,
    kinds.DNS_CHANGED,
    kinds.COMPLAINED,
)
"""What a webhook can be told of; the names are those of the trace."""
TEST = "test"
"""The type of the event that is sent on demand."""


def wanted(events: Iterable[Event], webhooks: Sequence[Webhook]) -> list[Event]:
    """Return the events that some webhook may be told of."""
    asked = {kind for webhook in webhooks for kind in webhook.events}
    since = min((webhook.created_at.timestamp() for webhook in webhooks), default=0.0)
    return [
        event
        for event in events
        if event.at >= since
        and not kinds.is_partial(event)
        and (ANY in asked or event.kind in asked)
        and hour_of(event.at) is not None
    ]


def matched(
    events: Sequence[Event],
    webhooks: Sequence[Webhook],
    facts: Facts,
    senders: Mapping[UUID, UUID | None],
) -> list[NewDelivery]:
    """Return a delivery for each webhook and each event that it is to be told of. ``senders``
    are the tenants whose messages these are; None: a stranger's."""
    by_message: defaultdict[UUID, list[Event]] = defaultdict(list)
    for event in events:
        by_message[event.message].append(event)
    told: list[NewDelivery] = []
    for message, happened in by_message.items():
        seen: dict[UUID | None, Sequence[Event]] = {None: happened}
        for webhook in webhooks:
            tenant = webhook.tenant
            if tenant not in seen:
                assert tenant is not None
                seen[tenant] = seen_by(tenant, message, happened, facts, senders)
            told += [
                NewDelivery(delivery_id(webhook.id, event), webhook.id, event.kind, document(event))
                for event in seen[tenant]
                if _is_asked_for(webhook, event, facts)
            ]
    return told


def document(event: Event) -> dict[str, Any]:
    """Return what is sent of an event."""
    moment = (
        datetime.fromtimestamp(event.at, UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z")
    )
    return {
        "type": event.kind,
        "timestamp": moment,
        "data": {"message": str(event.message), **event.detail},
    }


def delivery_id(webhook: UUID, event: Event) -> UUID:
    """Return the id of the delivery of an event, always the same: a UUIDv7 by the event's time,
    the rest a hash of both."""
    digest = hashlib.sha256(webhook.bytes + encode_event(event)).digest()
    rest = int.from_bytes(digest[:10])
    milliseconds = min(max(int(event.at * 1000), 0), 2**48 - 1)
    return UUID(
        int=milliseconds << 80
        | 0x7 << 76
        | (rest >> 64 & 0xFFF) << 64
        | 0b10 << 62
        | rest & (2**62 - 1)
    )


def seen_by(
    tenant: UUID,
    message: UUID,
    events: Sequence[Event],
    facts: Facts,
    senders: Mapping[UUID, UUID | None],
) -> Sequence[Event]:
    """Return what a tenant may see of events of a message. ``senders`` as in ``matched``."""
    rows = [row for row in facts.rows.get(message, ()) if row.tenant == tenant]
    own = {(row.recipient, row.original) for row in rows}
    is_sender = senders.get(message) == tenant or any(not row.original for row in rows)
    began = min(event.at for event in events)
    domains = {
        name
        for name, owner in facts.owners.items()
        if owner == tenant and facts.owned_since.get(name, began) <= began
    }
    return visible_to(tenant, events, own, is_sender=is_sender, domains=domains)


def _is_asked_for(webhook: Webhook, event: Event, facts: Facts) -> bool:
    if event.at < webhook.created_at.timestamp() or not (
        ANY in webhook.events or event.kind in webhook.events
    ):
        return False
    return webhook.domain is None or webhook.domain in _domains_of(event, facts)


def _domains_of(event: Event, facts: Facts) -> set[str]:
    """Return the domains that an event concerns: of every address that it names, and of the
    sender of the recipient."""
    detail = event.detail
    listed = detail.get("recipients")
    named = [detail.get("recipient"), detail.get("original"), detail.get("account")]
    named += listed if isinstance(listed, list) else []
    named += [row.sender for row in facts.rows.get(event.message, ()) if not row.original]
    found = {domain_of(address) for address in named} - {""}
    if event.kind == kinds.DNS_CHANGED:
        found.add(str(detail.get("domain")))
    return found
