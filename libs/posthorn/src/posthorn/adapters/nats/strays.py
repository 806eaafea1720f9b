"""Stray messages: those that INGEST holds while none of its consumers knows them. Found here, and
delivered again.

Theory:

- A consumer's acknowledgement floor says that everything up to it was acknowledged, and what is
  acknowledged leaves a work-queue stream. So any message of a lane at or below the floor of its
  consumer is a stray.
- Above the floor strays can be recognised only when the consumer has nothing pending and nothing
  unacknowledged: then every message in its lane is one.
- The stream is queried before its consumers, so that messages arriving in between are not taken for
  strays.
- One of the unscanned lane is delivered as it is, without a verdict: better than not at all.
- A mistake costs only a query: a message is delivered once, by its id.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress

from nats.aio.msg import Msg

from posthorn.adapters.nats.connection import Connection
from posthorn.adapters.nats.framed import FramedDelivery, messages_of, put_aside
from posthorn.adapters.nats.ingest_backlog import next_on
from posthorn.adapters.nats.partitions import of_each_partition
from posthorn.model.streams import (
    FRAMES,
    FRAMES_CONSUMER,
    INGEST_CONSUMER,
    RETRY_CONSUMER,
    UNSCANNED_CONSUMER,
    ingest_stream,
    stream_of,
)
from posthorn.ports.errors import Unavailable

_LANES = (
    (INGEST_CONSUMER, "ingest.*"),
    (RETRY_CONSUMER, "retry.*"),
    (UNSCANNED_CONSUMER, "unscanned.*"),
    (FRAMES_CONSUMER, FRAMES),
)


class NatsStray:
    """A message that no consumer will deliver."""

    __slots__ = ("_connection", "octets", "sequence", "subject")

    attempt = 2
    """Return 2: it was most likely delivered before."""
    ours_until = math.inf

    def __init__(self, connection: Connection, message: Msg) -> None:
        headers = message.headers or {}
        self._connection = connection
        self.octets = message.data
        self.subject = headers.get("Nats-Subject", "")
        self.sequence = int(headers["Nats-Sequence"])

    @property
    def stored_as(self) -> str:
        return f"stray.{self.sequence}"

    async def ack(self) -> None:
        """Delete it from the stream; what cannot be deleted now is found again."""
        with suppress(Unavailable):
            await self._connection.api(
                f"STREAM.MSG.DELETE.{stream_of(self.subject)}",
                {"seq": self.sequence, "no_erase": True},
            )

    async def nak(self, delay: float) -> None:
        """Leave it where it is: the next scan finds it."""

    async def set_aside(self) -> None:
        await put_aside(self._connection, self.subject, self.octets, self.stored_as)

    async def set_part_aside(self, number: int, subject: str, octets: bytes) -> None:
        await put_aside(self._connection, subject, octets, f"{self.stored_as}.{number}")

    async def in_progress(self) -> None:
        """No-op: no consumer delivers it elsewhere."""


class NatsStrays:
    """The port Strays on JetStream."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def find(self, limit: int) -> Sequence[NatsStray | FramedDelivery]:
        async def find_in(partition: int) -> list[NatsStray | FramedDelivery]:
            return await self._find_in(partition, limit)

        found = await of_each_partition(self._connection, find_in)
        return [stray for strays in found for stray in strays][:limit]

    async def _find_in(self, partition: int, limit: int) -> list[NatsStray | FramedDelivery]:
        stream = ingest_stream(partition)
        state = (await self._connection.api(f"STREAM.INFO.{stream}"))["state"]
        if not state["messages"]:
            return []
        known, bounds = 0, []
        for consumer, subjects in _LANES:
            info = await self._connection.api(f"CONSUMER.INFO.{stream}.{consumer}")
            open_ = info["num_pending"] + info["num_ack_pending"]
            known += open_
            bounds.append(
                (subjects, info["ack_floor"]["stream_seq"] if open_ else state["last_seq"])
            )
        if state["messages"] <= known:
            return []
        found: list[NatsStray | FramedDelivery] = []
        for subjects, last in bounds:
            sequence = state["first_seq"]
            while len(found) < limit and sequence <= last:
                message = await next_on(self._connection, subjects, sequence, partition)
                if (
                    message is None
                    or (stray := NatsStray(self._connection, message)).sequence > last
                ):
                    break
                found += messages_of(stray)
                sequence = stray.sequence + 1
        return found
