"""The accepting side of INGEST: a message is stored when the stream has acknowledged it.

Theory of operation:

- One subscription receives all acknowledgements; the last token of the reply subject identifies the
  publish. That costs a third of a library request per publish.
- A stream that syncs every write does one sync per stream message, however many bytes it has. So a
  message is published at once while nothing is in flight; those that arrive meanwhile gather, and
  the next publish carries them as one frame (ADR 34). A frame that is full does not wait, nor does
  anything behind a publish that is not answered soon. No message waits for others that may never
  arrive.
- A frame that is refused for any reason (the stream is nearly full, it has no lane of frames yet,
  this user may not publish them yet) is not stored, and its messages are sent again singly: each
  gets an answer of its own. After a refusal of frames as such, none are sent for a while.
- A publish whose answer is lost is sent again as it was, under the same id, so that the stream
  stores it once: a frame together with those of its messages whose senders wait no longer, which
  were in doubt before.
- A stream whose disk is full answers no publish at all (even after space is free again, until
  nats-server is restarted), while it answers requests for its state. So a publish without an
  answer, on a connection over which the stream answers such a request, counts as Full: 452, after
  one try while this lasts.
- The envelope's role decides the subject, and whether it was scanned the lane. A part may publish
  under the subjects of its own role only; NATS refuses others (``adapters.nats.permissions``).
- Messages in flight when the connection breaks are sent again, under the same id, after the
  reconnect, or fail at their time limit.
- Each publish goes to one of the partitions (``partition_choice``). One that is refused there is not
  stored, and goes to the next; its senders get a fault only when all have refused it. One that is
  not answered stays with its partition, and others take what comes after it.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque

import structlog
from nats.aio.msg import Msg

from posthorn.adapters.nats.acks import read_ack
from posthorn.adapters.nats.connection import Connection
from posthorn.adapters.nats.errors import Denied, NoResponders
from posthorn.adapters.nats.inbox import Inbox, token_of
from posthorn.adapters.nats.ingest_publish import Publish, QueuedMessage
from posthorn.adapters.nats.partition_choice import PartitionChoice, Pins
from posthorn.adapters.nats.traced_publish import headers_of, traced
from posthorn.model.envelope import Envelope, encode_record
from posthorn.model.streams import (
    MOST_IN_FRAME,
    ingest_stream,
    ingest_subject,
    unscanned_subject,
)
from posthorn.ports.errors import Full, Unavailable
from posthorn.runtime import traces
from posthorn.runtime.json_bytes import dumps

log = structlog.get_logger()

_TRIES = 3
_PLAIN_AT_ONCE = 64
_FRAMES_AT_ONCE = 8
_FRAME_BYTES = 1024**2
_FRAME_ROOM = 64 * 1024  # of a NATS message, for headers and the frame's line
_GATHER_SECONDS = 0.25  # messages gather behind a publish no longer than this
_PLAIN_SECONDS = 30.0  # for which no frames are sent once they were refused as such
_NO_RESPONDERS_WAIT = 0.25
_ROOM = 64 * 1024
_MUTE_SECONDS = 15.0
"""Seconds for which a stream that stores nothing counts as full before all tries are made again."""


class NatsIngest:
    """Ingest on JetStream. ``frames``: whether messages may share a stream message; ``timeout``:
    seconds for each of three tries."""

    def __init__(
        self, connection: Connection, *, frames: bool = True, timeout: float = 5.0
    ) -> None:
        self._connection = connection
        self._frames = frames
        self._timeout = timeout
        self._choice = PartitionChoice(connection.settings.ingest_partitions)
        self._pins = Pins()
        self._inbox = Inbox(connection, self._answered)
        self._token = 0
        self._in_flight: dict[str, Publish] = {}  # by token
        self._queue: deque[QueuedMessage] = deque()
        self._queued = 0  # bytes
        self._sent_at = 0.0
        self._plain_until = 0.0
        # by partition: it has answered a state request, but no publish
        self._mute_until: dict[int, float] = {}
        self._advances: asyncio.Task[None] | None = None
        connection.on_down(self._lost)
        connection.on_denied(self._denied)

    async def accept(
        self, envelope: Envelope, body: bytes | None, *, unscanned: bool = False
    ) -> None:
        work = self._accept(envelope, body, unscanned=unscanned)
        await (work if traces.tracer is None else traced(traces.tracer, envelope, work))

    async def _accept(self, envelope: Envelope, body: bytes | None, *, unscanned: bool) -> None:
        record = encode_record(envelope, body, dumps=dumps)
        subject = (unscanned_subject if unscanned else ingest_subject)(envelope.role)
        message = QueuedMessage(
            str(envelope.id), subject, record, asyncio.get_running_loop().create_future()
        )
        message.pin = self._pins.of(message.id)
        try:
            await self._store(message)
        except BaseException:
            if message.sent_in is not None and message.sent_in.unanswered:
                self._pins.pin(message.id, message.sent_in.partition)
            raise
        self._pins.unpin(message.id)

    async def _store(self, message: QueuedMessage) -> None:
        fault = Unavailable("nats", "no acknowledgement in time")
        for number in range(1, _TRIES + 1):
            if not self._connection.is_up:
                await self._connection.wait_up(self._timeout)
            if number > 1:
                message.kept = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(self._timeout):
                    if not self._inbox.is_open:
                        await self._inbox.open()
                    self._enqueue(message)
                    await self._advance()
                    await message.kept
                    return
            except Full:
                raise
            except TimeoutError:
                partition = self._late(message.sent_in)
                if self._is_mute(partition) or number == _TRIES:
                    await self._look_whether_mute(partition)
                continue
            except Unavailable as error:
                fault = error
            finally:
                self._release(message)
            if isinstance(fault, NoResponders):
                self._connection.check_soon()
            if self._connection.is_up:
                await asyncio.sleep(_NO_RESPONDERS_WAIT)
        raise fault

    def _late(self, publish: Publish | None) -> int:
        """Pass over the partition of a publish that is not answered in time, once for all of its
        messages; return it."""
        if publish is None:
            return 0
        if publish.late_token != publish.token:
            publish.late_token = publish.token
            self._choice.failed(publish.partition)
        return publish.partition

    def _is_mute(self, partition: int) -> bool:
        return time.monotonic() < self._mute_until.get(partition, 0.0)

    async def _look_whether_mute(self, partition: int) -> None:
        """Raise Full when the stream answers a state request, Unavailable when it does not."""
        stream = ingest_stream(partition)
        info = await self._connection.api(f"STREAM.INFO.{stream}")
        if not self._is_mute(partition):
            log.error(
                "INGEST stores nothing although it answers: the disk of NATS is or was full; free space on it, then restart NATS",
                stream=stream,
                messages=info["state"]["messages"],
            )
        self._mute_until[partition] = time.monotonic() + _MUTE_SECONDS
        raise Full("nats", f"{stream} stores nothing although it answers")

    async def probe(self) -> None:
        faults: list[Unavailable] = []
        for partition in self._choice.in_order():
            try:
                await self._probe(partition)
                return
            except Unavailable as fault:
                faults.append(fault)
        raise min(faults, key=lambda fault: isinstance(fault, Full))

    async def _probe(self, partition: int) -> None:
        stream = ingest_stream(partition)
        info = await self._connection.api(f"STREAM.INFO.{stream}")
        if self._is_mute(partition):
            raise Full("nats", f"{stream} stores nothing although it answers")
        limit = info["config"].get("max_bytes", -1)
        if 0 < limit < info["state"]["bytes"] + _ROOM:
            raise Full("nats", f"{stream} has reached its byte limit")

    def _enqueue(self, message: QueuedMessage) -> None:
        message.is_queued = True
        self._queue.append(message)
        self._queued += len(message.record)

    def _dequeue(self) -> QueuedMessage:
        message = self._queue.popleft()
        message.is_queued = False
        self._queued -= len(message.record)
        return message

    async def _advance(self) -> None:
        """Publish what may go now."""
        while self._queue:
            if (earlier := self._queue[0].sent_in) is not None:
                await self._send_again(self._dequeue(), earlier)
                continue
            stuck = self._stuck()
            in_flight = self._in_flight_beside(stuck)
            if not self._may_be_framed(self._queue[0]):
                if in_flight >= _PLAIN_AT_ONCE:
                    break
                await self._send([self._dequeue()], stuck)
            else:
                now = time.monotonic()
                is_full = len(self._queue) >= MOST_IN_FRAME or self._queued >= self._frame_bytes
                gathers = now - self._sent_at < _GATHER_SECONDS and not is_full
                if in_flight and (gathers or in_flight >= _FRAMES_AT_ONCE):
                    break
                await self._send_frame(stuck)
        if self._queue and self._advances is None:
            self._advances = asyncio.create_task(self._advance_later(), name="ingest queue")

    async def _advance_later(self) -> None:
        """Let nothing wait behind a publish that is not answered, also if nothing comes after it."""
        await asyncio.sleep(_GATHER_SECONDS)
        self._advances = None
        await self._advance()

    def _stuck(self) -> frozenset[int]:
        """Return the partitions that owe an answer for longer than messages gather."""
        if self._choice.number == 1:
            return frozenset()
        late = time.monotonic() - _GATHER_SECONDS
        return frozenset(
            each.partition for each in self._in_flight.values() if each.sent_at <= late
        )

    def _in_flight_beside(self, stuck: frozenset[int]) -> int:
        """Return the publishes in flight to other partitions; all where there are no others."""
        if not stuck or len(stuck) == self._choice.number:
            return len(self._in_flight)
        return sum(each.partition not in stuck for each in self._in_flight.values())

    def _may_be_framed(self, message: QueuedMessage) -> bool:
        return (
            self._frames
            and message.pin is None
            and message.subject.startswith("ingest.")
            and time.monotonic() >= self._plain_until
        )

    @property
    def _frame_bytes(self) -> int:
        return min(_FRAME_BYTES, self._connection.client.max_payload) - _FRAME_ROOM

    async def _send_frame(self, stuck: frozenset[int]) -> None:
        """Send the queue's first message, and those after it that may go with it."""
        partition = self._choice.pick(stuck)
        assert partition is not None
        most = 1 if self._choice.is_on_trial(partition) else MOST_IN_FRAME
        chosen = [self._dequeue()]
        room = self._frame_bytes - len(chosen[0].record)
        while self._queue and len(chosen) < most:
            message = self._queue[0]
            room -= len(message.record)
            if (
                room < 0
                or message.sent_in
                or message.pin is not None
                or message.subject != chosen[0].subject
            ):
                break
            chosen.append(self._dequeue())
        await self._send_to(partition, chosen)

    async def _send(
        self, messages: list[QueuedMessage], stuck: frozenset[int] = frozenset()
    ) -> None:
        pin = messages[0].pin
        partition = self._choice.pick(stuck) if pin is None else pin
        assert partition is not None
        await self._send_to(partition, messages)

    async def _send_to(self, partition: int, messages: list[QueuedMessage]) -> None:
        publish = Publish.of(messages)
        publish.partition = partition
        for message in messages:
            message.sent_in = publish
        await self._publish(publish)

    async def _send_again(self, message: QueuedMessage, earlier: Publish) -> None:
        """Send the publish that carried the message once more, unless another of its messages
        has just had it sent."""
        if earlier.is_stored:
            if not message.kept.done():  # its answer may have come just now
                message.kept.set_result(None)
        elif (
            earlier.token not in self._in_flight
            or time.monotonic() - earlier.sent_at > self._timeout / 2
        ):
            self._in_flight.pop(earlier.token, None)
            await self._publish(earlier)

    async def _publish(self, publish: Publish) -> None:
        self._token += 1
        publish.token = f"{self._token:x}"
        publish.unanswered += 1
        publish.sent_at = self._sent_at = time.monotonic()
        self._in_flight[publish.token] = publish
        try:
            await self._connection.publish(
                publish.sent_to,
                publish.data,
                self._inbox.prefix + publish.token,
                headers_of(publish),
            )
        except Unavailable as error:
            self._in_flight.pop(publish.token, None)
            self._fail(publish.messages, error)

    async def _answered(self, answer: Msg) -> None:
        publish = self._in_flight.pop(token_of(answer), None)
        if publish is not None:
            try:
                read_ack(answer, ingest_stream(publish.partition))
                self._mute_until.pop(publish.partition, None)
                self._choice.stored(publish.partition)
                publish.is_stored = True
                for message in publish.messages:
                    if not message.kept.done():
                        message.kept.set_result(None)
                publish.messages = []  # they refer to each other, and would wait for the collector
            except Unavailable as error:
                await self._refused(publish, error)
        await self._advance()

    async def _refused(self, publish: Publish, error: Unavailable) -> None:
        """Go on with a publish that its partition did not store this time: in the next one, unless
        it may be stored by an earlier try."""
        fault = publish.refused(error)
        self._choice.failed(publish.partition)
        if isinstance(error, NoResponders):
            self._connection.check_soon()
        another = None if publish.unanswered else self._choice.pick(self._stuck(), publish.tried)
        if another is not None and publish.messages[0].pin is None:
            if (wanted := publish.still_wanted()) is not None:
                wanted.partition = another
                await self._publish(wanted)
        elif len(publish.messages) == 1:
            if not publish.unanswered:
                publish.messages[0].sent_in = None
            self._fail(publish.messages, fault)
        else:
            log.info("a frame was refused; its messages are sent singly", detail=str(fault))
            await self._send_singly(publish, has_room=not isinstance(fault, Full))

    async def _denied(self, subject: str) -> None:
        """Take what this user may not publish for refused: nothing was stored."""
        for publish in [each for each in self._in_flight.values() if each.sent_to == subject]:
            self._in_flight.pop(publish.token, None)
            await self._refused(publish, Denied("nats", f"not permitted: {subject}"))
        await self._advance()

    async def _send_singly(self, frame: Publish, *, has_room: bool) -> None:
        if has_room:
            self._plain_until = time.monotonic() + _PLAIN_SECONDS
        for message in frame.messages:
            message.sent_in = None
            if frame.unanswered:
                message.pin = frame.partition
        for message in frame.messages:
            if not message.kept.done():
                await self._send([message])

    def _release(self, message: QueuedMessage) -> None:
        """Drop a message whose caller has stopped waiting, so that it does not count as in
        flight."""
        message.kept.cancel()
        if message.is_queued:
            self._queue.remove(message)
            message.is_queued = False
            self._queued -= len(message.record)
        publish = message.sent_in
        if publish is not None and all(other.kept.done() for other in publish.messages):
            self._in_flight.pop(publish.token, None)

    def _lost(self) -> None:
        waiting = [message for each in self._in_flight.values() for message in each.messages]
        waiting += self._queue
        self._in_flight.clear()
        for _ in range(len(self._queue)):
            self._dequeue()
        self._mute_until.clear()
        self._choice.forget()
        self._fail(waiting, Unavailable("nats", "the connection broke"))

    @staticmethod
    def _fail(messages: list[QueuedMessage], error: Unavailable) -> None:
        for message in messages:
            if not message.kept.done():
                message.kept.set_exception(error)
