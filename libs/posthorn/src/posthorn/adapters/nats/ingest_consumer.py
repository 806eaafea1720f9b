"""The consuming side of INGEST: takes all waiting messages at once.

Theory of operation:

- A pull request is open on the server before messages are requested here, so that a single message
  is delivered as soon as the server has it; under load the batch is what has accumulated in the
  buffer.
- One request is open at a time, for as much as the buffer has room for. It ends when that has
  arrived, when it expires, or with a status message on the reply subject (messages arrive under
  their own subject, so several requests could not be distinguished). The next one follows as soon
  as half of the buffer is free.
- The server sends heartbeats while a request is open. Silence means that the consumer, the stream
  or its leader is gone: the request counts as ended and is sent again.
- Each lane of the stream has a consumer and a source of its own.
- On stop the subscription ends at once, which makes the server drop the open request, and buffered
  messages return to the stream, so that they do not wait for the rest of the shutdown.
- A message is held for ``ACK_WAIT`` seconds after it was sent or last reported as in progress.
  Buffered messages are reported before that; one that is too old all the same (the connection was
  down) is dropped, since the stream redelivers it.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Self

import structlog
from nats.aio.msg import Msg

from posthorn.adapters.nats.acks import read_ack
from posthorn.adapters.nats.connection import Connection
from posthorn.adapters.nats.inbox import Inbox
from posthorn.adapters.nats.layout import ACK_WAIT
from posthorn.model.streams import DEAD, INGEST, INGEST_CONSUMER, retry_subject
from posthorn.ports.errors import Unavailable
from posthorn.ports.ingest import Backlog

log = structlog.get_logger()

BUFFER_MESSAGES = 512
BUFFER_OCTETS = 16 * 1024**2
_LEAST_OCTETS = 4 * 1024**2  # half of the buffer must have room for the largest message
_EXPIRES = 30.0
_HEARTBEAT = 2.0
_SILENCE = 2.5 * _HEARTBEAT
_TICK = 1.0
_REFUSED_WAIT = 0.25
_SECOND = 1_000_000_000
_STOP_SECONDS = 2


class NatsDelivery:
    """A message from INGEST."""

    __slots__ = ("_ack_subject", "_connection", "octets", "ours_until", "subject")

    def __init__(self, connection: Connection, message: Msg) -> None:
        self._connection = connection
        self._ack_subject = message.reply
        self.octets = message.data
        self.subject = message.subject
        self.ours_until = time.monotonic() + ACK_WAIT

    @property
    def attempt(self) -> int:
        return _delivered(self._ack_subject)

    async def ack(self) -> None:
        """Written with the next flush; without a connection it is lost, and the
        message is redelivered."""
        with suppress(Unavailable):
            await self._connection.publish(self._ack_subject, b"+ACK")

    async def nak(self, delay: float) -> None:
        with suppress(Unavailable):
            wish = b'-NAK {"delay": %d}' % round(delay * _SECOND) if delay > 0 else b"-NAK"
            await self._connection.publish(self._ack_subject, wish)

    async def set_aside(self) -> None:
        await put_aside(self._connection, self.subject, self.octets, _stored_as(self._ack_subject))

    async def in_progress(self) -> None:
        with suppress(Unavailable):
            await self._connection.publish(self._ack_subject, b"+WPI")
            self.ours_until = time.monotonic() + ACK_WAIT


class NatsIngestSource:
    """IngestSource on JetStream. An async context manager: leaving it returns untaken messages to
    the stream.

    ``consumer``: that of the lane; the buffer holds about ``messages`` messages and ``max_bytes``
    bytes.
    """

    def __init__(
        self,
        connection: Connection,
        consumer: str = INGEST_CONSUMER,
        *,
        messages: int = BUFFER_MESSAGES,
        max_bytes: int = BUFFER_OCTETS,
    ) -> None:
        self._connection = connection
        self._consumer = consumer
        self._most = messages
        self._most_octets = max(max_bytes, _LEAST_OCTETS)
        self._inbox = Inbox(connection, self._on_message)
        self._token = 0
        self._asked = 0  # messages that the open request may still deliver; 0: none is open
        self._asked_until = 0.0
        self._buffer: deque[NatsDelivery] = deque()
        self._buffered = 0
        self._something = asyncio.Event()
        self._room = asyncio.Event()
        self._heard_at = time.monotonic()
        self._refused_until = 0.0
        self._open = False
        self._keeper: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._open = True
        self._connection.on_up(self._on_connect)
        self._connection.on_down(self._lost)
        self._keeper = asyncio.create_task(self._keep(), name="ingest source")
        with suppress(Unavailable):
            await self._on_connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        if not self._open:
            return
        self._open = False
        self._connection.forget(self._on_connect)
        self._connection.forget(self._lost)
        if self._keeper is not None:
            self._keeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeper
        if self._inbox.subscription is not None and self._connection.is_up:
            # First stop new messages, then a round trip so that those in transit have arrived, then
            # return all of them.
            with suppress(Exception):
                async with asyncio.timeout(_STOP_SECONDS):
                    await self._inbox.subscription.drain()  # type: ignore[no-untyped-call]
        for delivery in self._buffer:
            await delivery.nak(0)
        self._buffer.clear()
        self._buffered = 0
        with suppress(Exception):
            await self._connection.client.flush(timeout=_STOP_SECONDS)

    async def take(self, most: int, max_bytes: int) -> Sequence[NatsDelivery]:
        while True:
            now = time.monotonic()
            taken: list[NatsDelivery] = []
            room = max_bytes
            while (
                self._buffer
                and len(taken) < most
                and (not taken or len(self._buffer[0].octets) <= room)
            ):
                delivery = self._buffer.popleft()
                self._buffered -= len(delivery.octets)
                if delivery.ours_until > now:
                    taken.append(delivery)
                    room -= len(delivery.octets)
            if taken:
                self._room.set()
                # no await after the first message was taken, so that a cancelled take takes nothing
                return taken
            if not self._connection.is_up:
                raise Unavailable("nats", "not connected")
            self._something.clear()
            await self._something.wait()

    async def probe(self) -> None:
        """Check whether the consumer serves. Raises Unavailable."""
        await self._connection.api(f"CONSUMER.INFO.{INGEST}.{self._consumer}")

    async def backlog(self) -> Backlog:
        ingest = (
            await self._connection.api(f"STREAM.INFO.{INGEST}", {"subjects_filter": "retry.*"})
        )["state"]
        dead = (await self._connection.api(f"STREAM.INFO.{DEAD}"))["state"]
        retrying = sum((ingest.get("subjects") or {}).values())
        oldest = _oldest(ingest)
        return Backlog(
            messages=ingest["messages"],
            octets=ingest["bytes"],
            oldest=oldest,
            dead=dead["messages"],
            oldest_dead=_oldest(dead),
            retrying=retrying,
            oldest_first=await self._oldest_first() if retrying else oldest,
        )

    async def _oldest_first(self) -> datetime | None:
        message = await next_on(self._connection, "ingest.*", 1)
        return (
            None
            if message is None
            else datetime.fromisoformat((message.headers or {})["Nats-Time-Stamp"])
        )

    async def _on_connect(self) -> None:
        await self._inbox.open()
        self._asked = 0
        await self._pull()

    def _lost(self) -> None:
        self._asked = 0
        self._something.set()

    async def _pull(self) -> None:
        """Request as much as there is room for, unless a request is open or half of the buffer
        is still full."""
        now = time.monotonic()
        if self._asked > 0 or not self._open or now < self._refused_until:
            return
        messages, room_bytes = self._most - len(self._buffer), self._most_octets - self._buffered
        if (
            not self._inbox.is_open
            or messages < self._most // 2
            or room_bytes < self._most_octets // 2
        ):
            return
        self._token += 1
        self._asked, self._asked_until, self._heard_at = messages, now + _EXPIRES + _HEARTBEAT, now
        pull_request = {
            "batch": messages,
            "max_bytes": room_bytes,
            "expires": round(_EXPIRES * _SECOND),
            "idle_heartbeat": round(_HEARTBEAT * _SECOND),
        }
        try:
            subject = f"$JS.API.CONSUMER.MSG.NEXT.{INGEST}.{self._consumer}"
            await self._connection.publish(
                subject, json.dumps(pull_request).encode(), f"{self._inbox.prefix}{self._token:x}"
            )
        except Unavailable:
            self._asked = 0
            raise

    async def _on_message(self, message: Msg) -> None:
        self._heard_at = time.monotonic()
        if message.reply and message.reply.startswith("$JS.ACK."):
            await self._received(message)
            return
        headers = message.headers or {}
        status = headers.get("Status", "")
        if status == "100":
            return  # a heartbeat
        if message.subject != f"{self._inbox.prefix}{self._token:x}":
            return  # the end of an abandoned request
        self._asked = 0
        description = headers.get("Description", "")
        if status == "408" or (
            status == "409" and description.startswith(("Message Size Exceeds", "Batch Completed"))
        ):
            await self._pull()
            return
        # 503 no responders, 404, 409 consumer deleted, leadership change, server shutdown …: try
        # again in a moment
        log.info("a pull request ended early", status=status, description=description)
        self._refused_until = self._heard_at + _REFUSED_WAIT
        self._connection.check_soon()

    async def _received(self, message: Msg) -> None:
        delivery = NatsDelivery(self._connection, message)
        if not self._open:
            await delivery.nak(0)
            return
        self._asked = max(0, self._asked - 1)
        self._buffer.append(delivery)
        self._buffered += len(delivery.octets)
        self._something.set()

    async def _keep(self) -> None:
        """Report progress of buffered messages, drop a request that is no longer answered, and
        pull again."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_TICK if self._asked else _REFUSED_WAIT):
                    await self._room.wait()
            self._room.clear()
            try:
                await self._tick()
            except Unavailable:
                pass
            except Exception:
                log.exception("maintenance of the ingest source failed; trying again")

    async def _tick(self) -> None:
        if not self._connection.is_up:
            return
        now = time.monotonic()
        for delivery in list(self._buffer):
            if now + ACK_WAIT / 2 > delivery.ours_until > now:
                await delivery.in_progress()
        if self._asked and (now - self._heard_at > _SILENCE or now > self._asked_until):
            log.warning("the ingest consumer is silent; pulling again")
            self._asked = 0
            self._connection.check_soon()
        if not self._inbox.is_open:
            await self._on_connect()
        else:
            await self._pull()


