"""The events as they happen, for those who follow them.

Theory:

- Each process reads the end of the stream once, for all its followers, and only while it has some.
- A follower that asks for what was before, or that does not keep up, reads the stream by itself from
  its own place until it has reached the common one. So nothing is held in memory for it but
  ``_MOST_WAITING`` events, and it loses nothing that is retained.
- A place names the next line to be read: the stream (by the time of its creation), the number of the
  message on it and the line therein.
- The common place moves without a pause between the last event handed over and the place itself. A
  follower that has reached it joins in the same step of the loop, and leaves out what it has read.
- What a tenant may see needs Postgres (``sight``). Without it events wait where they are.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

import structlog
from prometheus_client import Gauge

from posthorn.model.events import Event, EventError, decode_event
from posthorn.ports.api_keys import ApiKey
from posthorn.ports.errors import Unavailable
from posthorn.ports.statistics import EventLog, Reading
from posthorn.runtime.json_bytes import loads
from posthorn_api.events.sight import EventSight
from posthorn_api.http.problems import RateLimited
from posthorn_api.pending import Pending

log = structlog.get_logger()

MOST = 200
"""Followers of a process."""
MOST_EACH = 10
"""Followers of one caller in a process."""
MOST_OF_TENANT = 50
"""Followers of all callers of one tenant: it may make as many keys as it likes."""
_MOST_WAITING = 1_000
_READERS = 4
"""Followers that read the stream by themselves at a time."""
_WAIT_SECONDS = 2.0
_GATHER_SECONDS = 0.1
_FAULT_SECONDS = 1.0
_RETRY_SECONDS = 5.0

_followers = Gauge("posthorn_api_event_followers", "Connections that follow the events")


class Place(NamedTuple):
    """The next line of the stream to be read."""

    stream: int
    """When the stream was created, in microseconds since the epoch."""
    sequence: int
    line: int = 0

    def __str__(self) -> str:
        return f"{self.stream}-{self.sequence}-{self.line}"


def place_in(text: str) -> Place | None:
    """Return the place in a text; None when it is none."""
    parts = text.split("-")
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() for part in parts):
        return None
    place = Place(*(int(part) for part in parts))
    return place if max(place) < 2**63 else None


@dataclass(frozen=True, slots=True)
class Placed:
    """What a follower is told: an event, or something about the following itself."""

    event: Event | None
    next: Place
    """Where to go on after it."""
    notice: str = ""
    """``behind``: more has happened than fits in memory, and is read again from the stream. ``gap``:
    events between the place asked for and this one are not retained. ``here``: nothing has
    happened."""


@dataclass(slots=True, eq=False)
class Follower:
    """One who follows. ``kinds``: empty for all. ``message``: whose events alone; None: of all."""

    tenant: UUID | None
    kinds: frozenset[str]
    place: Place
    message: UUID | None = None
    is_live: bool = False
    waiting: deque[Placed] = field(default_factory=deque)
    some: asyncio.Event = field(default_factory=asyncio.Event)

    def wants(self, event: Event) -> bool:
        """Return whether it asked for such events."""
        return (not self.kinds or event.kind in self.kinds) and self.message in (
            None,
            event.message,
        )

    def hand(self, placed: Placed) -> None:
        """Pass it an event, unless too many wait: then it must read by itself."""
        if not self.is_live or placed.next <= self.place:
            return
        if len(self.waiting) >= _MOST_WAITING:
            self.is_live = False
            self.waiting.clear()
        else:
            self.waiting.append(placed)
        self.some.set()


class EventFeed:
    """The events for followers of one process."""

    def __init__(
        self,
        logs: Pending[Callable[[], EventLog]],
        sight: EventSight,
        *,
        most: int = MOST,
        most_each: int = MOST_EACH,
        most_of_tenant: int = MOST_OF_TENANT,
    ) -> None:
        """``logs`` makes readers of the stream, each for one place."""
        self._logs = logs
        self._sight = sight
        self._most, self._most_each, self._most_of_tenant = most, most_each, most_of_tenant
        self._followers: set[Follower] = set()
        self._each: Counter[UUID] = Counter()
        self._of_tenants: Counter[UUID] = Counter()
        self._place: Place | None = None
        self._reading: asyncio.Task[None] | None = None
        self._turns = asyncio.Semaphore(_READERS)
        self.closing = asyncio.Event()
        """Set when the process ends: followers are to go."""

    @contextmanager
    def room(self, caller: ApiKey) -> Iterator[None]:
        """Count a follower of a caller. Raises RateLimited, Unavailable for all together."""
        tenant = caller.tenant
        if self._each[caller.id] >= self._most_each:
            raise RateLimited(
                f"this caller already follows the events {self._most_each} times", _RETRY_SECONDS
            )
        if tenant is not None and self._of_tenants[tenant] >= self._most_of_tenant:
            raise RateLimited(
                f"the tenant already follows the events {self._most_of_tenant} times",
                _RETRY_SECONDS,
            )
        if self._each.total() >= self._most or self.closing.is_set():
            raise Unavailable("events", "too many connections follow the events")
        self._each[caller.id] += 1
        if tenant is not None:
            self._of_tenants[tenant] += 1
        _followers.inc()
        try:
            yield
        finally:
            _followers.dec()
            self._each -= Counter({caller.id: 1})
            if tenant is not None:
                self._of_tenants -= Counter({tenant: 1})

    async def here(self) -> Place:
        """Return the end of the stream. Raises Unavailable."""
        return await _end_of(self._logs.get()())

    async def follow(
        self,
        tenant: UUID | None,
        kinds: frozenset[str],
        begin: Place,
        idle_seconds: float,
        message: UUID | None = None,
    ) -> AsyncGenerator[Placed]:
        """Yield what happens from a place on, and ``here`` after so many seconds without."""
        follower = Follower(tenant, kinds, begin, message)
        self._followers.add(follower)
        if self._reading is None:
            self._reading = asyncio.create_task(self._run(), name="event feed")
        try:
            was_live = False
            while True:
                if not follower.is_live:
                    if was_live:
                        yield Placed(None, follower.place, "behind")
                    async for placed in self._caught_up(follower):
                        yield placed
                    was_live = True
                while follower.is_live and follower.waiting:
                    placed = follower.waiting.popleft()
                    follower.place = placed.next
                    yield placed
                if not follower.is_live:
                    continue
                follower.some.clear()
                try:
                    async with asyncio.timeout(idle_seconds):
                        await follower.some.wait()
                except TimeoutError:
                    if not follower.waiting and self._place is not None:
                        follower.place = max(follower.place, self._place)
                        yield Placed(None, follower.place, "here")
        finally:
            self._followers.discard(follower)
            if not self._followers and self._reading is not None:
                self._reading.cancel()
                self._reading = self._place = None

    async def _caught_up(self, follower: Follower) -> AsyncGenerator[Placed]:
        """Yield what is between a follower's place and the common one, then have it join."""
        reader = self._logs.get()()
        while follower.place != self._place:
            try:
                end = await _end_of(reader)
                if follower.place.stream != end.stream or follower.place.sequence > end.sequence:
                    follower.place = end
                    yield Placed(None, end, "gap")
                async with self._turns:
                    reading = await reader.after(follower.place.sequence - 1, _GATHER_SECONDS)
                    found = await self._seen(follower.place.stream, reading, [follower])
            except Unavailable as fault:
                log.info("a follower of events waits", fault=fault)
                await asyncio.sleep(_FAULT_SECONDS)
                yield Placed(None, follower.place, "here")
                continue
            if reading.messages and reading.messages[0][0] > follower.place.sequence:
                yield Placed(None, Place(end.stream, reading.messages[0][0]), "gap")
            for _, placed in found:
                if placed.next > follower.place:
                    follower.place = placed.next
                    yield placed
            if reading.messages:
                reached = Place(end.stream, reading.reached + 1)
                follower.place = max(follower.place, reached)
            if self._place is not None and follower.place >= self._place:
                break
        follower.waiting.clear()
        follower.is_live = True

    async def _run(self) -> None:
        """Read the end of the stream for all that are live."""
        while True:
            try:
                reader = self._logs.get()()
                end = await _end_of(reader)
                if self._place is None:
                    self._place = end
                elif self._place.stream != end.stream or self._place.sequence > end.sequence:
                    self._place = end
                    for follower in self._followers:  # each finds the gap by itself
                        follower.is_live = False
                        follower.some.set()
                await self._read_on(reader, self._place.stream)
            except Unavailable as fault:
                log.info("events wait for their followers", fault=fault)
                await asyncio.sleep(_FAULT_SECONDS)
            except Exception:
                log.exception("events are not handed on")
                await asyncio.sleep(_FAULT_SECONDS)

    async def _read_on(self, reader: EventLog, stream: int) -> None:
        """Read on, until the stream is another one."""
        while True:
            assert self._place is not None
            reading = await reader.after(self._place.sequence - 1, _WAIT_SECONDS)
            if not reading.messages:
                if (await _end_of(reader)).stream != stream:
                    return
                continue
            live = [follower for follower in self._followers if follower.is_live]
            found = await self._seen(stream, reading, live)
            for follower, placed in found:
                follower.hand(placed)
            self._place = Place(stream, reading.reached + 1)
            if not reading.more:
                await asyncio.sleep(_GATHER_SECONDS)

    async def _seen(
        self, stream: int, reading: Reading, followers: Sequence[Follower]
    ) -> list[tuple[Follower, Placed]]:
        """Return what each of the followers may see of a part of the stream, and asked for."""
        wanted = [
            (place, event)
            for place, event in _events_in(stream, reading)
            if any(follower.wants(event) for follower in followers)
        ]
        if not wanted:
            return []
        sight = None
        if any(follower.tenant is not None for follower in followers):
            sight = await self._sight.at([event for _, event in wanted])
        found = []
        for place, event in wanted:
            seen: dict[UUID | None, Event | None] = {None: event}
            for follower in followers:
                if follower.tenant not in seen:
                    assert sight is not None
                    seen[follower.tenant] = sight.of(follower.tenant, event)
                shown = seen[follower.tenant]
                if shown is not None and follower.wants(event):
                    found.append((follower, Placed(shown, place)))
        return found


async def _end_of(reader: EventLog) -> Place:
    stream, last = await reader.extent()
    return Place(round(stream.timestamp() * 1_000_000), last + 1)


def _events_in(stream: int, reading: Reading) -> Iterator[tuple[Place, Event]]:
    """Yield the events of a part of the stream, each with the place after it. A line that was sent
    twice is told once where both are in one part."""
    met: set[bytes] = set()
    for sequence, data in reading.messages:
        lines = data.split(b"\n")
        for number, line in enumerate(lines, 1):
            if not line or line in met:
                continue
            met.add(line)
            try:
                event = decode_event(line, loads=loads)
            except EventError as error:
                log.warning("an event cannot be decoded", detail=str(error))
                continue
            is_last = number == len(lines)
            yield Place(stream, sequence + is_last, 0 if is_last else number), event
