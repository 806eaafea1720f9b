"""The SMTP service on a loopback socket, with a directory, a stream and a store that tests can make
fail; and transcripts.

A transcript is played line by line. ``C:`` lines that stand together go out in one segment, each
with CRLF; ``R:`` sends octets written as a Python literal; ``S:`` is a line that must come, where
``…`` stands for anything; ``S: <end>`` is the connection's end.
"""

from __future__ import annotations

import ast
import asyncio
import hashlib
import math
import re
import ssl
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO

from posthorn.model.directory_entry import RecipientStatus
from posthorn.model.envelope import Body, Envelope
from posthorn.model.filter_policy import DEFAULT_POLICY, FilterPolicy
from posthorn.model.verdict import Verdict
from posthorn.ports.scan import MessageQuestion, Report, Scanner, SenderFacts, SenderQuestion
from posthorn.wire.address import Address
from posthorn_smtp_in.composition import Backends, build_mx
from posthorn_smtp_in.server import Listening, serving
from posthorn_smtp_in.settings import SmtpSettings
from tests.conformance.twins import MemoryBlobs
from tests.support.events import RecordedEvents
from tests.support.polling import BUSY_SECONDS

PATIENCE = BUSY_SECONDS
"""Seconds within which an answer must come."""
MESSAGE = b"From: a@example.org\r\nSubject: A message\r\n\r\nDear reader\r\n"
EHLO = b"EHLO client.example.org\r\n"
BALANCED: dict[str, Any] = {"smtp_proxy_port": 0, "proxy_networks": "127.0.0.0/8"}
"""Settings for ``stranger``."""
TO_ALICE = b"MAIL FROM:<a@example.org>\r\nRCPT TO:<alice@example.test>\r\n"


class ScriptedDirectory:
    """Serves example.test: ``standings`` by address, everybody else there unknown."""

    def __init__(self) -> None:
        self.standings = {
            "alice@example.test": RecipientStatus.DELIVERABLE,
            "bob@example.test": RecipientStatus.DELIVERABLE,
        }
        self.fault: Exception | None = None
        self.asked: list[str] = []
        self.everybody = False
        self.rooms: dict[str, int] = {}
        self.policies: dict[str, FilterPolicy] = {}
        self.oldest: dict[str, Address] = {}
        """The oldest account of each domain."""

    async def standing(self, address: Address) -> RecipientStatus:
        self.asked.append(str(address))
        if self.fault:
            raise self.fault
        if self.everybody:
            return RecipientStatus.DELIVERABLE
        other = (
            RecipientStatus.UNKNOWN if address.domain == "example.test" else RecipientStatus.FOREIGN
        )
        return self.standings.get(str(address), other)

    async def room(self, address: Address) -> int | None:
        return self.rooms.get(str(address))

    async def policy(self, address: Address) -> FilterPolicy:
        if self.fault:
            raise self.fault
        return self.policies.get(str(address), DEFAULT_POLICY)

    async def postmaster(self, domain: str) -> Address | None:
        if self.fault:
            raise self.fault
        return self.oldest.get(domain)

    async def probe(self) -> None:
        """Always well."""


class ScriptedIngest:
    """Keeps what it is given, after raising ``faults`` one by one, when ``open`` is set."""

    def __init__(self) -> None:
        self.kept: list[tuple[Envelope, bytes | None]] = []
        self.unscanned: list[Envelope] = []
        """Those of them that went into the lane of messages to be scanned."""
        self.tried: list[Envelope] = []
        self.faults: list[Exception] = []
        self.open = asyncio.Event()
        self.open.set()

    async def accept(
        self, envelope: Envelope, body: bytes | None, *, unscanned: bool = False
    ) -> None:
        self.tried.append(envelope)
        await self.open.wait()
        if self.faults:
            raise self.faults.pop(0)
        self.kept.append((envelope, body))
        if unscanned:
            self.unscanned.append(envelope)

    async def probe(self) -> None:
        """Always well."""


class ScriptedBlobs(MemoryBlobs):
    """Keeps files, or raises ``fault``. ``puts`` lists the keys in order."""

    def __init__(self) -> None:
        super().__init__()
        self.puts: list[str] = []

    async def put_file(self, key: str, file: Any, size: int) -> None:
        if self.fault:
            raise self.fault
        self.objects[key] = await asyncio.to_thread(_read, file, size)
        self.puts.append(key)


