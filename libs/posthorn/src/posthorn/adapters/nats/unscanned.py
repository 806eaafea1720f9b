"""Moves messages from the unscanned lane of INGEST to the first lane of their partition (ADR 31).

A message has the same id whoever moves it, so that it is stored once within the stream's duplicate
window; delivery knows it by its own id later.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime

from nats.aio.msg import Msg

from posthorn.adapters.nats.acks import read_ack
from posthorn.adapters.nats.connection import Connection
from posthorn.adapters.nats.ingest_backlog import next_on
from posthorn.adapters.nats.layout import parse_time
from posthorn.adapters.nats.partitions import of_each_partition
from posthorn.model.envelope import Envelope, encode_record
from posthorn.model.streams import (
    INGEST,
    first_lane,
    in_partition,
    ingest_stream,
    scanned_id,
    stream_of,
)
from posthorn.ports.errors import Unavailable
from posthorn.ports.unscanned import UnscannedBacklog, WaitingMessage

_LANE = "unscanned.*"


class NatsScannedLane:
    """The first lane, as scan publishes to it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def publish(self, subject: str, envelope: Envelope, body: bytes | None) -> None:
        """Store a judged message that waited under this subject in the lane of its role. Raises
        Unavailable, or Full."""
        await self.pass_on(subject, encode_record(envelope, body), str(envelope.id))

    async def pass_on(self, subject: str, octets: bytes, known_as: str) -> None:
        """Store a record as it is. Raises Unavailable, or Full."""
        await _store(self._connection, first_lane(subject), octets, known_as)


class NatsUnscanned:
    """The port UnscannedMessages on JetStream."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def backlog(self) -> UnscannedBacklog:
        found = await of_each_partition(self._connection, self._backlog)
        return UnscannedBacklog(
            sum(each.messages for each in found),
            min((each.oldest for each in found if each.oldest is not None), default=None),
        )

    async def _backlog(self, partition: int) -> UnscannedBacklog:
        info = await self._connection.api(
            f"STREAM.INFO.{ingest_stream(partition)}",
            {"subjects_filter": in_partition(_LANE, partition)},
        )
        messages = sum((info["state"].get("subjects") or {}).values())
        first = await next_on(self._connection, _LANE, 1, partition) if messages else None
        return UnscannedBacklog(messages, None if first is None else _stored_at(first))

    async def stored_before(self, moment: datetime, limit: int) -> Sequence[WaitingMessage]:
        async def find(partition: int) -> list[WaitingMessage]:
            return await self._stored_before(moment, limit, partition)

        found = await of_each_partition(self._connection, find)
        return [message for messages in found for message in messages][:limit]

    async def _stored_before(
        self, moment: datetime, limit: int, partition: int
    ) -> list[WaitingMessage]:
        found: list[WaitingMessage] = []
        sequence = 1
        while len(found) < limit:
            message = await next_on(self._connection, _LANE, sequence, partition)
            if message is None or (stored_at := _stored_at(message)) >= moment:
                break
            headers = message.headers or {}
            found.append(
                WaitingMessage(
                    int(headers["Nats-Sequence"]),
                    headers.get("Nats-Subject", ""),
                    message.data,
                    stored_at,
                )
            )
            sequence = found[-1].sequence + 1
        return found

    async def move(self, message: WaitingMessage, octets: bytes, known_as: str) -> None:
        await _store(self._connection, first_lane(message.subject), octets, known_as)
        with suppress(Unavailable):  # what stays is found again
            await self._connection.api(
                f"STREAM.MSG.DELETE.{stream_of(message.subject)}",
                {"seq": message.sequence, "no_erase": True},
            )


async def _store(connection: Connection, subject: str, octets: bytes, message_id: str) -> None:
    headers = {"Nats-Msg-Id": scanned_id(message_id)}
    read_ack(await connection.request(subject, octets, headers), stream_of(subject))


def _stored_at(message: Msg) -> datetime:
    try:
        return parse_time((message.headers or {})["Nats-Time-Stamp"])
    except (KeyError, ValueError) as error:
        raise Unavailable("nats", f"{INGEST} gave an invalid answer") from error
