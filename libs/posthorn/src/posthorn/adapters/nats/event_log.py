"""The port EventLog on JetStream: the stream EVENTS in order, from a position that the reader
stores.

The consumer is ephemeral and without acknowledgements: the reader stores its position, and in doubt
the consumer is recreated from there. A request ends when everything requested has arrived, or when
the server says so: what the server sends to an abandoned request is lost to its consumer, which
shows as a gap in the consumer's sequence.
"""

from __future__ import annotations

import asyncio
import json
from datetime import datetime
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg

from posthorn.adapters.nats.connection import REQUEST_TIMEOUT, Connection
from posthorn.adapters.nats.inbox import receiving
from posthorn.model.streams import EVENTS
from posthorn.ports.errors import Unavailable
from posthorn.ports.statistics import Reading

_SECOND = 1_000_000_000
_BATCH = 200
_IDLE_SECONDS = 60
_NOTHING = frozenset({"404", "408"})


class NatsEventLog:
    """EventLog over the process's connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._client: Client | None = None
        self._consumer = ""
        self._position = -1
        self._delivered = 0

    async def extent(self) -> tuple[datetime, int]:
        """Return when the stream was created, and its last sequence number."""
        info = await self._connection.api(f"STREAM.INFO.{EVENTS}")
        return datetime.fromisoformat(info["created"]), int(info["state"]["last_seq"])

    async def after(self, position: int, seconds: float) -> Reading:
        """Return the events after the position."""
        if (
            not self._consumer
            or self._position != position
            or self._client is not self._connection.client
        ):
            await self._begin(position)
        try:
            messages = await self._fetch({"batch": _BATCH, "no_wait": True}, REQUEST_TIMEOUT)
            if not messages:
                pull_request = {"batch": 1, "expires": round(seconds * _SECOND)}
                messages = await self._fetch(pull_request, seconds + REQUEST_TIMEOUT)
        except BaseException:
            self._consumer = ""
            raise
        for message in messages:
            self._delivered += 1
            if message.metadata.sequence.consumer != self._delivered:
                self._consumer = ""
                raise Unavailable("nats", "gap in the events")
        read = [(message.metadata.sequence.stream, message.data) for message in messages]
        if not read:
            return Reading(read, self._position)
        self._position = read[-1][0]
        return Reading(read, self._position, messages[-1].metadata.num_pending > 0)

    async def _begin(self, position: int) -> None:
        config: dict[str, Any] = {
            "ack_policy": "none",
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": position + 1,
            "mem_storage": True,
            "num_replicas": 1,
            "inactive_threshold": _IDLE_SECONDS * _SECOND,
        }
        self._consumer = ""
        self._client = self._connection.client
        made = await self._connection.api(
            f"CONSUMER.CREATE.{EVENTS}", {"stream_name": EVENTS, "config": config}
        )
        self._consumer, self._position, self._delivered = made["name"], position, 0

    async def _fetch(self, pull_request: dict[str, Any], patience: float) -> list[Msg]:
        """Pull once, until the batch is full, nothing is left, or a status message says so.
        Raises Unavailable."""
        messages: list[Msg] = []
        try:
            async with receiving(self._connection) as (inbox, received), asyncio.timeout(patience):
                subject = f"$JS.API.CONSUMER.MSG.NEXT.{EVENTS}.{self._consumer}"
                await self._connection.publish(subject, json.dumps(pull_request).encode(), inbox)
                while len(messages) < pull_request["batch"]:
                    message = await received.get()
                    if not message.reply:
                        if (message.headers or {}).get("Status") in _NOTHING:
                            break
                        raise Unavailable("nats", "reading the events ended early")
                    messages.append(message)
        except TimeoutError:
            raise Unavailable("nats", "reading the events stalled") from None
        return messages
