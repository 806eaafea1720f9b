"""A model of a JetStream work-queue stream with pull consumers, in the event loop's time: what the
reading side of INGEST meets (pull requests, their ends, acknowledgements, redelivery), without a
server."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, cast

from nats.aio.client import Client
from nats.aio.msg import Msg

from posthorn.adapters.nats.connection import Connection
from posthorn.ports.errors import Unavailable

TRAVEL_SECONDS = 0.0003
"""From the server to a process, and back."""
_NEXT = "$JS.API.CONSUMER.MSG.NEXT."
_SECOND = 1_000_000_000


@dataclass(slots=True)
class Stored:
    """A message on the stream."""

    sequence: int
    subject: str
    data: bytes
    delivered: int = 0
    redelivery: asyncio.TimerHandle | None = None


@dataclass(eq=False, slots=True)
class _Request:
    process: ModelConnection
    reply: str
    left: int
    timer: asyncio.TimerHandle | None = None


@dataclass(eq=False, slots=True)
class _Consumer:
    waiting: deque[Stored] = field(default_factory=deque)
    pending: dict[int, Stored] = field(default_factory=dict)
    requests: deque[_Request] = field(default_factory=deque)
    number: int = 0


class StreamModel:
    """The server: one stream for each name that is asked for."""

    def __init__(self, *, most_pending: int = 8192, ack_wait: float = 10.0) -> None:
        self._loop = asyncio.get_running_loop()
        self._most_pending, self._ack_wait = most_pending, ack_wait
        self._sequence = 0
        self.consumers: dict[str, _Consumer] = {}
        """By stream and consumer, with a dot."""
        self.is_up = True

    def store(self, consumer: str, subject: str, data: bytes) -> None:
        """Store a message that is this consumer's."""
        self._sequence += 1
        self._consumer(consumer).waiting.append(Stored(self._sequence, subject, data))
        self._serve(consumer)

    @property
    def left(self) -> int:
        """Messages that were not acknowledged."""
        return sum(len(each.waiting) + len(each.pending) for each in self.consumers.values())

    def go_down(self, processes: list[ModelConnection]) -> None:
        """Lose all connections, and with them all requests."""
        self.is_up = False
        for consumer in self.consumers.values():
            for request in list(consumer.requests):
                self._drop(consumer, request)
        for process in processes:
            for hook in list(process.down_hooks):
                hook()

    async def come_up(self, processes: list[ModelConnection]) -> None:
        """Serve again."""
        self.is_up = True
        for process in processes:
            for hook in list(process.hooks):
                await hook()

    def lose(self, process: ModelConnection) -> None:
        """Forget a process that was killed."""
        process.is_lost = True
        for consumer in self.consumers.values():
            for request in [each for each in consumer.requests if each.process is process]:
                self._drop(consumer, request)

    def receive(self, process: ModelConnection, subject: str, data: bytes, reply: str) -> None:
        """Take what a process has published."""
        self._loop.call_later(TRAVEL_SECONDS, self._received, process, subject, data, reply)

    def _received(self, process: ModelConnection, subject: str, data: bytes, reply: str) -> None:
        if not self.is_up or process.is_lost:
            return
        if subject.startswith(_NEXT):
            self._requested(process, subject.removeprefix(_NEXT), json.loads(data), reply)
        elif subject.startswith("$JS.ACK."):
            self._acknowledged(subject, data)
        else:
            raise AssertionError(subject)

    def _requested(
        self, process: ModelConnection, name: str, wish: dict[str, Any], reply: str
    ) -> None:
        consumer = self._consumer(name)
        request = _Request(process, reply, wish["batch"])
        consumer.requests.append(request)
        self._serve(name)
        if request not in consumer.requests:
            return
        if wish.get("no_wait"):
            nothing = request.left == wish["batch"]
            self._end(consumer, request, "404" if nothing else "408")
        else:
            seconds = wish["expires"] / _SECOND
            request.timer = self._loop.call_later(seconds, self._end, consumer, request, "408")

    def _end(self, consumer: _Consumer, request: _Request, status: str) -> None:
        if request in consumer.requests:
            self._drop(consumer, request)
            headers = {"Status": status, "Description": ""}
            request.process.arrive(request.reply, Msg(_CLIENT, request.reply, headers=headers))

    def _drop(self, consumer: _Consumer, request: _Request) -> None:
        consumer.requests.remove(request)
        if request.timer is not None:
            request.timer.cancel()

    def _serve(self, name: str) -> None:
        consumer = self._consumer(name)
        while consumer.waiting and consumer.requests and len(consumer.pending) < self._most_pending:
            request, message = consumer.requests[0], consumer.waiting.popleft()
            consumer.number += 1
            consumer.pending[consumer.number] = message
            message.delivered += 1
            self._await_ack(name, consumer.number, message)
            reply = f"$JS.ACK.{name}.{message.delivered}.{message.sequence}.{consumer.number}.1.0"
            request.process.arrive(
                request.reply, Msg(_CLIENT, message.subject, reply, message.data)
            )
            request.left -= 1
            if request.left:
                consumer.requests.rotate(-1)  # the server serves requests in turn
            else:
                self._drop(consumer, request)

    def _await_ack(self, name: str, number: int, message: Stored) -> None:
        if message.redelivery is not None:
            message.redelivery.cancel()
        message.redelivery = self._loop.call_later(self._ack_wait, self._return, name, number)

    def _return(self, name: str, number: int) -> None:
        consumer = self._consumer(name)
        message = consumer.pending.pop(number, None)
        if message is not None:
            if message.redelivery is not None:
                message.redelivery.cancel()
            consumer.waiting.appendleft(message)
            self._serve(name)

    def _acknowledged(self, subject: str, data: bytes) -> None:
        _, _, stream, consumer_name, _, _, number, *_ = subject.split(".")
        name = f"{stream}.{consumer_name}"
        consumer = self._consumer(name)
        message = consumer.pending.get(int(number))
        if message is None:
            return
        if data == b"+ACK":
            del consumer.pending[int(number)]
            if message.redelivery is not None:
                message.redelivery.cancel()
            self._serve(name)
        elif data == b"+WPI":
            self._await_ack(name, int(number), message)
        else:
            self._return(name, int(number))

    def _consumer(self, name: str) -> _Consumer:
        return self.consumers.setdefault(name, _Consumer())


