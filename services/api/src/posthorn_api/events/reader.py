"""Reading the stream of events once, for the statistics and for webhooks.

Theory:

- The events are divided into shares by the ids of their messages, and processes lead shares
  (``shares``). Each fetches the whole stream, and decodes the lines of its shares only (ADR 41).
- What a batch comes to is written in one transaction with the positions it ends at: it counts once,
  whoever is killed at whatever moment.
- Lines that were read lately are left out (``lines``). A new reader first reads back a little, to
  know them. A delivery has an id made of its event besides, so that not even an old repeat makes a
  second one.
- What DMARC found of refused messages is counted for reports (``model.dmarc_evaluation``).
- Whose message it is stands in its first event. The tenants of messages read lately are remembered;
  of others the trace is asked, and only when a webhook may have to be told.
- The message index takes the same events, those read back too, in its own transactions
  (``search.indexing``). Up to where it holds them is written with the positions, once a second at
  most: a new reader reads back to there.
- What has gathered meanwhile is one batch: batches are a tenth of a second apart, half a second
  under load, and follow each other at once while the reader is behind.
- A batch that cannot be written for its contents is given up and logged: the stream goes on.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

import structlog
from prometheus_client import Counter, Gauge

from posthorn.model.events import ACCEPTED, DNS_CHANGED, Event
from posthorn.ports.errors import Unavailable
from posthorn.ports.events import Trace
from posthorn.ports.statistics import (
    KEPT_DAYS,
    Count,
    EventCheckpoint,
    EventLog,
    Facts,
    Reading,
    Slot,
    Statistics,
)
from posthorn.ports.webhooks import Dispatch, NewDelivery, Webhook
from posthorn_api.events.counting import (
    asked_of,
    counted,
    counted_by_route,
    refused_evaluations,
    uuid_in,
)
from posthorn_api.events.lines import REMEMBERED, RecentLines
from posthorn_api.events.shares import ShareLeases
from posthorn_api.events.sight import sender_in
from posthorn_api.search.indexing import Indexer
from posthorn_api.webhooks.matching import matched, wanted

log = structlog.get_logger()

_RENEW_SECONDS = 5.0
_STAND_BY_SECONDS = 3.0
_WAIT_SECONDS = 2.0
_GATHER_SECONDS = 0.1
_GATHER_BUSY_SECONDS = 0.5
_BUSY_BYTES = 16 * 1024
"""Bytes of events in a batch from which on batches are further apart: its statements are the same
for few events and for many."""
_FAULT_SECONDS = 2.0
_UPKEEP_SECONDS = 60.0
_READ_BACK = 200
_READ_BACK_MOST = 100_000
"""Messages of the stream that are read again for the index: a release before, which does not write
how far it is, may have read many meanwhile."""
_NOTE_SECONDS = 1.0
_FALLEN_BEHIND = 1000

_events = Counter("posthorn_api_events_read_total", "Events read for statistics and webhooks")
_given_up = Counter(
    "posthorn_api_event_batches_given_up_total", "Batches of events that could not be written"
)
_entered = Counter("posthorn_api_webhook_deliveries_total", "Deliveries entered for webhooks")
_behind = Gauge(
    "posthorn_api_events_read_at_seconds", "Time of the newest event that was read, since the epoch"
)


class WebhookSender(Protocol):
    """Told that deliveries were entered."""

    def wake(self) -> None:
        """Something is due."""
        ...


class EventReader:
    """Reads events; ``run`` is a supervised task."""

    def __init__(
        self,
        log_: EventLog,
        checkpoint: EventCheckpoint,
        trace: Trace,
        statistics: Statistics,
        dispatch: Dispatch,
        sender: WebhookSender,
        *,
        counts_dmarc: bool = True,
        readers: int = 1,
        indexer: Indexer | None = None,
        read_id: Callable[[str], UUID] = UUID,
    ) -> None:
        """``indexer``: None: no message index is kept. ``read_id``: reads the ids of messages."""
        self._log = log_
        self._checkpoint = checkpoint
        self._trace = trace
        self._statistics = statistics
        self._dispatch = dispatch
        self._sender = sender
        self._counts_dmarc = counts_dmarc
        self._indexer = indexer
        self._senders: OrderedDict[UUID, UUID | None] = OrderedDict()
        self._lines = RecentLines(read_id)
        self._leases = ShareLeases(checkpoint, readers)
        self._upkeep_at = 0.0
        self._noted_at = 0.0

    @property
    def shares(self) -> frozenset[int]:
        """The shares that this process reads."""
        return self._leases.shares

    @property
    def leads(self) -> bool:
        """Whether this process does what one of all readers has to do: the reader of share 0."""
        return 0 in self.shares

    async def run(self) -> None:
        """Read for ever what no other process does."""
        while True:
            try:
                try:
                    while await self._leases.take() and await self._read_on():
                        pass
                finally:
                    await self._leases.resign()
                await asyncio.sleep(_STAND_BY_SECONDS)
            except Unavailable as fault:
                log.warning("events wait to be counted", fault=fault)
                await asyncio.sleep(_FAULT_SECONDS)

    async def _read_on(self) -> bool:
        """Read the shares until they are others; False when another process has read them."""
        self._lines.clear()
        shares, renew_at = self.shares, time.monotonic() + _RENEW_SECONDS
        stream, positions = await self._begin()
        place = min(positions.values())
        while True:
            if time.monotonic() >= renew_at:
                if not await self._leases.take() or self.shares != shares:
                    return True
                renew_at = time.monotonic() + _RENEW_SECONDS
            if self.leads:
                await self._look_after()
            reading = await self._log.after(place, _WAIT_SECONDS)
            if not reading.messages:
                if self._indexer is not None:
                    await self._indexer.work()
                if (await self._log.extent())[0] != stream:
                    stream, positions = await self._begin()
                    place = min(positions.values())
                continue
            moved = await self.take(stream, positions, reading)
            if moved is None:
                log.info("another process reads the events")
                return False
            place, positions = reading.reached, moved
            if not reading.more:
                size = sum(len(data) for _, data in reading.messages)
                is_busy = size >= _BUSY_BYTES
                await asyncio.sleep(_GATHER_BUSY_SECONDS if is_busy else _GATHER_SECONDS)

    async def _begin(self) -> tuple[datetime, Mapping[int, int]]:
        """Find the positions of the shares, and read back a little before the first of them."""
        stream, last = await self._log.extent()
        found = await self._checkpoint.positions(stream)
        positions = {share: found[share] for share in sorted(self.shares)}
        place = max(positions.values())
        if place > last:  # the server lost the end of the stream, and gives its numbers again
            log.warning("the stream of events is shorter than it was", place=place, last=last)
            kept = {share: min(place, last) for share, place in positions.items()}
            await self._checkpoint.write(stream, positions, kept, {}, ())
            positions = kept
        place = min(positions.values())
        back = await self._back(stream, place)
        while back < place:
            reading = await self._log.after(back, 0.1)
            if not reading.messages:
                break
            earlier = [message for message in reading.messages if message[0] <= place]
            self._fresh(positions, earlier)
            if self._indexer is not None:
                await self._indexer.work()
            back = reading.reached
        log.info("reads the events", place=place, shares=list(positions))
        return stream, positions

    async def _back(self, stream: datetime, place: int) -> int:
        """Return where to begin to read back from a place."""
        back = place - _READ_BACK
        if self._indexer is not None:
            indexed = await self._checkpoint.indexed(stream)
            back = min(
                [back, *(reached for share, reached in indexed.items() if share in self.shares)]
            )
        return max(back, place - _READ_BACK_MOST, 0)

    def _indexed(self, reached: int) -> Mapping[int, int]:
        """Return what to note of the index, when it is time to."""
        now = time.monotonic()
        if self._indexer is None or now < self._noted_at + _NOTE_SECONDS:
            return {}
        self._noted_at = now
        return dict.fromkeys(self.shares, self._indexer.reached(reached))

    async def take(
        self, stream: datetime, positions: Mapping[int, int], reading: Reading
    ) -> Mapping[int, int] | None:
        """Make of a part of the stream what it comes to. ``positions``: those reached before, of
        the shares that are read. Return those reached then; None when another process has read.
        Raises Unavailable."""
        events, shares = self._fresh(positions, reading.messages)
        moved = _moved(positions, shares, reading.reached)
        before = {share: positions[share] for share in moved}
        if self._indexer is not None:
            await self._indexer.work()
        try:
            counts, deliveries = await self._made_of(events)
            evaluations = refused_evaluations(events) if self._counts_dmarc else {}
            done = await self._checkpoint.write(
                stream,
                before,
                moved,
                counts,
                deliveries,
                evaluations,
                self._indexed(reading.reached),
            )
        except Unavailable:
            self._lines.clear()  # they come again
            raise
        except Exception:
            log.exception(
                "events are given up",
                first=min(positions.values()) + 1,
                last=reading.reached,
                events=len(events),
            )
            _given_up.inc()
            done = await self._checkpoint.write(stream, before, moved, {}, ())
            return {**positions, **moved} if done else None
        if not done:
            return None
        _events.inc(len(events))
        if events:
            _behind.set(events[-1].at)
        if deliveries:
            _entered.inc(len(deliveries))
            self._sender.wake()
        return {**positions, **moved}

    async def _made_of(
        self, events: Sequence[Event]
    ) -> tuple[Mapping[Slot, Count], Sequence[NewDelivery]]:
        if not events:
            return {}, ()
        webhooks = await self._checkpoint.listeners()
        telling = wanted(events, webhooks) if webhooks else []
        queued, sized, names = asked_of(events)
        queued |= {event.message for event in telling}
        facts = (
            await self._checkpoint.facts(list(queued), list(sized), sorted(names))
            if queued or sized or names
            else _NONE
        )
        counts = {**counted(events, facts), **counted_by_route(events)}
        return counts, await self._told(telling, webhooks, facts)

    async def _told(
        self, events: Sequence[Event], webhooks: Sequence[Webhook], facts: Facts
    ) -> Sequence[NewDelivery]:
        if not events:
            return ()
        if any(webhook.tenant is not None for webhook in webhooks):
            for message in {event.message for event in events} - self._senders.keys():
                self._remember(message, sender_in(await self._trace.events_of(message)))
        return matched(events, webhooks, facts, self._senders)

    def _fresh(
        self, positions: Mapping[int, int], messages: Sequence[tuple[int, bytes]]
    ) -> tuple[list[Event], set[int]]:
        """Read the events of the shares that are not counted yet. Return them and the shares that
        have lines."""
        lines, shares = self._lines.decode(positions, messages)
        for line in lines:
            if self._indexer is not None:
                self._indexer.add(line.event, line.sequence)
            if line.event.kind in (ACCEPTED, DNS_CHANGED):
                self._remember(line.event.message, uuid_in(line.event.detail.get("tenant")))
        return [line.event for line in lines if line.is_new], shares

    def _remember(self, message: UUID, tenant: UUID | None) -> None:
        self._senders[message] = tenant
        if len(self._senders) > REMEMBERED:
            self._senders.popitem(last=False)

    async def _look_after(self) -> None:
        """Now and then forget what is old, and pause webhooks without hope."""
        if time.monotonic() < self._upkeep_at:
            return
        self._upkeep_at = time.monotonic() + _UPKEEP_SECONDS
        for webhook in await self._dispatch.upkeep():
            log.warning(
                "a webhook is paused: it has failed for days, or too much waits for it",
                webhook=str(webhook),
            )
        gone = await self._statistics.forget(KEPT_DAYS)
        if gone:
            log.info("old statistics forgotten", rows=gone)
        if self._indexer is not None:
            await self._indexer.forget()


_NONE = Facts({}, {}, {})


def _moved(positions: Mapping[int, int], shares: Collection[int], reached: int) -> dict[int, int]:
    """Return the positions to write: of the shares that had lines, of the first one, which stands
    for the whole stream to an earlier release, and of those that have fallen behind. Each is a row
    to write; the others have nothing to read again after a restart."""
    first = min(positions)
    return {
        share: max(place, reached)
        for share, place in positions.items()
        if share in shares or share == first or reached - place >= _FALLEN_BEHIND
    }
