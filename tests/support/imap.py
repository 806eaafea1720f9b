"""IMAP in tests: a session without a socket (bytes in, bytes out), a client on a socket, and the
service on a real database, blobs and, where wanted, NATS.

``ImapEnv`` has the stores and accounts; ``env.client()`` is a connection without a socket whose
``transcript`` takes a dialogue as in the RFCs; ``imap_server`` listens on real sockets.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, Self

from argon2 import PasswordHasher

from posthorn.adapters.blobs.config import open_blobs
from posthorn.adapters.blobs.segments import SegmentReader
from posthorn.adapters.postgres.access.scram_store import PostgresScramStore
from posthorn.adapters.postgres.database import Database
from posthorn.adapters.postgres.directory.senders import PostgresSenders
from posthorn.adapters.postgres.imap.folders import PostgresFolders
from posthorn.adapters.postgres.imap.placing import PostgresPlacing
from posthorn.adapters.postgres.imap.view import PostgresMailboxView
from posthorn.adapters.postgres.queue.rate_limits import PostgresThrottle
from posthorn.ports.blobs import Blobs
from posthorn.ports.placing import NewMessage, Placed
from posthorn.runtime.listen import ConnectionLimiter
from posthorn.runtime.oidc.mailbox_tokens import MailTokens
from posthorn.runtime.passwords import Passwords
from posthorn.runtime.settings import BlobSettings
from posthorn.runtime.tls import Certificate
from posthorn.wire.imap.machine import Machine
from posthorn.wire.imap.states import Channel, State
from posthorn.wire.signals import Signal
from posthorn_imap.composition import build
from posthorn_imap.context import ImapContext
from posthorn_imap.flags import split_flags
from posthorn_imap.server import serving
from posthorn_imap.session import ImapSession
from posthorn_imap.settings import ImapSettings
from tests.support.polling import BUSY_SECONDS, until
from tests.support.seed import DatabaseSeed

PASSWORD = "correct horse"
ALICE = "alice@example.test"
SIMPLE = b"From: a@example.test\r\nSubject: one\r\n\r\nHello.\r\n"

_LITERAL = re.compile(rb"\{(\d+)\}\r\n\Z")


@cache
def shared_passwords() -> Passwords:
    """One for all tests: making it costs a hash."""
    return Passwords()


@cache
def password_hash() -> str:
    """The hash of PASSWORD, as cheap as can be."""
    return PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)


def imap_settings(**changes: Any) -> ImapSettings:
    """Settings for tests."""
    return ImapSettings.model_validate(
        {
            "database_url": "postgresql://not-used/",
            "nats_url": "nats://not-used",
            "blobs": "file:///not-used",
            "imap_host": "127.0.0.1",
            "imap_cleartext": "loopback",
            "imap_port": 0,
            "imaps_port": 0,
            "imap_failure_delay_seconds": 0.0,
            "grace_seconds": 3.0,
        }
        | changes
    )


class Recorder:
    """The sending side of a connection without a socket."""

    def __init__(self) -> None:
        self.octets = bytearray()
        self.is_closed = False
        self.is_cut = False
        self.has_place = True
        """Whether the account may have one more connection."""

    def send(self, octets: bytes) -> None:
        self.octets += octets

    async def room(self) -> None:
        if self.is_cut:
            raise ConnectionResetError
        await asyncio.sleep(0)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self.is_closed = True

    def cut(self) -> None:
        self.is_closed = self.is_cut = True

    async def start_tls(self) -> None:
        raise AssertionError("needs a socket")

    def start_deflate(self, octets: bytes) -> None:
        raise AssertionError("needs a socket")

    def claim(self, account: str, tenant: str) -> bool:
        return self.has_place

    def unclaim(self) -> None:
        pass


class Dialogue:
    """A connection without a socket: what is fed is answered to its end before ``feed`` returns."""

    def __init__(self, context: ImapContext, client: str = "192.0.2.7") -> None:
        channel = Channel(True, False, context.logins.mechanisms)
        self.machine = Machine(channel, append_limit=context.limits.append_bytes)
        self.out = Recorder()
        self.session = ImapSession(context, self.machine, self.out, client)
        self._tags = 0

    async def feed(self, octets: bytes) -> bytes:
        """Take bytes as the client sends them; return all that was sent since the last time."""
        self.machine.receive(octets)
        while not self.out.is_closed:
            event = self.machine.next_event()
            if isinstance(event, Signal):
                break
            await self.session.handle(event)
        return self.read()

    def read(self) -> bytes:
        """Return what was sent since the last time."""
        octets = bytes(self.out.octets)
        self.out.octets.clear()
        return octets

    async def told(self) -> bytes:
        """Wait until something is sent unasked, and return it."""
        await until(lambda: bool(self.out.octets))
        return self.read()

    async def ask(self, command: str | bytes) -> list[bytes]:
        """Send a command under a tag of its own; return its replies without line ends, the tagged
        one last and without its tag. A reply holds its literals."""
        self._tags += 1
        tag = b"t%d" % self._tags
        line = command.encode() if isinstance(command, str) else command
        found = split_replies(await self.feed(b"%s %s\r\n" % (tag, line)))
        assert found, f"no answer to {line!r}"
        assert found[-1].startswith((tag + b" ", b"* BYE ")), found
        found[-1] = found[-1].removeprefix(tag + b" ")
        return found

    async def ok(self, command: str | bytes) -> list[bytes]:
        """As ``ask``, of a command that succeeds; return the untagged replies."""
        *untagged, last = await self.ask(command)
        assert last.startswith(b"OK "), (command, last)
        return untagged

    async def no(self, command: str | bytes) -> bytes:
        """As ``ask``, of a command that fails; return the reply after NO or BAD."""
        last = (await self.ask(command))[-1]
        assert not last.startswith(b"OK "), (command, last)
        return last

    async def transcript(self, text: str) -> None:
        """Hold a dialogue: ``C: `` is sent, each ``S: `` is a regular expression that one reply must
        match as a whole; all replies must be expected. Lines that begin otherwise are comments."""
        expected: list[str] = []
        sent: list[bytes] = []

        async def settle() -> None:
            found = split_replies(b"".join(sent))
            sent.clear()
            for pattern, reply in zip(expected, found, strict=False):
                assert re.fullmatch(pattern.encode(), reply, re.DOTALL), (pattern, reply)
            assert len(found) == len(expected), (expected, found)
            expected.clear()

        for line in map(str.strip, text.splitlines()):
            if line.startswith("C: "):
                await settle()
                sent.append(await self.feed(line[3:].encode() + b"\r\n"))
            elif line.startswith("S: "):
                expected.append(line[3:])
        await settle()

    def leave(self) -> None:
        """End the connection."""
        self.session.leave()


def split_replies(octets: bytes) -> list[bytes]:
    """Return replies without their line ends; one with literals is one reply."""
    found: list[bytes] = []
    start = at = 0
    while at < len(octets):
        end = octets.index(b"\r\n", at) + 2
        if literal := _LITERAL.search(octets[at:end]):
            at = end + int(literal[1])
            continue
        found.append(octets[start : end - 2])
        start = at = end
    assert start == len(octets), octets[start:]
    return found


@dataclass
class ImapEnv:
    """Stores, accounts, and the context of sessions."""

    database: Database
    seed: DatabaseSeed
    blobs: Blobs
    bodies: SegmentReader
    context: ImapContext
    accounts: dict[str, int] = field(default_factory=dict)
    dialogues: list[Dialogue] = field(default_factory=list)

    async def account(self, address: str = ALICE, *, quota: int | None = None) -> int:
        """Make an account with PASSWORD, in a domain that is made with its first one; it is not
        prepared for IMAP yet."""
        domain = address.rpartition("@")[2]
        if not await self.seed.rows("SELECT FROM domains WHERE name = $1", domain):
            await self.seed.domain(domain)
        number = await self.seed.account(address, quota=quota)
        await self.seed.rows(
            "UPDATE accounts SET password_hash = $2 WHERE id = $1", number, password_hash()
        )
        self.accounts[address] = number
        return number

    def dialogue(self, **limits: Any) -> Dialogue:
        """A connection that is not logged in, its greeting not sent."""
        context = replace(self.context, limits=replace(self.context.limits, **limits))
        made = Dialogue(context)
        self.dialogues.append(made)
        return made

    async def client(self, select: str | None = None, *, address: str = ALICE) -> Dialogue:
        """A connection that is logged in, without a password; the account is made if it is not
        there. ``select``: a mailbox to select."""
        if address not in self.accounts:
            await self.account(address)
        folders = self.context.backend.folders
        account = await folders.login(address)
        assert account is not None
        if not account.prepared:
            await folders.prepare(account.account)
            account = await folders.login(address)
        made = self.dialogue()
        made.session.account = account
        made.machine.state = State.AUTHENTICATED
        if select is not None:
            await made.ok(f"SELECT {select}")
        return made

    async def place(
        self,
        *contents: bytes,
        mailbox: str = "INBOX",
        address: str = ALICE,
        flags: Sequence[str] = (),
        date: datetime | None = None,
    ) -> Placed:
        """Place messages in a mailbox, as another process does: no connection is told."""
        bits, keywords = split_flags(flags)
        placed = await self.context.backend.placing.place(
            self.accounts[address],
            mailbox,
            [NewMessage(content, None, bits, tuple(keywords), date) for content in contents],
        )
        assert placed is not None
        return placed


@asynccontextmanager
async def imap_env(
    database: Database,
    root: Path,
    *,
    blobs: str = "",
    tokens: MailTokens | None = None,
    **changes: Any,
) -> AsyncIterator[ImapEnv]:
    """The service's context on a database and blobs in a folder, or in the store of the URL
    ``blobs``; ``changes`` are settings."""
    settings = imap_settings(**changes)
    blob_settings = BlobSettings.model_validate({"blobs": blobs or f"file://{root}"})
    async with open_blobs(blob_settings) as opened:
        bodies = SegmentReader(opened, cache_octets=settings.imap_cache_bytes)
        context = build(
            settings,
            folders=PostgresFolders(database),
            view=PostgresMailboxView(database),
            placing=PostgresPlacing(database, opened),
            bodies=bodies,
            senders=PostgresSenders(database),
            throttle=PostgresThrottle(database),
            passwords=shared_passwords(),
            tokens=tokens,
            scram=PostgresScramStore(database),
        )
        env = ImapEnv(database, DatabaseSeed(database), opened, bodies, context)
        try:
            yield env
        finally:
            for each in env.dialogues:
                each.leave()
            await context.watching.close()
            await bodies.close()


@dataclass
class ImapServer:
    """The service on real sockets."""

    port: int
    tls_port: int | None
    limiter: ConnectionLimiter
    context: ImapContext
    proxy_port: int | None = None

    async def client(self) -> ImapClient:
        """A connection whose greeting has been read."""
        made = await ImapClient.connect(self.port)
        assert (await made.line()).startswith(b"* OK [CAPABILITY ")
        return made

    async def login(self, address: str = ALICE) -> ImapClient:
        """A connection that is logged in."""
        made = await self.client()
        replies = await made.ask(f'LOGIN {address} "{PASSWORD}"')
        assert replies[-1].startswith(b"OK "), replies
        return made


@asynccontextmanager
async def imap_server(
    env: ImapEnv, tls_dir: Path | None = None, **changes: Any
) -> AsyncGenerator[ImapServer]:
    """Serve ``env`` on sockets; ``changes`` are settings."""
    settings = imap_settings(tls_dir=tls_dir, **changes)
    backend = env.context.backend
    context = build(
        settings,
        folders=backend.folders,
        view=backend.view,
        placing=backend.placing,
        bodies=env.bodies,
        senders=PostgresSenders(env.database),
        throttle=PostgresThrottle(env.database),
        passwords=shared_passwords(),
    )
    tls = Certificate(tls_dir).context if tls_dir else None
    try:
        async with serving(settings, context, tls) as where:
            yield ImapServer(where.port, where.tls_port, where.limiter, context, where.proxy_port)
    finally:
        await context.watching.close()


class ImapClient:
    """Lines out, bytes in; every wait has an end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer
        self._tags = 0

    @classmethod
    async def connect(cls, port: int, **options: Any) -> Self:
        return cls(*await asyncio.open_connection("127.0.0.1", port, limit=1 << 22, **options))

    def send(self, octets: bytes) -> None:
        """Write bytes as they are."""
        self.writer.write(octets)

    async def line(self) -> bytes:
        """One reply without its line end, literals included; empty at the end of the connection."""
        reply = b""
        async with asyncio.timeout(BUSY_SECONDS):
            while True:
                octets = await self._reader.readline()
                reply += octets
                if literal := _LITERAL.search(octets):
                    reply += await self._reader.readexactly(int(literal[1]))
                    continue
                assert not octets or octets.endswith(b"\r\n"), octets
                return reply.removesuffix(b"\r\n")

    async def ask(self, command: str | bytes) -> list[bytes]:
        """Send a command under a tag of its own; return its replies, the tagged one last and
        without its tag."""
        self._tags += 1
        tag = b"t%d" % self._tags
        line = command.encode() if isinstance(command, str) else command
        self.send(b"%s %s\r\n" % (tag, line))
        return await self.until(tag)

    async def until(self, tag: bytes) -> list[bytes]:
        """Return the replies up to the tagged one, which is without its tag."""
        found: list[bytes] = []
        while True:
            reply = await self.line()
            assert reply, f"the connection ended: {found}"
            if reply.startswith(tag + b" "):
                return [*found, reply.removeprefix(tag + b" ")]
            found.append(reply)

    async def read(self) -> bytes:
        """Some bytes as they come; empty at the end of the connection."""
        return await self._reader.read(65536)

    async def head(self) -> bytes:
        """The next line with its end, without a literal that it announces."""
        async with asyncio.timeout(BUSY_SECONDS):
            return await self._reader.readline()

    async def exactly(self, count: int) -> bytes:
        """So many bytes."""
        async with asyncio.timeout(60):
            return await self._reader.readexactly(count)

    async def rest(self) -> bytes:
        """All until the connection ends."""
        async with asyncio.timeout(BUSY_SECONDS):
            try:
                return await self._reader.read()
            except ConnectionResetError:
                return b""

    async def secure(self, context: ssl.SSLContext) -> None:
        """Shake hands on the open connection."""
        await self.writer.start_tls(context, server_hostname="localhost")

    def abort(self) -> None:
        """Drop the connection without a word."""
        self.writer.transport.abort()

    async def close(self) -> None:
        self.writer.close()
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(5):
                await self.writer.wait_closed()