class ScriptedScanner:
    """Answers with ``facts`` and ``verdict``, or raises ``fault``, when ``open`` is set."""

    def __init__(self) -> None:
        self.verdict = Verdict(1.0)
        self.facts = SenderFacts()
        self.greylisted: dict[str, int] = {}
        """Seconds by recipient for which a client is asked to wait."""
        self.fault: Exception | None = None
        self.open = asyncio.Event()
        self.open.set()
        self.senders: list[SenderQuestion] = []
        self.messages: list[MessageQuestion] = []
        self.reports: list[tuple[str, str]] = []
        self.cancelled = 0

    async def sender(self, question: SenderQuestion) -> SenderFacts:
        self.senders.append(question)
        await self._wait()
        seconds = self.greylisted.get(question.recipient, 0) if question.greylist else 0
        return replace(self.facts, greylist_seconds=seconds)

    async def message(self, question: MessageQuestion) -> Verdict:
        self.messages.append(question)
        await self._wait()
        return self.verdict

    def report(self, report: Report) -> None:
        self.reports.append((report.client, report.kind))

    async def _wait(self) -> None:
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.fault:
            raise self.fault


class ScriptedCorrespondents:
    """``protected`` holds pairs of author and recipient; or raises ``fault``."""

    def __init__(self) -> None:
        self.protected: set[tuple[str, str]] = set()
        self.fault: Exception | None = None
        self.asked: list[tuple[str, tuple[str, ...]]] = []

    async def is_protected(self, author: str, recipients: Collection[str]) -> bool:
        self.asked.append((author, tuple(recipients)))
        if self.fault:
            raise self.fault
        return any((author, recipient) in self.protected for recipient in recipients)


class ScriptedBans:
    """``banned`` holds addresses that are banned for good."""

    def __init__(self) -> None:
        self.banned: set[str] = set()

    def until(self, client: str) -> float:
        return math.inf if client in self.banned else 0.0


def _read(file: BinaryIO, size: int) -> bytes:
    octets = b"".join(iter(lambda: file.read(1 << 20), b""))
    assert len(octets) == size
    return octets


class SmtpDialogue:
    """A client's end of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, octets: bytes | memoryview) -> None:
        self.writer.write(octets)
        await asyncio.wait_for(self.writer.drain(), PATIENCE)

    async def line(self) -> str:
        """The next line without its end; empty at the end of the connection."""
        octets = await asyncio.wait_for(self.reader.readline(), PATIENCE)
        assert not octets or octets.endswith(b"\r\n"), octets
        return octets[:-2].decode("ascii")

    async def reply(self) -> list[str]:
        """The lines of the next reply."""
        lines = [await self.line()]
        while lines[-1][3:4] == "-":
            lines.append(await self.line())
        return lines

    async def code(self) -> str:
        """Code and enhanced code of the next reply, such as ``250 2.1.0``."""
        words = (await self.reply())[-1].split(" ")
        return " ".join(words[:2]) if re.fullmatch(r"\d\.\d+\.\d+", words[1]) else words[0]

    async def say(self, octets: bytes) -> str:
        """Send octets and give the code of the one reply."""
        await self.send(octets)
        return await self.code()

    async def ended(self) -> bool:
        """Whether the server has closed, with nothing more said."""
        try:
            return await asyncio.wait_for(self.reader.read(), PATIENCE) == b""
        except ConnectionError:
            return True

    async def hello(self) -> SmtpDialogue:
        """Greeting and EHLO."""
        assert await self.code() == "220"
        assert await self.say(EHLO) == "250"
        return self

    async def begin(self) -> SmtpDialogue:
        """Greeting, EHLO, MAIL and RCPT."""
        await self.hello()
        await self.send(TO_ALICE)
        assert [await self.code(), await self.code()] == ["250 2.1.0", "250 2.1.5"]
        return self

    async def data(self, octets: bytes) -> str:
        """DATA and what follows; gives the final code."""
        assert await self.say(b"DATA\r\n") == "354"
        return await self.say(octets)

    async def play(self, transcript: str) -> None:
        """Play a transcript."""
        pending = b""
        for number, raw in enumerate(transcript.strip().splitlines(), 1):
            mark, _, text = raw.strip().partition(":")
            text = text.removeprefix(" ")
            match mark:
                case "C":
                    pending += text.encode() + b"\r\n"
                case "R":
                    pending += ast.literal_eval(f'b"{text}"')
                case "S":
                    if pending:
                        await self.send(pending)
                        pending = b""
                    if text == "<end>":
                        assert await self.ended(), f"line {number}: the connection goes on"
                        continue
                    said = await self.line()
                    pattern = ".*".join(re.escape(part) for part in text.split("…"))
                    assert re.fullmatch(pattern, said), (
                        f"line {number}: expected {text!r}, came {said!r}"
                    )
                case _:
                    raise AssertionError(f"line {number} is no line of a transcript: {raw!r}")
        if pending:
            await self.send(pending)

    async def start_tls(self, context: ssl.SSLContext) -> None:
        """The client's half of the handshake."""
        await asyncio.wait_for(
            self.writer.start_tls(context, server_hostname="localhost"), PATIENCE
        )

    async def close(self) -> None:
        self.writer.close()
        with suppress(OSError):
            await asyncio.wait_for(self.writer.wait_closed(), PATIENCE)


