"""A lane of INGEST in one partition, as its readers pull it.

Theory of operation:

- A pull request is open on the server before messages are requested here, so that a single message
  is delivered as soon as the server has it; under load the batch is what has accumulated in the
  buffer.
- One request is open at a time, for as much as the buffer has room for. It ends when that has
  arrived, when it expires, or with a status message on the reply subject (messages arrive under
  their own subject, so several requests could not be distinguished). The next one follows as soon
  as half of the buffer is free.
- While processes leave to each other what arrives (``leave_to_others``), a lane requests nothing until
  it is told to ``collect``: one request for what the stream holds at that moment, which ends with it;
  if that is nothing, then for one stream message. What was requested before may still arrive; such
  requests are short-lived then.
- The server sends heartbeats while a request is open. Silence means that the consumer, the stream
  or its leader is gone: the request counts as ended and is sent again.
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
from contextlib import suppress

import structlog
from nats.aio.msg import Msg

from posthorn.adapters.nats.connection import Connection
from posthorn.adapters.nats.framed import FramedDelivery, messages_of, put_aside
from posthorn.adapters.nats.inbox import Inbox
from posthorn.adapters.nats.layout import ACK_WAIT
from posthorn.model.streams import FRAMES_CONSUMER, ingest_stream
from posthorn.ports.errors import Unavailable

log = structlog.get_logger()

LARGEST_BYTES = 1024**2 + 64 * 1024
"""Bytes of the largest stream message, about: a buffer has room for one before more is pulled."""
_FRAME_MESSAGES = 16  # about so many messages are expected of a frame when frames are pulled
_EXPIRES = 5.0
_SHARED_EXPIRES = 1.0
_HEARTBEAT = 2.0
_SILENCE = 2.5 * _HEARTBEAT
_TICK = 1.0
_REFUSED_WAIT = 0.25
_SECOND = 1_000_000_000
_STOP_SECONDS = 2


class Share:
    """What a buffer holds of ``messages`` and ``max_bytes``, about, when so many are divided
    equally among the partitions: one message at least, of the largest size."""

    def __init__(self, messages: int, max_bytes: int) -> None:
        self._messages, self._bytes = messages, max_bytes
        self.partitions = 1

    @property
    def messages(self) -> int:
        """Messages in one buffer."""
        return max(1, self._messages // self.partitions)

    @property
    def max_bytes(self) -> int:
        """Bytes in one buffer."""
        return max(LARGEST_BYTES, self._bytes // self.partitions)


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

    @property
    def stored_as(self) -> str:
        """The sequence and the time at which the stream stored it: together they are unique."""
        stored, _, at = _sequences(self._ack_subject)
        return f"{stored}.{at}"

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
        await put_aside(self._connection, self.subject, self.octets, self.stored_as)

    async def set_part_aside(self, number: int, subject: str, octets: bytes) -> None:
        await put_aside(self._connection, subject, octets, f"{self.stored_as}.{number}")

    async def in_progress(self) -> None:
        with suppress(Unavailable):
            await self._connection.publish(self._ack_subject, b"+WPI")
            self.ours_until = time.monotonic() + ACK_WAIT


class Lane:
    """A consumer of a lane in a partition: the open pull request, and the buffer of what has
    arrived.

    ``something`` is set when there may be something to take; ``share`` is what the buffer holds,
    about.
    """

    def __init__(
        self,
        connection: Connection,
        partition: int,
        consumer: str,
        something: asyncio.Event,
        share: Share,
    ) -> None:
        self.partition = partition
        self.consumer = consumer
        self._stream = ingest_stream(partition)
        self._connection = connection
        self._something = something
        self._share = share
        self._per_pulled = _FRAME_MESSAGES if consumer == FRAMES_CONSUMER else 1
        self._inbox = Inbox(connection, self._on_message)
        self._token = 0
        self._asked = 0  # messages that the open request may still deliver; 0: none is open
        self._asked_until = 0.0
        self.is_shared = False
        """Whether other processes take from the stream as well: requests are short-lived."""
        self.is_paused = False
        """Whether nothing is requested but by ``collect``."""
        self._wants_one = False  # a request is for one stream message
        self._collects = False  # the open request asks for what is there
        self.here = 0
        """Stream messages that came here."""
        self._first = self._last = 0  # sequences in the consumer
        self._buffer: deque[NatsDelivery | FramedDelivery] = deque()
        self._buffered = 0
        self._room = asyncio.Event()
        self._heard_at = time.monotonic()
        self._refused_until = 0.0
        self._is_open = False
        self._keeper: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Begin to pull."""
        self._is_open = True
        self._connection.on_up(self._on_connect)
        self._connection.on_down(self._lost)
        self._keeper = asyncio.create_task(self._keep(), name="ingest source")
        with suppress(Unavailable):
            await self._on_connect()

    async def stop(self) -> None:
        """Return what is buffered to the stream and pull nothing more."""
        if not self._is_open:
            return
        self._is_open = False
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

    def take(self, most: int, max_bytes: int, follows: bool) -> list[NatsDelivery | FramedDelivery]:
        """Return what is buffered within both limits; one message beyond that of bytes, unless
        it ``follows`` others."""
        now = time.monotonic()
        taken: list[NatsDelivery | FramedDelivery] = []
        room = max_bytes
        while (
            self._buffer
            and len(taken) < most
            and (len(self._buffer[0].octets) <= room or not (taken or follows))
        ):
            delivery = self._buffer.popleft()
            self._buffered -= len(delivery.octets)
            if delivery.ours_until > now:
                taken.append(delivery)
                room -= len(delivery.octets)
        if taken:
            self._room.set()
        return taken

    async def collect(self) -> None:
        """Request what the stream holds now, unless a request is open. Raises Unavailable."""
        if self._asked == 0 and self._is_open and self._inbox.is_open:
            await self._request(collects=True)

    @property
    def is_collecting(self) -> bool:
        """Whether more of what the stream held may still come."""
        return self._collects and self._asked > 0

    def pause(self, *, pauses: bool) -> None:
        """Request nothing but by ``collect``; or, from the next request on, all there is room for."""
        self.is_paused, self._wants_one = pauses, False
        self.is_shared |= pauses

    def resume(self, *, one: bool) -> None:
        """Request again what comes, from the next ``pull`` on; ``one``: a stream message at a
        time."""
        self.is_paused, self._wants_one = False, one

    @property
    def everywhere(self) -> int:
        """Stream messages that the consumer has handed out to any process meanwhile."""
        return max(self.here, self._last - self._first)

    def forget_counts(self) -> None:
        """Count from here on."""
        self.here, self._first = 0, self._last

    @property
    def is_holding(self) -> bool:
        """Whether something is buffered."""
        return bool(self._buffer)

    async def probe(self) -> None:
        """Check whether the consumer serves. Raises Unavailable."""
        await self._connection.api(f"CONSUMER.INFO.{self._stream}.{self.consumer}")

    async def _on_connect(self) -> None:
        await self._inbox.open()
        self._asked = 0
        await self.pull()

    def _lost(self) -> None:
        self._asked = 0
        self._something.set()

    async def pull(self) -> None:
        """Request as much as there is room for, unless a request is open or half of the buffer
        is still full. Raises Unavailable; it is tried again soon."""
        if (
            self.is_paused
            or self._asked > 0
            or not self._is_open
            or not self._inbox.is_open
            or time.monotonic() < self._refused_until
        ):
            return
        await self._request(collects=False)

    async def _request(self, *, collects: bool) -> None:
        most, most_bytes = self._share.messages, self._share.max_bytes
        messages, room_bytes = most - len(self._buffer), most_bytes - self._buffered
        if messages < max(1, most // 2) or room_bytes < max(LARGEST_BYTES, most_bytes // 2):
            return
        now = time.monotonic()
        expires = _SHARED_EXPIRES if self.is_shared else _EXPIRES
        self._token += 1
        self._collects = collects
        self._asked = max(1, messages // self._per_pulled)
        if self._wants_one and not collects:
            self._asked = 1
        self._asked_until, self._heard_at = now + expires + _HEARTBEAT, now
        pull_request: dict[str, object] = {"batch": self._asked, "max_bytes": room_bytes}
        if collects:
            pull_request["no_wait"] = True
        else:
            pull_request["expires"] = round(expires * _SECOND)
            if expires >= 2 * _HEARTBEAT:
                pull_request["idle_heartbeat"] = round(_HEARTBEAT * _SECOND)
        try:
            subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self.consumer}"
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
        if self._collects:
            self._something.set()  # that was all
            if status == "404":
                return
        if status == "408" or (
            status == "409" and description.startswith(("Message Size Exceeds", "Batch Completed"))
        ):
            await self.pull()
            return
        # 503 no responders, 404, 409 consumer deleted, leadership change, server shutdown …: try
        # again in a moment
        log.info(
            "a pull request ended early",
            stream=self._stream,
            status=status,
            description=description,
        )
        self._refused_until = self._heard_at + _REFUSED_WAIT
        self._connection.check_soon()

    async def _received(self, message: Msg) -> None:
        carrier = NatsDelivery(self._connection, message)
        if not self._is_open:
            await carrier.nak(0)
            return
        self._asked = max(0, self._asked - 1)
        self.here += 1
        self._last = int(_sequences(message.reply)[1])
        self._first = self._first or self._last - 1
        for delivery in messages_of(carrier):
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
            log.warning("the ingest consumer is silent; pulling again", stream=self._stream)
            self._asked = 0
            self._connection.check_soon()
        if not self._inbox.is_open:
            await self._on_connect()
        else:
            await self.pull()


def _delivered(ack_subject: str) -> int:
    """Return how often the message was delivered:
    ``$JS.ACK.[domain.account.]stream.consumer.delivered.…``."""
    tokens = ack_subject.split(".")
    return int(tokens[4] if len(tokens) == 9 else tokens[6])


def _sequences(ack_subject: str) -> list[str]:
    """Return the sequence of the message in the stream, that of this handing out in the consumer,
    and the time at which the stream stored it."""
    tokens = ack_subject.split(".")
    first = 5 if len(tokens) == 9 else 7
    return tokens[first : first + 3]
