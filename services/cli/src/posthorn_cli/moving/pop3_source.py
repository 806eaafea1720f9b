"""A POP3 session with the source, from which the unique ids of its messages are learnt (RFC 1939 §7).

Rules:

- Messages are listed and their headers read by TOP; none is retrieved or deleted, so that QUIT
  changes nothing.
- The session locks the maildrop: it is as short as can be, and one that finds it locked tries again
  (RFC 2449 §8.1.1, RFC 3206).
"""

from __future__ import annotations

import base64
import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import batched
from typing import BinaryIO

from posthorn_cli.moving.accounts import MovingAccount
from posthorn_cli.moving.source import TIMEOUT_SECONDS, Security, SourceRefused, Way

PAUSES = (2.0, 5.0, 15.0, 30.0)
"""Seconds between tries."""
LONGEST_LINE = 64 * 1024
LONGEST_HEADER = 1024 * 1024
"""Bytes of a header that are looked at."""
MOST_MESSAGES = 5_000_000
PIPELINED = 50
"""Commands that are sent before their replies are read, where the source takes them."""

_PATIENCE = ("[IN-USE]", "[LOGIN-DELAY]", "[SYS/TEMP]", "LOCK")


@dataclass(frozen=True, slots=True)
class Listed:
    """A message as POP3 lists it."""

    number: int
    size: int
    """Bytes, as the source says."""
    unique_id: str


class _Refused(Exception):
    """The source answered -ERR."""


class _Broken(Exception):
    """The connection ended, or what came is no POP3."""


class Pop3Session:
    """A session after its login. Every method raises SourceRefused."""

    def __init__(self, wire: _Wire, capabilities: frozenset[str], way: Way) -> None:
        self._wire = wire
        self._way = way
        self._together = PIPELINED if "PIPELINING" in capabilities else 1

    def listed(self) -> list[Listed]:
        """Return all messages by number. Those without a unique id are left out."""
        sizes = dict(self._numbers("LIST"))
        return [
            Listed(number, int(sizes[number]), unique_id)
            for number, unique_id in self._numbers("UIDL")
            if number in sizes and sizes[number].isdigit()
        ]

    def headers(self, numbers: Sequence[int]) -> Iterator[tuple[int, bytes]]:
        """Yield the headers of messages; those that the source refuses are left out."""
        for some in batched(numbers, self._together, strict=False):
            self._wire.send(*(f"TOP {number} 0" for number in some))
            for number in some:
                try:
                    self._wire.reply()
                except _Refused:
                    continue
                header = self._wire.header()
                self._way.pace.spend(len(header))
                yield number, header

    def _numbers(self, command: str) -> list[tuple[int, str]]:
        self._wire.send(command)
        self._wire.reply()
        rows = (line.split() for line in self._wire.lines())
        return [(int(row[0]), row[1]) for row in rows if len(row) > 1 and row[0].isdigit()]


@contextmanager
def pop3_session(account: MovingAccount, way: Way) -> Iterator[Pop3Session]:
    """Log in to the POP3 server of an account. Raises SourceRefused, also for what fails within."""
    try:
        wire, capabilities = _patiently(account, way)
        try:
            yield Pop3Session(wire, capabilities, way)
            with suppress(_Refused, _Broken, OSError):
                wire.send("QUIT")
                wire.reply()
        finally:
            wire.close()
    except (_Refused, _Broken, OSError) as error:
        raise SourceRefused(f"POP3: {_said(error, account)}") from None


def _patiently(account: MovingAccount, way: Way) -> tuple[_Wire, frozenset[str]]:
    for pause in PAUSES:
        try:
            return _logged_in(account, way)
        except ssl.SSLCertVerificationError:
            raise
        except _Refused as error:
            if not any(word in str(error).upper() for word in _PATIENCE):
                raise
        except (_Broken, OSError):
            pass
        way.sleep(pause)
    return _logged_in(account, way)


def _logged_in(account: MovingAccount, way: Way) -> tuple[_Wire, frozenset[str]]:
    assert account.pop3 is not None
    endpoint = account.pop3
    connection = socket.create_connection((endpoint.host, endpoint.port), TIMEOUT_SECONDS)
    wire = _Wire(connection)
    try:
        if way.security is Security.TLS:
            wire.secure(way.tls, endpoint.host)
        wire.reply()
        if way.security is Security.STARTTLS:
            wire.send("STLS")
            wire.reply()
            wire.secure(way.tls, endpoint.host)
        capabilities = _capabilities(wire)
        _authenticate(wire, account, way, capabilities)
        return wire, capabilities | _capabilities(wire)  # some tell more after the login
    except BaseException:
        wire.close()
        raise