@dataclass
class SmtpEnv:
    """The service and what stands behind it."""

    directory: ScriptedDirectory = field(default_factory=ScriptedDirectory)
    ingest: ScriptedIngest = field(default_factory=ScriptedIngest)
    blobs: Any = field(default_factory=ScriptedBlobs)
    scanner: ScriptedScanner = field(default_factory=ScriptedScanner)
    """Asked if the setting ``smtp_scan`` is on."""
    bans: ScriptedBans = field(default_factory=ScriptedBans)
    correspondents: ScriptedCorrespondents = field(default_factory=ScriptedCorrespondents)
    events: RecordedEvents = field(default_factory=RecordedEvents)
    listening: Listening | None = None
    talks: list[SmtpDialogue] = field(default_factory=list)

    @property
    def port(self) -> int:
        assert self.listening is not None
        return self.listening.port

    async def talk(self) -> SmtpDialogue:
        """A new connection."""
        talk = SmtpDialogue(*await asyncio.open_connection("127.0.0.1", self.port))
        self.talks.append(talk)
        return talk

    async def stranger(self, address: str = "192.0.2.7") -> SmtpDialogue:
        """A new connection from a public address, by the port for load balancers (BALANCED)."""
        assert self.listening is not None and self.listening.proxy_port is not None
        version, here = (6, "2001:db8::1") if ":" in address else (4, "198.51.100.1")
        talk = SmtpDialogue(*await asyncio.open_connection("127.0.0.1", self.listening.proxy_port))
        self.talks.append(talk)
        await talk.send(f"PROXY TCP{version} {address} {here} 4711 25\r\n".encode())
        return talk

    async def play(self, transcript: str) -> None:
        """Play a transcript on a connection of its own."""
        await (await self.talk()).play(transcript)

    def only(self) -> tuple[Envelope, bytes]:
        """The one message that was kept, with its octets, whose facts are true."""
        assert len(self.ingest.kept) == 1, self.ingest.kept
        return self.kept()[0]

    def kept(self) -> list[tuple[Envelope, bytes]]:
        """All messages that were kept, with their octets."""
        messages = []
        for envelope, body in self.ingest.kept:
            octets = body if body is not None else self.blobs.objects[envelope.blob]
            check_facts(envelope.body, octets)
            messages.append((envelope, octets))
        return messages

    async def nothing_is_left(self) -> None:
        """Every session has left, and no octet of a message is held."""
        assert self.listening is not None
        room = self.listening.spool_limits
        async with asyncio.timeout(PATIENCE):
            while len(self.listening.limiter) or room.memory.used or room.spool.used:
                await asyncio.sleep(0.005)


def check_facts(facts: Body, octets: bytes) -> None:
    """The facts are what anybody counts who has the octets."""
    assert facts.size == len(octets)
    assert facts.sha256 == hashlib.sha256(octets).digest()
    assert facts.has_dot_lines == (octets.startswith(b".") or b"\r\n." in octets)
    assert octets[: facts.return_path_octets] == octets[: octets.index(b"\r\n") + 2]
    assert octets.startswith(b"Return-Path: <")
    assert octets.endswith(b"\r\n")
    assert octets.count(b"\n") == octets.count(b"\r") == octets.count(b"\r\n")


def settings_of(**changes: Any) -> SmtpSettings:
    """Settings for a env."""
    values = {
        "smtp_host": "127.0.0.1",
        "smtp_port": 0,
        "smtp_hostname": "mx.example.test",
        "smtp_greeting_delay_seconds": 0,
        "smtp_tarpit_seconds": 0,
    }
    return SmtpSettings.model_validate(values | changes)


@asynccontextmanager
async def smtp_env(
    tls: ssl.SSLContext | None = None,
    *,
    grace: float = 5.0,
    srs_keys: Sequence[bytes] = (),
    scanner: Scanner | None = None,
    **changes: Any,
) -> AsyncIterator[SmtpEnv]:
    """Serve with these settings; at the end every session must have gone and nothing be left of
    any."""
    env, settings = SmtpEnv(), settings_of(**changes)
    backends = Backends(
        env.directory,
        env.ingest,
        env.blobs,
        env.events,
        srs_keys=srs_keys,
        scanner=scanner or env.scanner if settings.smtp_scan else None,
        bans=env.bans,
        correspondents=env.correspondents,
    )
    async with serving(build_mx(settings, backends, tls), grace=grace) as env.listening:
        try:
            yield env
        finally:
            for talk in env.talks:
                await talk.close()
        await env.nothing_is_left()


def after_trace(octets: bytes) -> bytes:
    """What is stored after the trace fields."""
    found = re.match(
        rb"Return-Path: <[^\r\n]*>\r\nReceived: (?:[^\r\n]*\r\n[\t ])*[^\r\n]*\r\n", octets
    )
    assert found, octets[:300]
    return octets[found.end() :]
