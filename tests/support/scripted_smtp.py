"""An SMTP server that does what a table says, right or wrong; and an authority that certifies
it."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import NameOID

FULL = (
    b"250-scripted.test\r\n250-PIPELINING\r\n250-SIZE 1000000\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-DSN\r\n"
    b"250-ENHANCEDSTATUSCODES\r\n250 CHUNKING\r\n"
)
PLAIN = b"250 scripted.test\r\n"


@dataclass(frozen=True, slots=True)
class Do:
    """One step: what is said, and what comes of it."""

    say: bytes = b""
    by_octet: bool = False
    """Each octet in a write of its own."""
    then: str = ""
    """``close``, ``reset`` or ``stall``."""


CLOSE, RESET, STALL = Do(then="close"), Do(then="reset"), Do(then="stall")

type Step = bytes | Do | Sequence[bytes | Do]
"""Several are done in turn, the last one again and again."""

USUAL: Mapping[str, Step] = {
    "GREETING": b"220 scripted.test ESMTP\r\n",
    "EHLO": FULL,
    "HELO": PLAIN,
    "STARTTLS": b"220 2.0.0 go on\r\n",
    "AUTH": b"235 2.7.0 welcome\r\n",
    "MAIL": b"250 2.1.0 ok\r\n",
    "RCPT": b"250 2.1.5 ok\r\n",
    "DATA": b"354 go on\r\n",
    "BDAT": b"250 2.0.0 chunk taken\r\n",
    "END": b"250 2.0.0 taken as 1\r\n",
    "RSET": b"250 2.0.0 forgotten\r\n",
    "QUIT": Do(b"221 2.0.0 bye\r\n", then="close"),
}


@dataclass(slots=True)
class ScriptedSmtp:
    """Listens on ``address``, 127.0.0.1 unless another one is given, while entered."""

    script: Mapping[str, Step] = field(default_factory=dict)
    context: ssl.SSLContext | None = None
    implicit: bool = False
    """TLS from the first octet."""
    commands: list[str] = field(default_factory=list)
    """As they came, each with its verb; content lines are no commands."""
    contents: list[bytes] = field(default_factory=list)
    """Of DATA with its stuffing and without the last dot; of BDAT chunk by chunk."""
    connections: int = 0
    port: int = 0
    """0: any free one."""
    address: str = "127.0.0.1"
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _turns: dict[str, int] = field(default_factory=dict)

    async def __aenter__(self) -> Self:
        context = self.context if self.implicit else None
        self._server = await asyncio.start_server(
            self._serve, self.address, self.port, ssl=context, limit=2**20
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def verbs(self) -> list[str]:
        return [command.split()[0] for command in self.commands]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            await self._talk(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            self._tasks.discard(task)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said = await self._do("GREETING", writer)
        while said is not None and (line := await reader.readline()):
            command = line.decode().rstrip("\r\n")
            self.commands.append(command)
            words = command.split()
            verb = words[0].upper() if words else ""
            if verb == "BDAT":
                self.contents.append(await reader.readexactly(int(words[1])))
                said = await self._do("END" if len(words) == 3 else "BDAT", writer)
                continue
            said = await self._do(verb, writer)
            if said is None:
                return
            if verb == "STARTTLS" and said.startswith(b"220"):
                assert self.context is not None
                await writer.start_tls(self.context)
            elif verb == "DATA" and said.startswith(b"354"):
                lines: list[bytes] = []
                while (line := await reader.readline()) != b".\r\n":
                    if not line:
                        return
                    lines.append(line)
                self.contents.append(b"".join(lines))
                said = await self._do("END", writer)
            elif verb == "AUTH" and said.startswith(b"334"):
                while said is not None and said.startswith(b"334"):
                    self.commands.append("+ " + (await reader.readline()).decode().strip())
                    said = await self._do("AUTH", writer)

    async def _do(self, verb: str, writer: asyncio.StreamWriter) -> bytes | None:
        """Return what was said, or None when the connection has ended."""
        step = self.script.get(verb, USUAL.get(verb, b"500 5.5.2 unknown\r\n"))
        if not isinstance(step, bytes | Do):
            turn = self._turns.get(verb, 0)
            self._turns[verb] = turn + 1
            step = step[min(turn, len(step) - 1)]
        if isinstance(step, bytes):
            step = Do(step)
        for piece in [bytes([octet]) for octet in step.say] if step.by_octet else [step.say]:
            writer.write(piece)
            await writer.drain()
            if step.by_octet:
                await asyncio.sleep(0)
        match step.then:
            case "stall":
                await asyncio.Event().wait()
            case "close":
                writer.close()
                return None
            case "reset":
                writer.transport.abort()
                return None
        return step.say


@dataclass(slots=True)
class Authority:
    """A throwaway certificate authority; files go to ``directory``."""

    directory: Path
    name: str = "Throwaway CA"
    key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )
    certificate: x509.Certificate = field(init=False)

    def __post_init__(self) -> None:
        self.certificate = self._sign(self.name, self.key, authority=True)

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    def trust(self) -> ssl.SSLContext:
        """A client's context that trusts this authority alone."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=self.der)
        return context

    def issue(
        self, *names: str, expired: bool = False, authority: bool = False
    ) -> tuple[ssl.SSLContext, x509.Certificate]:
        """Return a server's context, which shows this authority too, and its certificate."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign("server", key, names=names, expired=expired, authority=authority)
        path = self.directory / f"{certificate.serial_number:x}.pem"
        path.write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            + certificate.public_bytes(Encoding.PEM)
            + self.certificate.public_bytes(Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context, certificate

    def _sign(
        self,
        name: str,
        key: ec.EllipticCurvePrivateKey,
        *,
        names: Sequence[str] = (),
        expired: bool = False,
        authority: bool = False,
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)])
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=2))
            .not_valid_after(now + datetime.timedelta(days=-1 if expired else 1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_general(one) for one in names]), False
            )
        return builder.sign(self.key, hashes.SHA256())


def _general(name: str) -> x509.GeneralName:
    with suppress(ValueError):
        return x509.IPAddress(ipaddress.ip_address(name))
    return x509.DNSName(name)


def spki(certificate: x509.Certificate) -> bytes:
    """The public key as TLSA selector 1 means it."""
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@dataclass(slots=True)
class Socks5:
    """A SOCKS5 proxy (RFC 1928, RFC 1929) that knows CONNECT to IPv4 addresses; ``refusal``
    answers with a code instead."""

    login: tuple[str, str] | None = None
    refusal: int = 0
    asked: list[tuple[str, int]] = field(default_factory=list)
    port: int = 0
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._relay(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            self._tasks.discard(task)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, count = await reader.readexactly(2)
        await reader.readexactly(count)
        writer.write(b"\x05\x02" if self.login else b"\x05\x00")
        if self.login:
            user = await reader.readexactly((await reader.readexactly(2))[1])
            password = await reader.readexactly((await reader.readexactly(1))[0])
            if (user.decode(), password.decode()) != self.login:
                writer.write(b"\x01\x01")
                return
            writer.write(b"\x01\x00")
        assert await reader.readexactly(4) == b"\x05\x01\x00\x01"
        host = str(ipaddress.IPv4Address(await reader.readexactly(4)))
        port = int.from_bytes(await reader.readexactly(2))
        self.asked.append((host, port))
        writer.write(bytes([5, self.refusal, 0, 1, 0, 0, 0, 0, 0, 0]))
        if self.refusal:
            return
        there, here = await asyncio.open_connection(host, port)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_pump(reader, here))
                group.create_task(_pump(there, writer))
        finally:
            here.close()


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while octets := await source.read(65536):
        target.write(octets)
        await target.drain()
    target.close()
