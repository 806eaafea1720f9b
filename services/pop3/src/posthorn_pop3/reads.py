"""That messages were read, for their traces: told behind the clients' backs, and never at their expense.

Theory of operation:

- A client may fetch tens of thousands of messages in a second, and recording one costs as much as sending it. So the sessions only
  put down what was read, in a bounded queue, and a task hands it on at a steady pace; a burst is told of in the minutes after it.
- The queue fills up when NATS was never there or clients read faster than that for long: then the oldest are dropped, and counted.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Mapping, Sequence
from uuid import UUID

from prometheus_client import Counter

from posthorn.model.events import READ, Event
from posthorn.ports.clock import Clock
from posthorn.ports.events import Events

KEPT = 50_000
"""Reads that wait to be told of at most."""
AT_ONCE = 200
"""Reads told of at once, or a few more,"""
PAUSE_SECONDS = 0.1
"""and the time from then to the next: 2000 a second take a few hundredths of a core."""

_dropped = Counter("posthorn_pop3_reads_dropped_total", "Messages read that no trace will tell of")


class Reads:
    """What all sessions of this process have read and nobody was told yet."""

    def __init__(self, *, kept: int = KEPT, clock: Clock = time.time) -> None:
        self._clock = clock
        self._kept = kept
        self._bundles: deque[tuple[Sequence[UUID], float, Mapping[str, str]]] = deque()
        self.waiting = 0
        """Messages that wait to be told of."""
        self._some = asyncio.Event()

    def note(self, messages: Sequence[UUID], detail: Mapping[str, str]) -> None:
        """Put down that messages were handed over whole now; they are kept as they are. Never waits, never raises."""
        self._bundles.append((messages, self._clock(), detail))
        self.waiting += len(messages)
        while self.waiting > self._kept:
            _dropped.inc(len(self._next()[0]))
        self._some.set()

    async def tell(self, events: Events) -> None:
        """Hand on what is put down, until cancelled; then all that is left."""
        try:
            while True:
                await self._some.wait()
                self._hand_on(events, AT_ONCE)
                if not self._bundles:
                    self._some.clear()
                await asyncio.sleep(PAUSE_SECONDS)
        finally:
            self._hand_on(events, self.waiting)

    def _hand_on(self, events: Events, least: int) -> None:
        """Hand on whole bundles until it is enough."""
        while self._bundles and least > 0:
            messages, at, detail = self._next()
            events.record(*[Event(message, at, READ, detail) for message in messages])
            least -= len(messages)

    def _next(self) -> tuple[Sequence[UUID], float, Mapping[str, str]]:
        bundle = self._bundles.popleft()
        self.waiting -= len(bundle[0])
        return bundle
