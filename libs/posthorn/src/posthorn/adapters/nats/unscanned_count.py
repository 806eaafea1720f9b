"""How many messages wait in INGEST's unscanned lane."""

from __future__ import annotations

from posthorn.adapters.nats.connection import Connection
from posthorn.model.streams import INGEST, UNSCANNED_CONSUMER


class NatsUnscannedCount:
    """Asks JetStream for the backlog of the lane's consumer."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def unscanned(self) -> int:
        """Return the messages that wait or are being scanned. Raises Unavailable."""
        found = await self._connection.api(f"CONSUMER.INFO.{INGEST}.{UNSCANNED_CONSUMER}")
        return int(found["num_pending"]) + int(found["num_ack_pending"])
