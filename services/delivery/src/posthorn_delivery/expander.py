"""The expander: queues the targets of wide aliases, slice by slice, beside the batches (ADR 19).

Rules:

- Every delivery process expands; row locks ensure that no two work on the same expansion. A slice
  is one short transaction, and tenants take turns, so neither another tenant's aliases nor first
  deliveries wait for a large one.
- After a slice the process pauses as long as the slice took, 50 ms at most.
- A fault of a part is waited out. Any other failure postpones that one expansion.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from contextlib import suppress

import structlog
from prometheus_client import Counter, Gauge

from posthorn.model.envelope import Envelope
from posthorn.model.events import BOUNCED, DELIVERED, Event
from posthorn.ports.errors import Unavailable
from posthorn.ports.events import Events, NoEvents
from posthorn.ports.expansions import Expanded, Expansions, SliceRecipients
from posthorn.ports.mailboxes import Resolution
from posthorn.ports.notifications import Notifier
from posthorn.runtime.ids import new_id
from posthorn_delivery.filing import count, file_copies
from posthorn_delivery.outcome_events import record_filing
from posthorn_delivery.routing import GONE_REPLY, GONE_STATUS, route

log = structlog.get_logger()

_slices = Counter("posthorn_delivery_expansion_slices_total", "Slices of wide aliases queued")
_addresses = Counter(
    "posthorn_delivery_expanded_total", "Addresses that wide aliases were expanded to"
)
_faults = Counter("posthorn_delivery_expansion_faults_total", "Slices that failed or were refused")
_open = Gauge("posthorn_delivery_expansions", "Wide aliases of messages that are not expanded yet")
_oldest = Gauge(
    "posthorn_delivery_expansions_oldest_seconds", "Age of the oldest of them; 0 when there is none"
)

SLICE_ADDRESSES = 100
"""Addresses queued by one transaction."""
_LOOK_EVERY = 1.0
_LONGEST_REST = 0.05
_FIRST_PAUSE = 0.1
_LAST_PAUSE = 5.0


class Expander:
    """Expands what is due. ``rewriting``: SRS keys, as for ``Deliverer``."""

    def __init__(
        self,
        expansions: Expansions,
        *,
        rewriting: Sequence[bytes] = (),
        notifier: Notifier | None = None,
        events: Events | None = None,
    ) -> None:
        self._expansions = expansions
        self._rewriting = rewriting
        self._notifier = notifier
        self._events = events or NoEvents()
        self._kicked = asyncio.Event()
        self._measured_at = -math.inf

    def kick(self) -> None:
        """Check for work at once: an alias was queued for expansion."""
        self._kicked.set()

    async def run(self) -> None:
        """Expand until cancelled; run as a supervised task."""
        pause = _FIRST_PAUSE
        while True:
            began = time.monotonic()
            rest = _LOOK_EVERY
            try:
                if await self.expand_once() is not None:
                    rest = min(_LONGEST_REST, time.monotonic() - began)
                await self._measure(began)
                pause = _FIRST_PAUSE
            except Unavailable as fault:
                if pause == _FIRST_PAUSE:
                    log.warning("not expanded yet", fault=fault)
                rest, pause = pause, min(_LAST_PAUSE, pause * 2)
            except Exception:
                _faults.inc()
                log.exception("an alias cannot be expanded; postponed")
                rest = _LONGEST_REST
            if rest != _LOOK_EVERY:
                await asyncio.sleep(rest)
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(rest):
                    await self._kicked.wait()
            self._kicked.clear()

    async def expand_once(self) -> Expanded | None:
        """Queue one slice and return it; None when nothing is due. Raises Unavailable."""
        done = await self._expansions.expand(SLICE_ADDRESSES, self._route)
        if done is None:
            return None
        _slices.inc()
        _addresses.inc(done.entries + len(done.outbound))
        if done.refused:
            _faults.inc()
        if self._notifier is not None and done.outbound:
            self._notifier.notify({each.destination for each in done.outbound})
        count(done.entries, done.filed, done.withheld)
        self._tell(done)
        return done

    def _route(self, envelope: Envelope, resolution: Resolution) -> SliceRecipients:
        found = route(envelope, resolution, {}, self._rewriting, at_once=math.inf, is_slice=True)
        filing = file_copies(envelope, found, resolution.filing, new_id, {})
        kept = filing.routes
        return SliceRecipients(kept.accounts, kept.outbound, filing.filed, filing.withheld)

    def _tell(self, done: Expanded) -> None:
        envelope, (recipient,) = done.envelope, done.envelope.recipients
        now = time.time()
        if done.gone:
            detail = {
                "recipient": recipient,
                "host": "",
                "reply": done.refused or GONE_REPLY,
                "status": GONE_STATUS,
            }
            self._events.record(Event(envelope.id, now, BOUNCED, detail))
        elif done.done and done.accounts:
            self._events.record(Event(envelope.id, now, DELIVERED, {"recipients": [recipient]}))
        reached = {recipient: tuple(done.filed)}
        record_filing(
            self._events, envelope, reached, done.filed, done.withheld, now, is_slice=True
        )
        log.info(
            "expanded",
            message=str(envelope.id),
            tenant=str(done.tenant),
            entries=done.entries,
            queued=len(done.outbound),
            finished=done.done,
            refused=done.refused,
        )

    async def _measure(self, now: float) -> None:
        if now - self._measured_at >= _LAST_PAUSE:
            self._measured_at = now
            waiting = await self._expansions.waiting()
            _open.set(waiting.number)
            _oldest.set(waiting.oldest_seconds)
