"""Questions to one name server and its answers, over UDP and TCP (RFC 1035 §4.2, RFC 7766).

Theory. An answer is accepted from the server's address alone (the sockets are connected), and only
if it bears the identifier and the question. To guess both port and identifier must be hard (RFC
5452), so a few sockets with ports of the system's choice are in use, and each is replaced after a
number of questions. A socket that is replaced stays open until its last question is over.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import socket
from dataclasses import dataclass

from posthorn.wire.dns_message import (
    Answer,
    DnsMessageError,
    Kind,
    OtherAnswer,
    decode_answer,
    encode_question,
    identifier_of,
)

_SOCKETS = 4
_QUESTIONS_PER_SOCKET = 500
_MOST_CONNECTIONS = 20
_READ_AT_ONCE = 32
_LONGEST_BYTES = 65_535


@dataclass(slots=True)
class _Waiting:
    name: bytes
    kind: Kind
    future: asyncio.Future[Answer]


class _Socket:
    """A UDP socket, and the questions that wait for an answer on it."""

    def __init__(self, host: str, port: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[int, _Waiting] = {}
        self._asked = 0
        self._is_retired = False
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)
            self._socket.connect((host, port))
        except OSError:
            self._socket.close()
            raise
        self._loop.add_reader(self._socket, self._read)

    @property
    def is_worn(self) -> bool:
        """Whether it is to be replaced."""
        return self._asked >= _QUESTIONS_PER_SOCKET

    @property
    def is_open(self) -> bool:
        """Whether it is not closed yet."""
        return self._socket.fileno() >= 0

    def ask(self, name: bytes, kind: Kind) -> tuple[int, asyncio.Future[Answer]]:
        """Send a question; return its identifier and what becomes the answer. Raises OSError."""
        identifier = secrets.randbits(16)
        while identifier in self._waiting:
            identifier = secrets.randbits(16)
        self._socket.send(encode_question(identifier, name, kind))
        self._asked += 1
        future: asyncio.Future[Answer] = self._loop.create_future()
        self._waiting[identifier] = _Waiting(name, kind, future)
        return identifier, future

    def forget(self, identifier: int) -> None:
        """Wait for this answer no longer."""
        self._waiting.pop(identifier, None)
        if self._is_retired and not self._waiting:
            self.close()

    def retire(self) -> None:
        """Close it once no question waits."""
        self._is_retired = True
        if not self._waiting:
            self.close()

    def close(self) -> None:
        """Close it now; questions that wait fail."""
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
            self._socket.close()
        self._fail(ConnectionAbortedError("closed"))

    def _read(self) -> None:
        for _ in range(_READ_AT_ONCE):
            try:
                message = self._socket.recv(_LONGEST_BYTES)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:  # such as ICMP: nobody listens there
                self._fail(error)
                return
            waiting = self._waiting.get(identifier := identifier_of(message))
            if waiting is None or waiting.future.done():
                continue
            try:
                waiting.future.set_result(
                    decode_answer(message, identifier, waiting.name, waiting.kind)
                )
            except OtherAnswer:
                continue
            except DnsMessageError as error:
                waiting.future.set_exception(error)

    def _fail(self, error: OSError) -> None:
        for waiting in list(self._waiting.values()):
            if not waiting.future.done():
                waiting.future.set_exception(error)


class NameServer:
    """One recursive resolver."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._sockets: list[_Socket] = []
        self._retired: list[_Socket] = []
        self._connections = asyncio.Semaphore(_MOST_CONNECTIONS)

    async def ask(self, name: bytes, kind: Kind, *, seconds: float) -> Answer:
        """Ask over UDP. Raises TimeoutError, OSError, DnsMessageError."""
        loop = asyncio.get_running_loop()
        used = self._take()
        identifier, future = used.ask(name, kind)
        timer = loop.call_later(seconds, _time_out, future)
        try:
            return await future
        finally:
            timer.cancel()
            used.forget(identifier)

    async def ask_whole(self, name: bytes, kind: Kind, *, seconds: float) -> Answer:
        """Ask over TCP, for an answer that UDP cut. Raises TimeoutError, OSError,
        DnsMessageError."""
        async with asyncio.timeout(seconds), self._connections:
            reader, writer = await asyncio.open_connection(self._host, self._port)
            try:
                identifier = secrets.randbits(16)
                question = encode_question(identifier, name, kind)
                writer.write(len(question).to_bytes(2) + question)
                length = int.from_bytes(await reader.readexactly(2))
                message = await reader.readexactly(length)
            except asyncio.IncompleteReadError as error:
                raise ConnectionResetError("closed before the answer") from error
            finally:
                writer.close()
        return decode_answer(message, identifier, name, kind)

    def close(self) -> None:
        """Close all sockets; questions under way fail."""
        for each in (*self._sockets, *self._retired):
            each.close()
        self._sockets.clear()
        self._retired.clear()

    def _take(self) -> _Socket:
        if len(self._sockets) < _SOCKETS:
            self._sockets.append(_Socket(self._host, self._port))
            return self._sockets[-1]
        place = random.randrange(_SOCKETS)  # noqa: S311 - the ports are what cannot be guessed
        if self._sockets[place].is_worn:
            fresh = _Socket(self._host, self._port)
            worn, self._sockets[place] = self._sockets[place], fresh
            worn.retire()
            self._retired = [each for each in (*self._retired, worn) if each.is_open]
        return self._sockets[place]


def _time_out(future: asyncio.Future[Answer]) -> None:
    if not future.done():
        future.set_exception(TimeoutError())
