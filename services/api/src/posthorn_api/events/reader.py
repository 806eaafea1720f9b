"""Reading the stream of events once, for the statistics and for webhooks.

Theory:

- One API process reads; the others stand by, and one takes over ``LEAD_SECONDS`` after the reader
  died.
- What a batch comes to is written in one transaction with the place it ends at: it counts once,
  whoever is killed at whatever moment.
- A recorder that got no acknowledgement sends its events again, in other bundles: lines that were
  read lately are left out. A new reader first reads back a little, to know them. A delivery has an
  id made of its event besides, so that not even an old repeat makes a second one.
- What DMARC found of refused messages is counted for reports (``model.dmarc_evaluation``).
- Whose message it is stands in its first event. The tenants of messages read lately are remembered;
  of others the trace is asked, and only when a webhook may have to be told.
- A batch that cannot be written for its contents is given up and logged: the stream goes on.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Protocol
from uuid import UUID

import structlog
from prometheus_client import Counter, Gauge

from posthorn.model.events import ACCEPTED, Event, EventError, decode_event
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
from posthorn.runtime.json_bytes import loads
from posthorn_api.events.counting import asked_of, counted, refused_evaluations, uuid_in
from posthorn_api.webhooks.matching import matched, wanted

log = structlog.get_logger()

LEAD_SECONDS = 15.0
_RENEW_SECONDS = 5.0
_STAND_BY_SECONDS = 3.0
_WAIT_SECONDS = 2.0
_GATHER_SECONDS = 0.1
_FAULT_SECONDS = 2.0
_UPKEEP_SECONDS = 60.0
_READ_BACK = 200
_REMEMBERED = 100_000

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
        book: EventCheckpoint,
        trace: Trace,
        statistics: Statistics,
        dispatch: Dispatch,
        sender: WebhookSender,
        *,
        counts_dmarc: bool = True,
    ) -> None:
        self._log = log_
        self._book = book
        self._trace = trace
        self._statistics = statistics
        self._dispatch = dispatch
        self._sender = sender
        self._counts_dmarc = counts_dmarc
        self._senders: OrderedDict[UUID, UUID | None] = OrderedDict()
        self._lines: OrderedDict[bytes, None] = OrderedDict()
        self._upkeep_at = 0.0
        self.leads = False
        """Whether this process is the one that reads."""

    async def run(self) -> None:
        """Read for ever, as long as no other process does."""
        while True:
            try:
                if await self._book.lead(LEAD_SECONDS):
                    self.leads = True
                    try:
                        await self._read_on()
                    finally:
                        self.leads = False
                        with suppress(Unavailable):
                            await asyncio.shield(self._book.resign())
                await asyncio.sleep(_STAND_BY_SECONDS)
            except Unavailable as fault:
                log.warning("events wait to be counted", part=fault.part, detail=str(fault))
                await asyncio.sleep(_FAULT_SECONDS)

    async def _read_on(self) -> None:
        """Read as the one reader, until another one is."""
        self._lines.clear()
        renew_at = time.monotonic() + _RENEW_SECONDS
        stream, place = await self._begin()
        while True:
            if time.monotonic() >= renew_at:
                if not await self._book.lead(LEAD_SECONDS):
                    return
                renew_at = time.monotonic() + _RENEW_SECONDS
            await self._look_after()
            reading = await self._log.after(place, _WAIT_SECONDS)
            if not reading.messages:
                if (await self._log.extent())[0] != stream:
                    stream, place = await self._begin()
                continue
            if not await self.take(stream, place, reading):
                log.info("another process reads the events")
                return
            place = reading.reached
            await asyncio.sleep(_GATHER_SECONDS)

    async def _begin(self) -> tuple[datetime, int]:
        """Find the place, and read back a little before it."""
        stream, last = await self._log.extent()
        place = await self._book.position(stream)
        if place > last:  # the server lost the end of the stream, and gives its numbers again
            log.warning("the stream of events is shorter than it was", place=place, last=last)
            await self._book.write(stream, place, last, {}, ())
            place = last
        back = max(place - _READ_BACK, 0)
        while back < place:
            reading = await self._log.after(back, 0.1)
            if not reading.messages:
                break
            self._fresh([message for message in reading.messages if message[0] <= place])
            back = reading.reached
        log.info("reads the events", place=place)
        return stream, place

    async def take(self, stream: datetime, place: int, reading: Reading) -> bool:
        """Make of a part of the stream what it comes to. False when another has. Raises
        Unavailable."""
        events = self._fresh(reading.messages)
        try:
            counts, deliveries = await self._made_of(events)
            evaluations = refused_evaluations(events) if self._counts_dmarc else {}
            done = await self._book.write(
                stream, place, reading.reached, counts, deliveries, evaluations
            )
        except Unavailable:
            self._lines.clear()  # they come again
            raise
        except Exception:
            log.exception(
                "events are given up", first=place + 1, last=reading.reached, events=len(events)
            )
            _given_up.inc()
            return await self._book.write(stream, place, reading.reached, {}, ())
        if done:
            _events.inc(len(events))
            if events:
                _behind.set(events[-1].at)
            if deliveries:
                _entered.inc(len(deliveries))
                self._sender.wake()
        return done

    async def _made_of(
        self, events: Sequence[Event]
    ) -> tuple[Mapping[Slot, Count], Sequence[NewDelivery]]:
        if not events:
            return {}, ()
        webhooks = await self._book.listeners()
        telling = wanted(events, webhooks) if webhooks else []
        queued, sized, names = asked_of(events)
        queued |= {event.message for event in telling}
        facts = (
            await self._book.facts(list(queued), list(sized), sorted(names))
            if queued or sized or names
            else _NONE
        )
        counts = counted(events, facts)
        return counts, await self._told(telling, webhooks, facts)

    async def _told(
        self, events: Sequence[Event], webhooks: Sequence[Webhook], facts: Facts
    ) -> Sequence[NewDelivery]:
        if not events:
            return ()
        if any(webhook.tenant is not None for webhook in webhooks):
            for message in {event.message for event in events} - self._senders.keys():
                self._remember(message, _sender_in(await self._trace.events_of(message)))
        return matched(events, webhooks, facts, self._senders)

    def _fresh(self, messages: Sequence[tuple[int, bytes]]) -> list[Event]:
        """Read events, and leave out those read lately."""
        found: list[Event] = []
        for _, data in messages:
            for line in data.split(b"\n"):
                digest = hashlib.blake2b(line, digest_size=16).digest()
                if not line or digest in self._lines:
                    continue
                self._lines[digest] = None
                try:
                    event = decode_event(line, loads=loads)
                except EventError as error:
                    log.warning("an event cannot be decoded", detail=str(error))
                    continue
                found.append(event)
                if event.kind == ACCEPTED:
                    self._remember(event.message, uuid_in(event.detail.get("tenant")))
        while len(self._lines) > _REMEMBERED:
            self._lines.popitem(last=False)
        return found

    def _remember(self, message: UUID, tenant: UUID | None) -> None:
        self._senders[message] = tenant
        if len(self._senders) > _REMEMBERED:
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


_NONE = Facts({}, {}, {})


def _sender_in(events: Sequence[Event]) -> UUID | None:
    return next(
        (uuid_in(event.detail.get("tenant")) for event in events if event.kind == ACCEPTED), None
    )
