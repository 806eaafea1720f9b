"""Search for what filtering did to messages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from posthorn.model.events import FILED, QUARANTINED, REFUSED, Event
from posthorn.ports.api_keys import ApiKey
from posthorn.ports.events import EventSearch
from posthorn.ports.queue_administration import QueueAdministration
from posthorn.runtime.fair_slots import FairSlots
from posthorn.runtime.holders import present_holder
from posthorn.wire.foreign_address import canonical
from posthorn_api.pending import Pending
from posthorn_api.queue.service import domains_in, visible_to

KINDS = {"refused": REFUSED, "quarantined": QUARANTINED, "junk": FILED}
"""Kinds of events by outcome."""
_DEFAULT = timedelta(days=1)
_AT_ONCE, _AT_ONCE_EACH = 4, 2

type Place = tuple[int, int]


@dataclass(frozen=True, slots=True)
class SearchFilter:
    """A filter; None: any."""

    outcome: str | None = None
    recipient: str | None = None
    sender: str | None = None
    """The author or the reverse-path."""
    reason: str | None = None
    since: datetime | None = None
    """None: a day ago."""

    def matches(self, event: Event) -> bool:
        """Return whether an event is looked for."""
        detail = event.detail
        if event.kind == FILED and detail.get("action") != "junk":
            return False
        if self.reason is not None and detail.get("reason") != self.reason:
            return False
        listed = detail.get("recipients")
        named = listed if isinstance(listed, list) else [detail.get("recipient")]
        if self.recipient is not None and not _is_among(self.recipient, named):
            return False
        senders = [detail.get("author"), detail.get("reverse_path")]
        return self.sender is None or _is_among(self.sender, senders)


class SearchService:
    """Takes the caller's key and shows what its tenant sees. Raises Unavailable."""

    def __init__(self, queue: QueueAdministration, search: Pending[EventSearch]) -> None:
        self._queue = queue
        self._search = search
        self._slots = FairSlots("searches of events", _AT_ONCE, most_each=_AT_ONCE_EACH, spare=1)

    async def events(
        self, caller: ApiKey, which: SearchFilter, after: Place | None, limit: int
    ) -> tuple[Sequence[Event], Place | None]:
        """Return events, the oldest first, and where to go on."""
        kinds = set(KINDS.values()) if which.outcome is None else {KINDS[which.outcome]}
        since = which.since or datetime.now(UTC) - _DEFAULT
        async with self._slots.hold(present_holder()):
            page = await self._search.get().search(kinds, since, after, which.matches, limit)
        found = list(dict.fromkeys(map(_Once, page.events)))
        events = [each.event for each in found]
        if caller.tenant is None:
            return events, page.next
        domains = await self._queue.own_domains(caller.tenant, domains_in(events))
        seen = visible_to(caller.tenant, events, frozenset(), is_sender=False, domains=domains)
        return [each for each in seen if which.matches(each)], page.next


class _Once:
    """An event that equals another sending of it."""

    def __init__(self, event: Event) -> None:
        self.event = event
        self._key = (event.message, event.at, event.kind, repr(event.detail))

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Once) and self._key == other._key


def _is_among(address: str, named: Sequence[object]) -> bool:
    wanted = canonical(address)
    return any(isinstance(each, str) and canonical(each) == wanted for each in named)
