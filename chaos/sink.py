"""The external host: an SMTP server whose behaviour depends on the recipient's local part.

``ok`` accepts the message; ``no`` answers 550; ``late`` answers 450 twice; ``deny`` answers 451
after the end of data once; ``before`` drops the connection at the end of data once, without storing
the message; ``after`` stores it and drops the connection once; ``slow`` answers the end of data
late, once after the connection was dropped.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from contextlib import suppress

from chaos.ledger import Copy, Ledger, number_in
from posthorn_local.embedded import free_port

_SLOW_SECONDS = 5.0
_LIMIT = 4 * 1024**2


class Sink:
    """Listens on ``port`` of 127.0.0.1 after ``start``, in a thread of its own."""

    def __init__(self, ledger: Ledger) -> None:
        self.port = free_port()
        self._ledger = ledger
        self._copies: list[Copy] = []
        self._tries: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()
        listening = asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=_LIMIT)
        asyncio.run_coroutine_threadsafe(listening, self._loop).result(10)

    def copies(self) -> list[Copy]:
        """Messages stored so far."""
        with self._lock:
            return list(self._copies)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            await self._talk(reader, writer)
        writer.transport.abort()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        recipients: list[str] = []
        writer.write(b"220 sink.test ESMTP\r\n")
        while line := await reader.readline():
            verb, _, rest = line.decode().strip().partition(" ")
            match verb.upper():
                case "EHLO":
                    writer.write(b"250-sink.test\r\n250-8BITMIME\r\n250 SIZE 10000000\r\n")
                case "RCPT":
                    writer.write(
                        self._recipient(rest.partition("<")[2].partition(">")[0], recipients)
                    )
                case "DATA" if recipients:
                    writer.write(b"354 go on\r\n")
                    octets = (await reader.readuntil(b"\r\n.\r\n"))[:-3].replace(
                        b"\r\n..", b"\r\n."
                    )
                    if not await self._end(octets, recipients, writer):
                        return
                    recipients = []
                case "DATA":
                    writer.write(b"554 nobody to take it\r\n")
                case "QUIT":
                    writer.write(b"221 bye\r\n")
                    await writer.drain()
                    return
                case verb:
                    if verb in ("MAIL", "RSET"):
                        recipients = []
                    writer.write(b"250 ok\r\n")
            await writer.drain()

    def _recipient(self, address: str, recipients: list[str]) -> bytes:
        kind = address.partition("-")[0]
        if kind == "no":
            return b"550 5.1.1 no such user here\r\n"
        self._tries[f"rcpt {address}"] += 1
        if kind == "late" and self._tries[f"rcpt {address}"] <= 2:
            return b"450 4.2.1 come back later\r\n"
        recipients.append(address)
        return b"250 ok\r\n"

    async def _end(
        self, octets: bytes, recipients: list[str], writer: asyncio.StreamWriter
    ) -> bool:
        """Answer the end of data; False when the connection is to be dropped."""
        kind = recipients[0].partition("-")[0]
        self._tries[recipients[0]] += 1
        first = self._tries[recipients[0]] == 1
        if kind == "deny" and first:
            writer.write(b"451 4.3.0 not now\r\n")
            return True
        if kind == "before" and first:
            return False
        if kind == "slow":
            await asyncio.sleep(_SLOW_SECONDS)
        cut = first and kind in ("after", "slow")
        self._keep(octets, recipients, answered=not cut and not writer.transport.is_closing())
        if cut:
            return False
        writer.write(b"250 kept\r\n")
        self._ledger.served("relay")
        return True

    def _keep(self, octets: bytes, recipients: list[str], *, answered: bool) -> None:
        number = number_in(octets) or 0
        entry = self._ledger.entries.get(number)
        whole = entry is not None and octets.endswith(entry.content)
        now = time.monotonic()
        with self._lock:
            self._copies += [Copy(number, address, now, answered, whole) for address in recipients]
