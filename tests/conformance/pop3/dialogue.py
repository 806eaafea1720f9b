"""The POP3 service over a House, in this process and on real sockets, and a client that hides
nothing."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self

from posthorn.adapters.blobs.segments import SegmentReader
from posthorn.ports.sending import Senders, Throttle
from posthorn.runtime.listen import ConnectionLimiter
from posthorn.runtime.oidc.mailbox_tokens import MailTokens
from posthorn.runtime.passwords import Passwords
from posthorn.runtime.read_events import ReadEvents
from posthorn.runtime.tls import Certificate
from posthorn_pop3.composition import build
from posthorn_pop3.metrics import READS_DROPPED
from posthorn_pop3.server import serving
from posthorn_pop3.service import MaildropService
from posthorn_pop3.settings import Pop3Settings
from tests.conformance.twins import PASSWORD, MailStore, NoAppPasswords, Patience
from tests.support.polling import BUSY_SECONDS

ADDRESS = "alice@example.test"


@cache
def shared_passwords() -> Passwords:
    """One for all tests: making it costs a hash."""
    return Passwords()


@dataclass
class Server:
    """The running service."""

    port: int
    tls_port: int | None
    service: MaildropService
    bodies: SegmentReader
    limiter: ConnectionLimiter
    settings: Pop3Settings
    proxy_port: int | None = None
    proxy_tls_port: int | None = None

    async def client(self) -> Client:
        """A connection whose greeting has been read."""
        made = await Client.connect(self.port)
        assert (await made.line()).startswith(b"+OK ")
        return made

    async def login(self, address: str = ADDRESS) -> Client:
        """A connection with an open maildrop."""
        made = await self.client()
        assert (await made.ask(b"USER " + address.encode())).startswith(b"+OK")
        reply = await made.ask(b"PASS " + PASSWORD.encode())
        assert reply.startswith(b"+OK"), reply
        return made


@asynccontextmanager
async def pop3_server(
    house: MailStore,
    *,
    passwords: Passwords | None = None,
    senders: Senders | None = None,
    throttle: Throttle | None = None,
    reads: ReadEvents | None = None,
    tls_dir: Path | None = None,
    bodies: dict[str, Any] | None = None,
    tokens: MailTokens | None = None,
    **changes: Any,
) -> AsyncGenerator[Server]:
    """Run the service; ``changes`` are settings."""
    settings = Pop3Settings.model_validate(
        {
            "database_url": "postgresql://not-used/",
            "nats_url": "nats://not-used",
            "blobs": "file:///not-used",
            "pop3_host": "127.0.0.1",
            "pop3_cleartext": "loopback",
            "pop3_port": 0,
            "pop3s_port": 0,
            "pop3_failure_delay_seconds": 0.0,
            "grace_seconds": 3.0,
            "tls_dir": tls_dir,
        }
        | changes
    )
    reader = SegmentReader(house.blobs, **(bodies or {}))
    service = build(
        settings,
        maildrops=house.maildrops,
        bodies=reader,
        senders=senders or NoAppPasswords(),
        throttle=throttle or Patience(),
        passwords=passwords or shared_passwords(),
        read_events=reads or ReadEvents(READS_DROPPED.inc),
        tokens=tokens,
    )
    tls = Certificate(tls_dir).context if tls_dir else None
    try:
        async with serving(settings, service, tls) as where:
            proxied = where.proxy_port, where.proxy_tls_port
            yield Server(
                where.port, where.tls_port, service, reader, where.limiter, settings, *proxied
            )
    finally:
        await reader.close()


class Client:
    """Lines out, octets in; every wait has an end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def connect(cls, port: int, **options: Any) -> Self:
        return cls(*await asyncio.open_connection("127.0.0.1", port, limit=1 << 22, **options))

    def send(self, octets: bytes) -> None:
        """Write octets as they are."""
        self._writer.write(octets)

    async def line(self) -> bytes:
        """One line without its end; empty at the end of the connection."""
        async with asyncio.timeout(BUSY_SECONDS):
            octets = await self._reader.readline()
        assert octets.endswith(b"\r\n") or not octets, octets
        return octets[:-2]

    async def ask(self, command: bytes) -> bytes:
        """A command and the first line of its answer."""
        self.send(command + b"\r\n")
        return await self.line()

    async def body(self) -> bytes:
        """The rest of a multi-line answer as it comes, final dot line included."""
        octets = bytearray()
        async with asyncio.timeout(BUSY_SECONDS):
            while True:
                line = await self._reader.readuntil(b"\n")
                octets += line
                if line == b".\r\n" and (len(octets) == 3 or octets.endswith(b"\r\n.\r\n")):
                    return bytes(octets)

    async def fetch(self, command: bytes) -> bytes:
        """A multi-line answer, unstuffed, without the final dot line."""
        first = await self.ask(command)
        assert first.startswith(b"+OK"), first
        octets = (b"\r\n" + await self.body())[:-3]
        return octets.replace(b"\r\n..", b"\r\n.")[2:]

    async def lines(self, command: bytes) -> list[bytes]:
        """The lines of a multi-line answer."""
        return (await self.fetch(command)).split(b"\r\n")[:-1]

    async def rest(self) -> bytes:
        """All until the connection ends."""
        async with asyncio.timeout(BUSY_SECONDS):
            try:
                return await self._reader.read()
            except ConnectionResetError:
                return b""

    async def quit(self) -> None:
        """End the session. Its maildrop is free when the connection has ended, not before."""
        assert (await self.ask(b"QUIT")).startswith(b"+OK")
        assert await self.rest() == b""

    async def secure(self, context: ssl.SSLContext) -> None:
        """Shake hands on the open connection."""
        await self._writer.start_tls(context, server_hostname="localhost")

    def half_close(self) -> None:
        """Say that nothing more will be sent."""
        self._writer.write_eof()

    def abort(self) -> None:
        """Drop the connection without a word."""
        self._writer.transport.abort()

    def stop_reading(self) -> None:
        """Take nothing more."""
        self._writer.transport.pause_reading()  # type: ignore[attr-defined]

    def resume_reading(self) -> None:
        """Take what comes again."""
        self._writer.transport.resume_reading()  # type: ignore[attr-defined]

    async def close(self) -> None:
        self._writer.close()
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(5):
                await self._writer.wait_closed()