def _authenticate(
    wire: _Wire, account: MovingAccount, way: Way, capabilities: frozenset[str]
) -> None:
    user, password = account.user, account.password
    if way.oauth:
        _sasl(wire, "XOAUTH2", f"user={user}\1auth=Bearer {password}\1\1")
    elif "SASL PLAIN" in capabilities:
        _sasl(wire, "PLAIN", f"\0{user}\0{password}")
    elif {*user, *password} & {"\r", "\n"}:
        raise _Refused("a name or password with a line break needs SASL PLAIN")
    else:
        for line in (f"USER {user}", f"PASS {password}"):
            wire.send(line)
            wire.reply()


def _sasl(wire: _Wire, mechanism: str, response: str) -> None:
    """Send the response on a line of its own: a command has 255 bytes at most (RFC 2449 §4)."""
    wire.send(f"AUTH {mechanism}")
    wire.reply(b"+")
    wire.send(base64.b64encode(response.encode()).decode())
    try:
        wire.reply()
    except _Challenged:  # the reason of a failure: the reply comes after an answer
        wire.send("")
        wire.reply()


def _capabilities(wire: _Wire) -> frozenset[str]:
    """Return the capabilities, SASL mechanisms as ``SASL PLAIN``."""
    wire.send("CAPA")
    try:
        wire.reply()
    except _Refused:
        return frozenset()
    found = set()
    for line in wire.lines():
        word, *arguments = line.upper().split() or [""]
        found.add(word)
        if word == "SASL":
            found |= {f"SASL {mechanism}" for mechanism in arguments}
    return frozenset(found)


class _Challenged(_Refused):
    """The source asks for more of a SASL exchange."""


class _Wire:
    """Lines over a connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._stream: BinaryIO = connection.makefile("rb")

    def secure(self, tls: ssl.SSLContext, host: str) -> None:
        """Protect the rest by TLS; what came before it does not count."""
        self._stream.close()
        self._connection = tls.wrap_socket(self._connection, server_hostname=host)
        self._stream = self._connection.makefile("rb")

    def close(self) -> None:
        with suppress(OSError):
            self._stream.close()
        self._connection.close()

    def send(self, *lines: str) -> None:
        self._connection.sendall("".join(f"{line}\r\n" for line in lines).encode())

    def reply(self, wanted: bytes = b"+OK") -> None:
        """Read a reply. Raises _Refused."""
        line = self._line()
        if line.startswith(b"-ERR"):
            raise _Refused(_text(line[4:].strip()) or "refused without a reason")
        if line.startswith(wanted):
            return
        if line.startswith(b"+ "):
            raise _Challenged(_text(line))
        raise _Broken(f"this is no POP3: {_text(line[:80])!r}")

    def lines(self) -> Iterator[str]:
        """Read the lines of a reply."""
        for _ in range(MOST_MESSAGES):
            line = self._line()
            if line == b".":
                return
            yield _text(line.removeprefix(b"."))
        raise _Broken("the list does not end")

    def header(self) -> bytes:
        """Read a message up to its end; return its header, at most ``LONGEST_HEADER`` bytes."""
        found = bytearray()
        is_body = False
        is_start = True
        while True:
            piece = self._stream.readline(LONGEST_LINE)
            if not piece:
                raise _Broken("it breaks off")
            if is_start and piece.rstrip(b"\r\n") == b".":
                return bytes(found)
            if is_start and piece.startswith(b"."):
                piece = piece[1:]
            is_body = is_body or (is_start and not piece.rstrip(b"\r\n"))
            is_start = piece.endswith(b"\n")
            if not is_body and len(found) < LONGEST_HEADER:
                found += piece

    def _line(self) -> bytes:
        line = self._stream.readline(LONGEST_LINE)
        if not line.endswith(b"\n"):
            raise _Broken("it breaks off" if len(line) < LONGEST_LINE else "a line is too long")
        return line.rstrip(b"\r\n")


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace")


def _said(error: Exception, account: MovingAccount) -> str:
    """Return what the source said, without the password, should it repeat it."""
    text = str(error) or type(error).__name__
    return text.replace(account.password, "***") if account.password else text
