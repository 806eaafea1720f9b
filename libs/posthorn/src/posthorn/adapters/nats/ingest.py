"""The accepting side of INGEST: a message is stored when the stream has acknowledged it.

Theory of operation:

- One subscription receives all acknowledgements; the last token of the reply subject identifies the
  message. That costs a third of a library request per publish.
- A stream that syncs every write does one sync per plain message, and one per atomic batch, but a
  batch costs about 2 ms whatever its size. So messages are published singly while few are in
  flight; those that arrive while many are in flight wait, and when enough wait they are sent as one
  batch; the next one accumulates meanwhile. No message waits for others that may never arrive.
- The messages of a batch that is refused for any reason (one of its ids is known already, the
  stream is nearly full, an old server) are sent again singly: the ids make the repeat harmless, and
  each message gets an answer of its own.
- A stream whose disk is full answers no publish at all (even after space is free again, until
  nats-server is restarted), while it answers requests for its state. So a publish without an
  answer, on a connection over which the stream answers such a request, counts as Full: 452, after
  one try while this lasts.
- The envelope's role decides the subject, and whether it was scanned the lane. A part may publish under the subject of its own role
  only; NATS refuses others (``adapters.nats.permissions``).
- Messages in flight when the connection breaks are sent again, under the same id, after the
  reconnect, or fail at their time limit.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass

import structlog
from nats.aio.msg import Msg

from posthorn.adapters.nats.acks import Ack, read_ack
from posthorn.adapters.nats.connection import Connection
from posthorn.adapters.nats.errors import NoResponders
from posthorn.adapters.nats.inbox import Inbox, token_of
from posthorn.model.envelope import Envelope, encode_record
from posthorn.model.streams import INGEST, ingest_subject, unscanned_subject
from posthorn.ports.errors import Full, Unavailable
from posthorn.runtime.json_bytes import dumps

log = structlog.get_logger()

_TRIES = 3
_PLAIN_AT_ONCE = 16
_BATCH_FROM = 24
_BATCH_MESSAGES = 500
_BATCH_OCTETS = 4 * 1024**2
_NO_RESPONDERS_WAIT = 0.25
_ROOM = 64 * 1024
_MUTE_SECONDS = 15.0
"""Seconds for which a stream that stores nothing counts as full before all tries are made again."""


@dataclass(eq=False, slots=True)
class _Message:
    id: str
    subject: str
    record: bytes
    kept: asyncio.Future[Ack]
    token: str = ""


class NatsIngest:
    """Ingest on JetStream. ``timeout``: seconds for each of three tries."""

    def __init__(self, connection: Connection, *, timeout: float = 5.0) -> None:
        self._connection = connection
        self._timeout = timeout
        self._inbox = Inbox(connection, self._answered)
        self._token = 0
        self._in_flight: dict[str, list[_Message]] = {}  # by token; several messages are a batch
        self._queue: deque[_Message] = deque()
        # one batch at a time and no single messages beside it, so that the next batch grows
        # meanwhile
        self._batching = False
        self._mute_until = 0.0  # the stream has answered a state request, but no publish
        connection.on_down(self._lost)

    async def accept(
        self, envelope: Envelope, body: bytes | None, *, unscanned: bool = False
    ) -> None:
        record = encode_record(envelope, body, dumps=dumps)
        subject = (unscanned_subject if unscanned else ingest_subject)(envelope.role)
        message_id = str(envelope.id)
        fault = Unavailable("nats", "no acknowledgement in time")
        for number in range(1, _TRIES + 1):
            await self._connection.wait_up(self._timeout)
            message = _Message(
                message_id, subject, record, asyncio.get_running_loop().create_future()
            )
            try:
                async with asyncio.timeout(self._timeout):
                    await self._inbox.open()
                    self._queue.append(message)
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

    async def _send(self, messages: list[_Message]) -> None:
        self._token += 1
        token = f"{self._token:x}"
        self._in_flight[token] = messages
        for message in messages:
            message.token = token
        reply = self._inbox.prefix + token
        try:
            if len(messages) == 1:
                await self._publish(messages[0], reply, {"Nats-Msg-Id": messages[0].id})
                return
            for number, message in enumerate(messages, 1):
                last = number == len(messages)
                headers = {
                    "Nats-Msg-Id": message.id,
                    "Nats-Batch-Id": f"{self._inbox.prefix[-23:-1]}{token}",
                    "Nats-Batch-Sequence": str(number),
                }
                if last:
                    headers["Nats-Batch-Commit"] = "1"
                await self._publish(message, reply if last else "", headers)
        except Unavailable as error:
            self._settle(token)
            self._fail(messages, error)

    async def _publish(self, message: _Message, reply: str, headers: dict[str, str]) -> None:
        await self._connection.publish(message.subject, message.record, reply, headers)

    async def _answered(self, answer: Msg) -> None:
        messages = self._settle(token_of(answer))
        if messages is not None:
            try:
                ack = read_ack(answer, INGEST)
                self._mute_until = 0.0
                if len(messages) not in (1, ack.count):
                    raise Unavailable("nats", "the server knows no atomic batches")
                for message in messages:
                    if not message.kept.done():
                        message.kept.set_result(ack)
            except Unavailable as error:
                if len(messages) == 1:
                    self._fail(messages, error)
                else:
                    log.info("a batch was refused; its messages are sent singly", detail=str(error))
                    for message in messages:
                        if not message.kept.done():
                            await self._send([message])
        await self._advance()

    async def _advance(self) -> None:
        while self._queue and not self._batching:
            batch: list[_Message] = []
            if len(self._queue) >= _BATCH_FROM:
                size = 0
                while self._queue and len(batch) < _BATCH_MESSAGES and size < _BATCH_OCTETS:
                    message = self._queue.popleft()
                    if not message.kept.done():
                        batch.append(message)
                        size += len(message.record)
            elif len(self._in_flight) < _PLAIN_AT_ONCE:
                message = self._queue.popleft()
                if not message.kept.done():
                    batch.append(message)
            else:
                return
            if batch:
                self._batching |= len(batch) > 1
                await self._send(batch)

    def _settle(self, token: str) -> list[_Message] | None:
        messages = self._in_flight.pop(token, None)
        if messages and len(messages) > 1:
            self._batching = False
        return messages

    def _release(self, message: _Message) -> None:
        """Drop a message whose caller has stopped waiting, so that it does not count as in
        flight."""
        message.kept.cancel()
        messages = self._in_flight.get(message.token)
        if messages and all(other.kept.done() for other in messages):
            self._settle(message.token)

    def _lost(self) -> None:
        waiting = [message for messages in self._in_flight.values() for message in messages] + list(
            self._queue
        )
        self._in_flight.clear()
        self._queue.clear()
        self._mute_until = 0.0
        self._batching = False
        self._fail(waiting, Unavailable("nats", "the connection broke"))

    @staticmethod
    def _fail(messages: list[_Message], error: Unavailable) -> None:
        for message in messages:
            if not message.kept.done():
                message.kept.set_exception(error)
