"""What a tenant may see of the events of a message."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import replace
from uuid import UUID

from posthorn.model.events import (
    ACCEPTED,
    BOUNCED,
    CLASSIFIED,
    DELIVERED,
    FILED,
    QUARANTINED,
    READ,
    REFUSED,
    RESTORED,
    SCANNED,
    Event,
)

_OF_RECIPIENT = frozenset({FILED, QUARANTINED, RESTORED, CLASSIFIED})
"""Events that are for the recipient's tenant alone."""
_OF_RECIPIENTS = frozenset({DELIVERED, SCANNED, REFUSED})
type Recipients = Set[tuple[str, str]]
"""Recipients in the queue, each with the address of ours that forwards to it, if one does."""


def visible_to(
    tenant: UUID,
    events: Sequence[Event],
    own: Recipients,
    *,
    is_sender: bool,
    domains: Set[str] = frozenset(),
) -> Sequence[Event]:
    """Return what a tenant may see of the events of a message, as ``QueueService.trace`` says.

    ``own`` are the tenant's recipients in the queue; of ``domains``, its own, it sees as well what
    was delivered to them or came to nothing there.
    """
    events = [event for event in events if event.kind != READ or _is_by(event, tenant)]
    return _visible(events, own, domains) if is_sender else _about(events, own, domains)


def domains_in(events: Sequence[Event]) -> set[str]:
    """Return the domains of the recipients and accounts that events name."""
    named: list[object] = []
    for event in events:
        listed = event.detail.get("recipients")
        named += listed if isinstance(listed, list) else []
        named += [event.detail.get("recipient"), event.detail.get("account")]
    return {each.rpartition("@")[2].lower() for each in named if isinstance(each, str)} - {""}


def _visible(
    events: Sequence[Event], own: Recipients, domains: Set[str] = frozenset()
) -> Sequence[Event]:
    """Name what is forwarded by other tenants' aliases by the alias alone, and leave out how other
    tenants filed it."""
    return [
        replace(event, detail={"recipient": event.detail["original"]})
        if event.detail.get("original") and not _is_among(event, own)
        else event
        for event in events
        if event.kind not in _OF_RECIPIENT or _within([_recipient(event)], domains)
    ]


def _about(events: Sequence[Event], own: Recipients, domains: Set[str]) -> Sequence[Event]:
    found = []
    for event in events:
        if event.kind == READ or _is_among(event, own):
            found.append(event)
        elif event.kind in _OF_RECIPIENTS and (
            here := _within(event.detail.get("recipients"), domains)
        ):
            found.append(replace(event, detail={**event.detail, "recipients": here}))
        elif (
            event.kind == BOUNCED
            and not event.detail.get("original")
            and _within([_recipient(event)], domains)
        ) or (event.kind in _OF_RECIPIENT and _within([_recipient(event)], domains)):
            found.append(event)
    return found


def _recipient(event: Event) -> object:
    return event.detail.get("recipient") or event.detail.get("account")


def _within(recipients: object, domains: Set[str]) -> list[str]:
    """Return the addresses that are in the domains."""
    listed = recipients if isinstance(recipients, list) else []
    return [
        each
        for each in listed
        if isinstance(each, str) and each.rpartition("@")[2].lower() in domains
    ]


def _is_among(event: Event, own: Recipients) -> bool:
    return (event.detail.get("recipient"), event.detail.get("original", "")) in own


def is_of(events: Sequence[Event], tenant: UUID) -> bool:
    """Return whether the message is one that the tenant sent, or tried to send."""
    return any(event.kind in (ACCEPTED, REFUSED) and _is_by(event, tenant) for event in events)


def _is_by(event: Event, tenant: UUID) -> bool:
    return event.detail.get("tenant") == str(tenant)
