"""ClamAV's clamd, asked with INSTREAM (clamd(8)).

Rules:

- The answer is read while the message is written: at its StreamMaxLength clamd answers and closes
  although the client has not ended; that is "too large", not a broken connection.
- Sockets are used directly: a stream that fails to write drops what has been received.
- Names of signatures come from files of others: only harmless characters are kept.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from prometheus_client import Gauge

from posthorn.ports.scan import MessageQuestion
from posthorn_scan.engines.engine import EngineDown, EngineTooLarge, Findings

_age = Gauge("posthorn_scan_clamav_signatures_age_seconds", "Age of ClamAV's signatures")

_CHUNK = 256 * 1024
_MOST_ANSWER = 16 * 1024
_MOST_NAMES = 5
_UNSAFE = re.compile(r"[^A-Za-z0-9._:/()+-]+")


class ClamAv:
    """clamd at ``host:port`` or ``unix:/path``."""

    name = "clamav"

    def __init__(self, address: str) -> None:
        self._address = address

    async def scan(
        self, content: bytes, question: MessageQuestion, *, client_name: str
    ) -> Findings:
        """Judge a message, see EngineClient."""
        return read_answer(await self._converse(b"zINSTREAM\0", content))

    async def probe(self) -> str:
        """Return its version and that of its signatures. Raises EngineDown."""
        answer = await self._converse(b"zVERSION\0", None)
        text = answer.rstrip(b"\0\n").decode("ascii", "replace")
        if not text.startswith("ClamAV"):
            raise EngineDown("it gave an invalid answer")
        age = signatures_age(text, datetime.now(UTC))
        if age is not None:
            _age.set(age)
        return _UNSAFE.sub(" ", text)[:100]

    async def _converse(self, command: bytes, content: bytes | None) -> bytes:
        try:
            with await self._connect() as connection:
                reading = asyncio.create_task(_read_all(connection))
                writing = asyncio.create_task(_write_all(connection, command, content))
                try:
                    await asyncio.wait({reading, writing}, return_when=asyncio.FIRST_COMPLETED)
                    # whoever fails to write reads why
                    return await reading
                finally:
                    for task in (reading, writing):
                        task.cancel()
                    await asyncio.gather(reading, writing, return_exceptions=True)
        except OSError as error:
            raise EngineDown(f"{type(error).__name__}: {error.strerror or error}") from error

    async def _connect(self) -> socket.socket:
        loop = asyncio.get_running_loop()
        candidates: list[tuple[int, Any]]
        if self._address.startswith("unix:"):
            candidates = [(socket.AF_UNIX, self._address.removeprefix("unix:"))]
        else:
            host, _, port = self._address.rpartition(":")
            found = await loop.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
            candidates = [(each[0], each[4]) for each in found]
        fault = OSError("it has no address")
        for family, address in candidates:
            made = socket.socket(family, socket.SOCK_STREAM)
            made.setblocking(False)
            try:
                await loop.sock_connect(made, address)
                return made
            except OSError as error:
                made.close()
                fault = error
            except BaseException:
                made.close()
                raise
        raise fault


async def _write_all(connection: socket.socket, command: bytes, content: bytes | None) -> None:
    loop = asyncio.get_running_loop()
    with suppress(OSError):  # it has answered and closed
        await loop.sock_sendall(connection, command)
        if content is None:
            return
        view = memoryview(content)
        for at in range(0, len(content), _CHUNK):
            piece = view[at : at + _CHUNK]
            await loop.sock_sendall(connection, struct.pack(">I", len(piece)))
            await loop.sock_sendall(connection, piece)
        await loop.sock_sendall(connection, struct.pack(">I", 0))


async def _read_all(connection: socket.socket) -> bytes:
    loop = asyncio.get_running_loop()
    received = bytearray()
    while len(received) < _MOST_ANSWER:
        try:
            piece = await loop.sock_recv(connection, 4096)
        except ConnectionError:
            break  # it closed with unread bytes of ours; what it said before counts
        if not piece:
            break
        received += piece
        if received.endswith(b"\0"):
            break
    if not received:
        raise EngineDown("it closed without an answer")
    return bytes(received)


def read_answer(answer: bytes) -> Findings:
    """Return what an answer says. Raises EngineTooLarge and EngineDown."""
    names: list[str] = []
    is_clean = False
    for line in re.split(r"[\0\n]+", answer.decode("utf-8", "replace")):
        text = line.strip()
        if not text:
            continue
        if text.endswith(" FOUND"):
            name = _UNSAFE.sub("", text.removesuffix(" FOUND").rpartition(": ")[2])[:80]
            if (name or "unknown") not in names:
                names.append(name or "unknown")
        elif "size limit exceeded" in text:
            raise EngineTooLarge("over clamd's StreamMaxLength")
        elif text == "stream: OK":
            is_clean = True
        else:
            raise EngineDown(_UNSAFE.sub(" ", text)[:100])
    if names:
        return Findings(virus=", ".join(names[:_MOST_NAMES]))
    if not is_clean:
        raise EngineDown("it gave an empty answer")
    return Findings()


def signatures_age(version: str, now: datetime) -> float | None:
    """Return the age of the signatures in seconds, by an answer to VERSION such as ``ClamAV
    1.4.3/27500/Mon Jan  5 09:30:00 2026``; None without them."""
    parts = version.strip().split("/")
    if len(parts) < 3:
        return None
    try:
        text = f"{' '.join(parts[2].split())} +0000"
        made = datetime.strptime(text, "%a %b %d %H:%M:%S %Y %z")
    except ValueError:
        return None
    return max(0.0, (now - made).total_seconds())
