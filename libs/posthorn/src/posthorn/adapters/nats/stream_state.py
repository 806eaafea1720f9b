"""The port StreamState on JetStream."""

from __future__ import annotations

from contextlib import aclosing
from datetime import datetime

from posthorn.adapters.nats.connection import Connection
from posthorn.adapters.nats.event_log import NatsEventLog
from posthorn.adapters.nats.ingest_backlog import measure_backlog
from posthorn.adapters.nats.scan import read_through
from posthorn.model.streams import EVENTS
from posthorn.ports.ingest import Backlog


class NatsStreamState:
    """StreamState over the process's connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._events = NatsEventLog(connection)

    async def backlog(self) -> Backlog:
        """See the port."""
        return await measure_backlog(self._connection, reads_ingest=False)

    async def events_end(self) -> tuple[datetime, int]:
        """See the port."""
        return await self._events.extent()

    async def event_after(self, position: int) -> datetime | None:
        """See the port."""
        choice = {
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": position + 1,
            "headers_only": True,
        }
        async with aclosing(read_through(self._connection, EVENTS, choice, 1)) as messages:
            async for message in messages:
                found: datetime = message.metadata.timestamp
                return found
        return None
