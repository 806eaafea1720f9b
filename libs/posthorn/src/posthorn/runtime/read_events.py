"""Events that messages were read, for their traces; recorded without delaying the clients.

Theory of operation:

- A client may fetch tens of thousands of messages in a second, and recording one costs as much as
  sending it. So the sessions only put what was read into a bounded queue, and a task publishes from
  it at a steady rate; a burst is published over some minutes.
- The queue fills up when NATS is unreachable or clients read faster than that for long: then the
  oldest are dropped, and counted.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from uuid import UUID

from posthorn.model.events import READ, Event
from posthorn.ports.clock import Clock
from posthorn.ports.events import Events

KEPT = 50_000
"""Events that wait to be published at most."""
AT_ONCE = 200
"""Events published at once, or a few more."""
PAUSE_SECONDS = 0.1
"""Time between two such batches: 2000 events a second take a few hundredths of a core."""


class ReadEvents:
    """What all sessions of this process have read and is not published yet."""

    def __init__(
        self,
        count_dropped: Callable[[int], None],
        *,
        kept: int = KEPT,
        clock: Clock = time.time,
    ) -> None:
        """``count_dropped``: takes the number of events that are dropped."""
        self._count_dropped = count_dropped
        self._clock = clock
        self._kept = kept
        self._bundles: deque[tuple[Sequence[UUID], float, Mapping[str, str]]] = deque()
        self.waiting = 0
        """Events that wait to be published."""
        self._some = asyncio.Event()

    def note(self, messages: Sequence[UUID], detail: Mapping[str, str]) -> None:
        """Queue that messages were sent whole now. Never waits, never raises."""
        self._bundles.append((messages, self._clock(), detail))
        self.waiting += len(messages)
        while self.waiting > self._kept:
            self._count_dropped(len(self._next()[0]))
        self._some.set()

    async def publish(self, events: Events) -> None:
        """Publish what is queued, until cancelled; then all that is left."""
        try:
            while True:
                await self._some.wait()
                self._publish(events, AT_ONCE)
                if not self._bundles:
                    self._some.clear()
                await asyncio.sleep(PAUSE_SECONDS)
        finally:
            self._publish(events, self.waiting)

    def _publish(self, events: Events, least: int) -> None:
        """Publish whole bundles until it is enough."""
        while self._bundles and least > 0:
            messages, at, detail = self._next()
            events.record(*[Event(message, at, READ, detail) for message in messages])
            least -= len(messages)

    def _next(self) -> tuple[Sequence[UUID], float, Mapping[str, str]]:
        bundle = self._bundles.popleft()
        self.waiting -= len(bundle[0])
        return bundle
