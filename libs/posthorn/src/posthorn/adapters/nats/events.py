"""The stream EVENTS: the events of messages, recorded after the fact and read as a trace.

Theory of operation:

- ``record`` puts events into a bounded buffer, which drops the oldest. A task sends what
  accumulated within a tenth of a second. Events of one slot are sent as one JetStream message, a
  line each: usually one message, and one sync, for all events of that tenth.
- Unacknowledged events are sent again, so an event may be on the stream twice. Both copies are
  equal in every byte, and the trace shows one.
- A message that is refused is dropped, and counted.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import aclosing
from typing import Self
from uuid import UUID

import structlog
from prometheus_client import Counter

from posthorn.adapters.nats.acks import Ack, read_ack
from posthorn.adapters.nats.connection import Connection
from posthorn.adapters.nats.errors import ApiError, NoResponders
from posthorn.adapters.nats.scan import read_through
from posthorn.model.events import Event, EventError, decode_event, encode_event, slot_of
from posthorn.model.streams import EVENTS, EVENTS_PREFIX
from posthorn.ports.errors import Unavailable
from posthorn.runtime.json_bytes import dumps, loads
from posthorn.runtime.tasks import cancel_and_wait

log = structlog.get_logger()

KEPT = 50_000
"""Most events waiting to be sent."""
_GATHER = 0.1
_BATCH = 500
_LARGEST = 128 * 1024
"""Bytes of a message on the stream."""
_LAST_SECONDS = 2.0
_PAUSES = (0.25, 0.5, 1.0, 2.0, 5.0)
_READ = 50_000
"""Most messages on the stream that a trace reads."""

_dropped = Counter("posthorn_events_dropped_total", "Events of messages that were not recorded")


class NatsEvents:
    """Events on JetStream; an async context manager. Leaving it sends the rest, for at most two
    seconds."""

    def __init__(self, connection: Connection, *, kept: int = KEPT) -> None:
        self._connection = connection
        self._kept = kept
        self._buffer: deque[Event] = deque()
        self._some = asyncio.Event()
        self._leaving = asyncio.Event()
        self._sending: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._sending = asyncio.create_task(self._run(), name="events")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._sending is not None
        self._leaving.set()
        self._some.set()
        await asyncio.wait([self._sending], timeout=_LAST_SECONDS)
        await cancel_and_wait(self._sending)
        if self._buffer:
            log.warning("events were not recorded", events=len(self._buffer))
            _dropped.inc(len(self._buffer))
            self._buffer.clear()

    def record(self, *events: Event) -> None:
        self._buffer.extend(events)
        if (beyond := len(self._buffer) - self._kept) > 0:
            for _ in range(beyond):
                self._buffer.popleft()
            _dropped.inc(beyond)
        self._some.set()

    async def _run(self) -> None:
        failures = 0
        while not (self._leaving.is_set() and not self._buffer):
            await self._some.wait()
            self._some.clear()
            await self._pause(_GATHER)
            while self._buffer:
                batch = [self._buffer.popleft() for _ in range(min(_BATCH, len(self._buffer)))]
                try:
                    await self._send(batch)
                    failures = 0
                except Unavailable as fault:
                    self._put_back(batch)
                    if not failures:
                        log.warning("events wait to be recorded", fault=fault)
                    await self._pause(_PAUSES[min(failures, len(_PAUSES) - 1)])
                    failures += 1
                except Exception:
                    log.exception("events could not be recorded", events=len(batch))
                    _dropped.inc(len(batch))
                except asyncio.CancelledError:
                    self._put_back(batch)
                    raise

    async def _pause(self, seconds: float) -> None:
        """Sleep; only briefly at the end of the process."""
        try:
            async with asyncio.timeout(seconds):
                await self._leaving.wait()
        except TimeoutError:
            return
        await asyncio.sleep(0.02)

    def _put_back(self, batch: Sequence[Event]) -> None:
        """Return unsent events to the front of the buffer, as far as there is room."""
        room = max(self._kept - len(self._buffer), 0)
        kept = batch[-room:] if room else []
        _dropped.inc(len(batch) - len(kept))
        self._buffer.extendleft(reversed(kept))

    async def _send(self, batch: Sequence[Event]) -> None:
        bundles = _bundles(batch)
        answers = await asyncio.gather(
            *(self._send_one(subject, lines) for subject, lines in bundles), return_exceptions=True
        )
        for (_, lines), answer in zip(bundles, answers, strict=True):
            if isinstance(answer, ApiError) and not isinstance(answer, NoResponders):
                log.warning("events were refused", events=len(lines), fault=answer)
                _dropped.inc(len(lines))
            elif isinstance(answer, BaseException):
                raise answer

    async def _send_one(self, subject: str, lines: Sequence[bytes]) -> Ack:
        return read_ack(await self._connection.request(subject, b"\n".join(lines)), EVENTS)


class NatsTrace:
    """Trace on JetStream: reads the subject that the message shares with those of the same
    seconds."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def events_of(self, message: UUID) -> Sequence[Event]:
        """Among very many events in the same seconds the latest may be missing."""
        choice = {"deliver_policy": "all", "filter_subject": EVENTS_PREFIX + slot_of(message)}
        name = str(message).encode()
        found: dict[bytes, Event] = {}
        async with aclosing(read_through(self._connection, EVENTS, choice, _READ)) as messages:
            async for each in messages:
                for line in each.data.split(b"\n") if name in each.data else ():
                    if name not in line or line in found:
                        continue
                    try:
                        event = decode_event(line, loads=loads)
                    except EventError as error:
                        log.warning("an event cannot be decoded", detail=str(error))
                        continue
                    if event.message == message:
                        found[line] = event
        return sorted(found.values(), key=lambda event: event.at)


def _bundles(batch: Sequence[Event]) -> list[tuple[str, list[bytes]]]:
    """Combine events of one slot, as far as they fit in a message. Events that cannot be encoded
    are dropped."""
    open_: dict[str, tuple[list[bytes], int]] = {}
    bundles: list[tuple[str, list[bytes]]] = []
    for event in batch:
        try:
            line = encode_event(event, dumps=dumps)
        except (TypeError, ValueError, RecursionError) as error:
            log.error(
                "an event cannot be encoded",
                message=str(event.message),
                kind=event.kind,
                detail=str(error),
            )
            line = b""
        if not line or len(line) > _LARGEST:
            _dropped.inc()
            continue
        subject = EVENTS_PREFIX + slot_of(event.message)
        lines, size = open_.get(subject, ([], _LARGEST))
        if size + len(line) >= _LARGEST:
            lines, size = [], 0
            bundles.append((subject, lines))
        lines.append(line)
        open_[subject] = lines, size + len(line) + 1
    return bundles
