"""The port EventSearch on JetStream: one pass through a part of the stream EVENTS.

A line is decoded only if it names one of the kinds; a request reads ``_MESSAGES`` messages or
``_BYTES`` bytes of the stream at most.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

from posthorn.adapters.nats.connection import Connection
from posthorn.adapters.nats.scan import read_through
from posthorn.model.events import Event, EventError, decode_event
from posthorn.model.streams import EVENTS
from posthorn.ports.events import EventPage
from posthorn.runtime.json_bytes import loads

_MESSAGES = 20_000
_BYTES = 32 * 1024**2


class NatsEventSearch:
    """EventSearch over the process's connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def search(
        self,
        kinds: Collection[str],
        since: datetime,
        after: tuple[int, int] | None,
        wanted: Callable[[Event], bool],
        limit: int,
    ) -> EventPage:
        """``after`` is the sequence number of a message and a number of its lines."""
        choice: dict[str, Any] = {
            "deliver_policy": "by_start_time",
            "opt_start_time": since.astimezone(UTC).isoformat(),
        }
        if after is not None:
            choice = {"deliver_policy": "by_start_sequence", "opt_start_seq": max(after[0], 1)}
        marks = tuple(f'"kind":"{kind}"'.encode() for kind in kinds)
        found: list[Event] = []
        size = number = 0
        async with aclosing(read_through(self._connection, EVENTS, choice, _MESSAGES)) as messages:
            async for each in messages:
                number += 1
                size += len(each.data)
                sequence = each.metadata.sequence.stream
                if each.metadata.timestamp < since:
                    continue  # a start time after the last message gives the whole stream
                done = after[1] if after is not None and after[0] == sequence else 0
                for place, line in enumerate(each.data.split(b"\n"), 1):
                    if place <= done or not any(mark in line for mark in marks):
                        continue
                    event = _event(line)
                    if event is None or event.kind not in kinds or not wanted(event):
                        continue
                    if len(found) == limit:
                        return EventPage(found, (sequence, place - 1))
                    found.append(event)
                if number >= _MESSAGES or size >= _BYTES:
                    return EventPage(found, (sequence + 1, 0))
        return EventPage(found, None)


def _event(line: bytes) -> Event | None:
    try:
        return decode_event(line, loads=loads)
    except EventError:
        return None