async def put_aside(connection: Connection, subject: str, data: bytes, known_as: str) -> None:
    """Publish a message of the first lane to the retry lane. ``known_as``: id against
    duplicates. Raises Unavailable or Full."""
    answer = await connection.request(
        retry_subject(subject), data, {"Nats-Msg-Id": f"aside.{known_as}"}
    )
    read_ack(answer, INGEST)


async def next_on(connection: Connection, subjects: str, sequence: int) -> Msg | None:
    """Return the first message on INGEST under ``subjects`` from that sequence on. Raises
    Unavailable."""
    wish = json.dumps({"seq": sequence, "next_by_subj": subjects}).encode()
    message = await connection.request(f"$JS.API.DIRECT.GET.{INGEST}", wish)
    headers = message.headers or {}
    if headers.get("Nats-Sequence"):
        return message
    if headers.get("Status") == "404":
        return None
    raise Unavailable("nats", f"{INGEST} gave an invalid answer")


def _delivered(ack_subject: str) -> int:
    """Return how often the message was delivered:
    ``$JS.ACK.[domain.account.]stream.consumer.delivered.…``."""
    tokens = ack_subject.split(".")
    return int(tokens[4] if len(tokens) == 9 else tokens[6])


def _stored_as(ack_subject: str) -> str:
    """Return the sequence and the time at which the stream stored the message: together they are
    unique."""
    tokens = ack_subject.split(".")
    first = 5 if len(tokens) == 9 else 7
    return f"{tokens[first]}.{tokens[first + 2]}"


def _oldest(state: dict[str, Any]) -> datetime | None:
    return datetime.fromisoformat(state["first_ts"]) if state["messages"] else None
