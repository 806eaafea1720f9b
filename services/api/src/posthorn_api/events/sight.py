"""Which events a tenant may see, and in which form: those that its webhooks would be told of."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from posthorn.model.events import ACCEPTED, DNS_CHANGED, Event
from posthorn.ports.events import Trace
from posthorn.ports.statistics import Facts
from posthorn_api.events.counting import asked_of, uuid_in
from posthorn_api.pending import Pending
from posthorn_api.webhooks.matching import seen_by

_REMEMBERED = 20_000


class FactSource(Protocol):
    """What the store knows about events."""

    async def facts(
        self, queued: Sequence[UUID], sized: Sequence[UUID], domains: Sequence[str]
    ) -> Facts:
        """As ``EventCheckpoint.facts``. Raises Unavailable."""
        ...


@dataclass(frozen=True, slots=True)
class Sight:
    """What must be known of a batch of events to show it to tenants."""

    facts: Facts
    senders: Mapping[UUID, UUID | None]

    def of(self, tenant: UUID | None, event: Event) -> Event | None:
        """Return the event as the tenant may see it; None: it may not. The whole platform sees
        all."""
        if tenant is None:
            return event
        seen = seen_by(tenant, event.message, [event], self.facts, self.senders)
        return seen[0] if seen else None


class EventSight:
    """Finds out what tenants may see. It remembers whose messages those were whose first event it
    has met; of others the trace is asked."""

    def __init__(self, source: FactSource, trace: Pending[Trace]) -> None:
        self._source = source
        self._trace = trace
        self._senders: OrderedDict[UUID, UUID | None] = OrderedDict()

    async def at(self, events: Sequence[Event]) -> Sight:
        """Return what must be known of these events. Raises Unavailable."""
        for event in events:
            if event.kind in (ACCEPTED, DNS_CHANGED):
                self._remember(event.message, uuid_in(event.detail.get("tenant")))
        messages = {event.message for event in events}
        queued, _, names = asked_of(events)
        facts = await self._source.facts(list(queued | messages), [], sorted(names))
        for message in messages - self._senders.keys():
            self._remember(message, sender_in(await self._trace.get().events_of(message)))
        return Sight(facts, {message: self._senders[message] for message in messages})

    def _remember(self, message: UUID, tenant: UUID | None) -> None:
        self._senders[message] = tenant
        self._senders.move_to_end(message)
        if len(self._senders) > _REMEMBERED:
            self._senders.popitem(last=False)


def sender_in(events: Iterable[Event]) -> UUID | None:
    """Return the tenant that sent the message of these events; None: a stranger did."""
    return next(
        (uuid_in(event.detail.get("tenant")) for event in events if event.kind == ACCEPTED), None
    )
