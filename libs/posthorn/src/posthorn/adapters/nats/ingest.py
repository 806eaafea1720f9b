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
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass
from uuid import UUID

import structlog
from nats.aio.msg import Msg

from posthorn.adapters.nats.acks import read_ack
from posthorn.adapters.nats.connection import Connection
from posthorn.adapters.nats.errors import NoResponders
from posthorn.adapters.nats.inbox import Inbox, token_of
from posthorn.model.envelope import Envelope, encode_record
from posthorn.model.frame import encode_frame, frame_id
from posthorn.model.streams import (
    INGEST,
    MOST_IN_FRAME,
    frame_subject,
    ingest_subject,
    is_frame,
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


@dataclass(eq=False, slots=True)
class _Message:
    id: str
    subject: str
    record: bytes
    kept: asyncio.Future[None]
    is_queued: bool = False
    sent_in: _Publish | None = None
    """The last publish that carried it, unless that was refused."""


@dataclass(eq=False, slots=True)
class _Publish:
    """A stream message: a record, or a frame of several."""

    messages: list[_Message]
    id: str
    subject: str
    data: bytes
    token: str = ""
    sent_at: float = 0.0
    is_stored: bool = False

    @classmethod
    def of(cls, messages: list[_Message]) -> _Publish:
        first = messages[0]
        if len(messages) == 1:
            return cls(messages, first.id, first.subject, first.record)
        return cls(
            messages,
            frame_id(message.id for message in messages),
            frame_subject(first.subject, len(messages)),
            encode_frame([message.record for message in messages]),
        )


class NatsIngest:
    """Ingest on JetStream. ``timeout``: seconds for each of three tries."""

    def __init__(self, connection: Connection, *, timeout: float = 5.0) -> None:
        self._connection = connection
        self._timeout = timeout
        self._inbox = Inbox(connection, self._answered)
        self._token = 0
        self._in_flight: dict[str, _Publish] = {}  # by token
        self._queue: deque[_Message] = deque()
        self._queued = 0  # bytes
        self._sent_at = 0.0
        self._plain_until = 0.0
        self._mute_until = 0.0  # the stream has answered a state request, but no publish
        connection.on_down(self._lost)
        connection.on_denied(self._denied)

    async def accept(
        self, envelope: Envelope, body: bytes | None, *, unscanned: bool = False
    ) -> None:
        if (tracer := traces.tracer) is None or not tracer.samples(envelope.id):
            await self._accept(envelope, body, unscanned=unscanned)
            return
        began, fault = time.time_ns(), ""
        try:
            await self._accept(envelope, body, unscanned=unscanned)
        except Unavailable as error:
            fault = type(error).__name__
            raise
        finally:
            about: dict[str, traces.Value] = {
                traces.ROLE: envelope.role,
                traces.SIZE: envelope.body.size,
            }
            tracer.span(traces.PUBLISH, envelope.id, began, about, fault=fault)

    async def _accept(
        self, envelope: Envelope, body: bytes | None, *, unscanned: bool = False
    ) -> None:
        record = encode_record(envelope, body, dumps=dumps)
        subject = (unscanned_subject if unscanned else ingest_subject)(envelope.role)
        message = _Message(
            str(envelope.id), subject, record, asyncio.get_running_loop().create_future()
        )
        fault = Unavailable("nats", "no acknowledgement in time")
        for number in range(1, _TRIES + 1):
            await self._connection.wait_up(self._timeout)
            message.kept = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(self._timeout):
                    await self._inbox.open()
                    self._enqueue(message)
                    await self._advance()
                    await message.kept
                    return
            except Full:
                raise
            except TimeoutError:
                if self._is_mute or number == _TRIES:
                    await self._look_whether_mute()
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

    @property
    def _is_mute(self) -> bool:
        return time.monotonic() < self._mute_until

    async def _look_whether_mute(self) -> None:
        """Raise Full when the stream answers a state request, Unavailable when it does not."""
        info = await self._connection.api(f"STREAM.INFO.{INGEST}")
        if not self._is_mute:
            log.error(
                "INGEST stores nothing although it answers: the disk of NATS is or was full; free space on it, then restart NATS",
                messages=info["state"]["messages"],
            )
        self._mute_until = time.monotonic() + _MUTE_SECONDS
        raise Full("nats", "INGEST stores nothing although it answers")

    async def probe(self) -> None:
        info = await self._connection.api(f"STREAM.INFO.{INGEST}")
        if self._is_mute:
            raise Full("nats", "INGEST stores nothing although it answers")
        limit = info["config"].get("max_bytes", -1)
        if 0 < limit < info["state"]["bytes"] + _ROOM:
            raise Full("nats", "INGEST has reached its byte limit")

    def _enqueue(self, message: _Message) -> None:
        message.is_queued = True
        self._queue.append(message)
        self._queued += len(message.record)

    def _dequeue(self) -> _Message:
        message = self._queue.popleft()
        message.is_queued = False
        self._queued -= len(message.record)
        return message

    async def _advance(self) -> None:
        """Publish what may go now."""
        while self._queue:
            if (earlier := self._queue[0].sent_in) is not None:
                await self._send_again(self._dequeue(), earlier)
            elif not self._may_be_framed(self._queue[0]):
                if len(self._in_flight) >= _PLAIN_AT_ONCE:
                    return
                await self._send([self._dequeue()])
            else:
                now = time.monotonic()
                is_full = len(self._queue) >= MOST_IN_FRAME or self._queued >= self._frame_bytes
                gathers = now - self._sent_at < _GATHER_SECONDS and not is_full
                if self._in_flight and (gathers or len(self._in_flight) >= _FRAMES_AT_ONCE):
                    return
                await self._send(self._next_frame())

    def _may_be_framed(self, message: _Message) -> bool:
        return (
            self._connection.settings.ingest_frames
            and message.subject.startswith("ingest.")
            and time.monotonic() >= self._plain_until
        )

    @property
    def _frame_bytes(self) -> int:
        return min(_FRAME_BYTES, self._connection.client.max_payload) - _FRAME_ROOM

    def _next_frame(self) -> list[_Message]:
        """Return the queue's first message, and those after it that may go with it."""
        chosen = [self._dequeue()]
        room = self._frame_bytes - len(chosen[0].record)
        while self._queue and len(chosen) < MOST_IN_FRAME:
            message = self._queue[0]
            room -= len(message.record)
            if room < 0 or message.sent_in or message.subject != chosen[0].subject:
                break
            chosen.append(self._dequeue())
        return chosen

    async def _send(self, messages: list[_Message]) -> None:
        publish = _Publish.of(messages)
        for message in messages:
            message.sent_in = publish
        await self._publish(publish)

    async def _send_again(self, message: _Message, earlier: _Publish) -> None:
        """Send the publish that carried the message once more, unless another of its messages
        has just had it sent."""
        if earlier.is_stored:
            message.kept.set_result(None)
        elif (
            earlier.token not in self._in_flight
            or time.monotonic() - earlier.sent_at > self._timeout / 2
        ):
            self._in_flight.pop(earlier.token, None)
            await self._publish(earlier)

    async def _publish(self, publish: _Publish) -> None:
        self._token += 1
        publish.token = f"{self._token:x}"
        publish.sent_at = self._sent_at = time.monotonic()
        self._in_flight[publish.token] = publish
        try:
            await self._connection.publish(
                publish.subject,
                publish.data,
                self._inbox.prefix + publish.token,
                _headers(publish),
            )
        except Unavailable as error:
            self._in_flight.pop(publish.token, None)
            self._fail(publish.messages, error)

    async def _answered(self, answer: Msg) -> None:
        publish = self._in_flight.pop(token_of(answer), None)
        if publish is not None:
            try:
                read_ack(answer, INGEST)
                self._mute_until = 0.0
                publish.is_stored = True
                for message in publish.messages:
                    if not message.kept.done():
                        message.kept.set_result(None)
                publish.messages = []  # they refer to each other, and would wait for the collector
            except Unavailable as error:
                if len(publish.messages) == 1:
                    self._fail(publish.messages, error)
                else:
                    log.info("a frame was refused; its messages are sent singly", detail=str(error))
                    await self._send_singly(publish, has_room=not isinstance(error, Full))
        await self._advance()

    async def _denied(self, subject: str) -> None:
        """Send the messages of frames singly: this user may not publish frames."""
        if is_frame(subject):
            for publish in [each for each in self._in_flight.values() if len(each.messages) > 1]:
                self._in_flight.pop(publish.token, None)
                await self._send_singly(publish, has_room=True)
            await self._advance()

    async def _send_singly(self, frame: _Publish, *, has_room: bool) -> None:
        if has_room:
            self._plain_until = time.monotonic() + _PLAIN_SECONDS
        for message in frame.messages:
            message.sent_in = None
        for message in frame.messages:
            if not message.kept.done():
                await self._send([message])

    def _release(self, message: _Message) -> None:
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
        self._mute_until = 0.0
        self._fail(waiting, Unavailable("nats", "the connection broke"))

    @staticmethod
    def _fail(messages: list[_Message], error: Unavailable) -> None:
        for message in messages:
            if not message.kept.done():
                message.kept.set_exception(error)


def _headers(publish: _Publish) -> dict[str, str]:
    """Return the header of a stream message. A message that is traced names its trace there, for
    other tools."""
    headers = {"Nats-Msg-Id": publish.id}
    if traces.tracer is not None and len(publish.messages) == 1:
        message = UUID(publish.id)
        if traces.tracer.samples(message):
            headers["traceparent"] = traces.traceparent(message)
    return headers
