"""How many messages wait in INGEST's unscanned lane."""

from __future__ import annotations

from posthorn.adapters.nats.connection import Connection
from posthorn.adapters.nats.partitions import list_partitions
from posthorn.model.streams import UNSCANNED_CONSUMER, ingest_stream


class NatsUnscannedCount:
    """Asks JetStream for the backlog of the lane's consumer."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def unscanned(self) -> int:
        """Return the messages that wait or are being scanned. Raises Unavailable."""
        messages = 0
        for partition in await list_partitions(self._connection):
            found = await self._connection.api(
                f"CONSUMER.INFO.{ingest_stream(partition)}.{UNSCANNED_CONSUMER}"
            )
            messages += int(found["num_pending"]) + int(found["num_ack_pending"])
        return messages