class _Subscription:
    async def drain(self) -> None:
        pass


class _ModelClient:
    def __init__(self) -> None:
        self._inboxes = 0

    def new_inbox(self) -> str:
        self._inboxes += 1
        return f"_INBOX.{self._inboxes}"

    async def flush(self, timeout: float) -> None:
        pass


_CLIENT = cast(Client, None)


class ModelConnection:
    """A process's connection to the model."""

    def __init__(self, server: StreamModel) -> None:
        self._server = server
        self.client = _ModelClient()
        self.hooks: list[Callable[[], Awaitable[None]]] = []
        self.down_hooks: list[Callable[[], None]] = []
        self.is_lost = False
        self._inboxes: dict[str, Callable[[Msg], Coroutine[Any, Any, None]]] = {}
        self._loop = asyncio.get_running_loop()
        self._handling: set[asyncio.Task[None]] = set()

    @property
    def as_connection(self) -> Connection:
        """It, as what adapters take."""
        return cast(Connection, self)

    @property
    def is_up(self) -> bool:
        return self._server.is_up

    def on_up(self, hook: Callable[[], Awaitable[None]]) -> None:
        self.hooks.append(hook)

    def on_down(self, hook: Callable[[], None]) -> None:
        self.down_hooks.append(hook)

    def forget(self, hook: Any) -> None:
        for hooks in (self.hooks, self.down_hooks):
            if hook in hooks:
                hooks.remove(hook)

    def check_soon(self) -> None:
        pass

    async def api(self, operation: str, document: object = None) -> dict[str, Any]:
        if not self.is_up:
            raise Unavailable("nats", "not connected")
        assert operation == "STREAM.NAMES"
        return {"streams": []}

    async def subscribe(
        self, subject: str, on_message: Callable[[Msg], Coroutine[Any, Any, None]]
    ) -> _Subscription:
        self._inboxes[subject.removesuffix("*")] = on_message
        return _Subscription()

    async def publish(self, subject: str, data: bytes = b"", reply: str = "") -> None:
        if not self.is_up:
            raise Unavailable("nats", "not connected")
        self._server.receive(self, subject, data, reply)

    def arrive(self, inbox: str, message: Msg) -> None:
        """Have a message arrive under the subject of an inbox."""
        self._loop.call_later(TRAVEL_SECONDS, self._arrived, inbox, message)

    def _arrived(self, inbox: str, message: Msg) -> None:
        if self.is_up and not self.is_lost:
            handling = asyncio.ensure_future(self._inboxes[inbox.rpartition(".")[0] + "."](message))
            self._handling.add(handling)
            handling.add_done_callback(self._handling.discard)
