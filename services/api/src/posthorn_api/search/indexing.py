"""Filling the index of messages from the stream of events (ADR 43).

Theory:

- An entry is made for each recipient of a message and each tenant that may see it: the owner of the
  recipient's domain, and the tenant that sent it. How another tenant filed or withheld its copy, where
  its alias sent it on to, and from where it sent is written to that tenant's entry alone.
- A message is held back for ``HOLD_SECONDS``, or until every recipient has a final outcome: what
  happens in the meantime is one write instead of several.
- Who its recipients are stands in the event of its acceptance. Of a message whose acceptance was
  not seen, as of our own notifications, the store tells what there is to know.
- The later event counts, whatever order they come in, so that events may come twice: those read
  again after a restart make good what was held back by a process that died.
- What cannot be written is tried again, a bounded number of events; statistics do not wait for it.
- A write has a bounded number of entries, so that it fits in the time limit of a statement however
  many recipients messages have.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any
from uuid import UUID

import structlog
from prometheus_client import Counter

from posthorn.model import events as kinds
from posthorn.model.events import Event
from posthorn.ports import message_index as outcomes
from posthorn.ports.errors import Unavailable
from posthorn.ports.message_index import (
    INBOUND,
    INTERNAL,
    OUTBOUND,
    WAITING,
    IndexedMessage,
    Known,
    MessageHead,
    MessageIndex,
)
from posthorn_api.events.counting import domain_of
from posthorn_api.search.outcomes import (
    INDEXED,
    Change,
    changes_of,
    head_of,
    kept_detail,
)

log = structlog.get_logger()

HOLD_SECONDS = 2.0
_MOST_WAITING = 20_000
_MOST_HELD = 2_000
_AT_ONCE = 5_000
_MOST_WRITTEN = 2_000
"""Entries of one write; those of one message stay together."""
_MOST_TARGETS = 20

_written = Counter("posthorn_api_messages_indexed_total", "Entries written to the message index")
_left_out = Counter(
    "posthorn_api_index_events_left_out_total", "Events that the message index has not taken"
)


@dataclass(slots=True)
class _Held:
    """A message whose entries are not written yet."""

    until: float
    since: int
    """Number on the stream of the first event that is not written."""
    head: MessageHead = field(default_factory=MessageHead)
    entries: dict[tuple[UUID | None, str], IndexedMessage] = field(default_factory=dict)
    is_changed: bool = False

    def is_due(self, now: float) -> bool:
        return now >= self.until or not any(
            entry.outcome in WAITING for entry in self.entries.values()
        )


class Indexer:
    """Takes events with ``add``, and writes what they come to with ``work``."""

    def __init__(
        self, index: MessageIndex, kept_seconds: float, *, hold_seconds: float = HOLD_SECONDS
    ) -> None:
        """``kept_seconds``: how long events, and so entries, are kept."""
        self._index = index
        self._kept_seconds = kept_seconds
        self._hold_seconds = hold_seconds
        self._waiting: deque[tuple[int, Event]] = deque()
        self._held: dict[UUID, _Held] = {}

    def add(self, event: Event, sequence: int = 0) -> None:
        """Take note of an event. ``sequence``: its number on the stream."""
        if event.kind not in INDEXED:
            return
        if len(self._waiting) >= _MOST_WAITING:
            self._waiting.popleft()
            _left_out.inc()
        self._waiting.append((sequence, event))

    def reached(self, sequence: int) -> int:
        """Return up to which number on the stream all events are written, where those up to
        ``sequence`` were added."""
        begun = [number for number, _ in islice(self._waiting, 1)]
        begun += [held.since for held in self._held.values() if held.is_changed]
        return min([sequence, *(number - 1 for number in begun)])

    async def work(self) -> None:
        """Write what is due. Never raises for a fault of the store or of an event: it is tried
        again, or left out and counted."""
        try:
            while self._waiting:
                await self._write(keep=_MOST_HELD)
                await self._take(list(islice(self._waiting, _AT_ONCE)))
            await self._write()
        except Unavailable as fault:
            log.warning("the message index waits", fault=fault)
        except Exception:
            log.exception("events are left out of the message index", events=len(self._waiting))
            _left_out.inc(len(self._waiting))
            self._waiting.clear()
            self._held.clear()

    async def forget(self) -> None:
        """Delete some of the entries that are old. Raises Unavailable."""
        gone = await self._index.forget(self._kept_seconds)
        if gone:
            log.info("old entries of the message index forgotten", rows=gone)

    async def _take(self, numbered: Sequence[tuple[int, Event]]) -> None:
        """Change the entries of messages by events, and write those for which there is no room."""
        events = [event for _, event in numbered]
        since: dict[UUID, int] = {}
        for number, event in numbered:
            since.setdefault(event.message, number)
        changes = {at: changes_of(event) for at, event in enumerate(events)}
        messages = {event.message for event in events} - self._held.keys()
        begun = {event.message for event in events if event.kind == kinds.ACCEPTED}
        names = {domain_of(each.recipient) for some in changes.values() for each in some}
        known = await self._index.known(messages - begun, names - {""})
        until = time.monotonic() + self._hold_seconds
        for message in messages:
            self._held[message] = _Held(
                until, since[message], known.heads.get(message, MessageHead())
            )
        for entry in known.entries:
            held = self._held[entry.message]
            held.head = replace(entry.head, sender=_sender_of(entry) or held.head.sender)
            held.entries[entry.tenant, entry.recipient] = entry
        for at, event in sorted(enumerate(events), key=lambda each: each[1].at):
            self._apply(event, changes[at], known)
        for _ in events:
            self._waiting.popleft()
        await self._write(keep=_MOST_HELD)

    def _apply(self, event: Event, changes: Sequence[Change], known: Known) -> None:
        held, owners = self._held[event.message], known.owners
        if event.kind == kinds.ACCEPTED or (event.kind == kinds.REFUSED and not held.entries):
            held.head = head_of(event)
            for key, entry in held.entries.items():
                held.entries[key] = replace(entry, head=held.head)
        if event.kind == kinds.QUEUED:
            changes = self._queued(held, event, changes)
        elif event.kind == kinds.REFUSED and not changes:
            changes = [Change("", outcomes.REFUSED)]
        for change in changes:
            owner = owners.get(domain_of(change.recipient))
            for tenant in _tenants(held, change.recipient, owner):
                if not change.is_private or owner in (None, tenant):
                    _enter(held, tenant, owner, change, event)

    def _queued(self, held: _Held, event: Event, changes: Sequence[Change]) -> list[Change]:
        """Return the changes for recipients as they were addressed. The others are where aliases
        lead: which of them is told with each attempt."""
        named = {recipient for _, recipient in held.entries}
        known = [change for change in changes if change.recipient in named]
        if not named or len(known) == len(changes):
            return list(changes)
        return known + [
            Change(entry.recipient, outcomes.QUEUED)
            for entry in held.entries.values()
            if entry.outcome == outcomes.ACCEPTED
        ]

    async def _write(self, keep: int | None = None) -> None:
        """Write what is due; with ``keep`` only what is held besides so many."""
        now = time.monotonic()
        due = [each for each, held in self._held.items() if held.is_due(now)]
        if keep is not None:
            due += list(self._held)[: max(len(self._held) - keep, 0)]
        entries: list[IndexedMessage] = []
        messages: list[UUID] = []
        for message in dict.fromkeys(due):
            if self._held[message].is_changed:
                entries += self._held[message].entries.values()
            messages.append(message)
            if len(entries) >= _MOST_WRITTEN:
                await self._write_out(messages, entries)
                messages, entries = [], []
        await self._write_out(messages, entries)

    async def _write_out(self, messages: Sequence[UUID], entries: Sequence[IndexedMessage]) -> None:
        if entries:
            await self._index.write(entries)
            _written.inc(len(entries))
        for message in messages:
            del self._held[message]


def _tenants(held: _Held, recipient: str, owner: UUID | None) -> list[UUID | None]:
    """Return whose entries a recipient has, or should have; None: of no tenant."""
    found = [tenant for tenant, named in held.entries if named == recipient]
    tenants = [each for each in (owner, held.head.sender) if each is not None]
    return list(dict.fromkeys([*found, *tenants])) or [None]


def _enter(
    held: _Held, tenant: UUID | None, owner: UUID | None, change: Change, event: Event
) -> None:
    """Make or change the entry of a recipient for a tenant."""
    key = (tenant, change.recipient)
    found = held.entries.get(key)
    targets = found.targets if found else ()
    if change.target and tenant == owner and change.target not in targets:
        targets = (*targets, change.target)[:_MOST_TARGETS]
    if found is not None and not _follows(found, change.outcome, event.at):
        if targets != found.targets:
            held.entries[key], held.is_changed = replace(found, targets=targets), True
        return
    held.entries[key] = IndexedMessage(
        event.message,
        tenant,
        change.recipient,
        found.direction if found else _direction(tenant, owner, held.head, event),
        held.head,
        change.outcome,
        event.kind,
        event.at,
        _detail_for(tenant, owner, held.head, change, event),
        targets,
    )
    held.is_changed = True


def _detail_for(
    tenant: UUID | None, owner: UUID | None, head: MessageHead, change: Change, event: Event
) -> dict[str, Any]:
    """Return the details that a tenant may see: not where another's alias leads, nor whence another
    sent."""
    if change.target and tenant not in (None, owner):
        return {}
    found = kept_detail(event)
    if tenant is not None and head.sender not in (None, tenant):
        return {name: value for name, value in found.items() if name not in ("client", "helo")}
    return found


def _direction(tenant: UUID | None, owner: UUID | None, head: MessageHead, event: Event) -> str:
    if tenant is None:
        return INBOUND if event.kind in (kinds.ACCEPTED, kinds.REFUSED) else OUTBOUND
    if tenant == owner:
        return INTERNAL if tenant == head.sender else INBOUND
    return OUTBOUND


def _sender_of(entry: IndexedMessage) -> UUID | None:
    return entry.tenant if entry.direction in (OUTBOUND, INTERNAL) else None


def _follows(found: IndexedMessage, outcome: str, at: float) -> bool:
    """Return whether an outcome takes the place of one that is there."""
    if outcome == outcomes.ACCEPTED or (
        found.outcome == outcomes.JUNK and outcome == outcomes.DELIVERED
    ):
        return False
    return at >= found.at or found.outcome == outcomes.ACCEPTED
