"""Reading a maildrop octet by octet: poplib gives lines and refuses long ones, tests want what
was on the wire."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.polling import BUSY_SECONDS


class RefusedError(Exception):
    """The server said -ERR; the text is its reply."""


class Reader:
    """A logged-in POP3 session."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._stream = connection.makefile("rb")

    def line(self, command: str | None = None) -> str:
        """Send a command and give its first line. Raises RefusedError; an ended connection is a
        ConnectionError."""
        if command is not None:
            self._connection.sendall(command.encode() + b"\r\n")
        answer = self._stream.readline()
        if not answer.endswith(b"\r\n"):
            raise ConnectionError("the server closed the connection")
        text = answer.decode()[:-2]
        if not text.startswith("+OK"):
            raise RefusedError(text)
        return text

    def many(self, command: str) -> bytes:
        """Send a command and return the octets of its multi-line answer, unstuffed, without the
        end line."""
        self.line(command)
        return self._lines()

    def tops(self, numbers: list[int]) -> list[bytes]:
        """TOP n 0 of each, the commands sent in bulk (RFC 2449 PIPELINING)."""
        found = []
        for start in range(0, len(numbers), 100):
            some = numbers[start : start + 100]
            self._connection.sendall(b"".join(b"TOP %d 0\r\n" % number for number in some))
            for _ in some:
                self.line()
                found.append(self._lines())
        return found

    def _lines(self) -> bytes:
        lines = []
        while (line := self._stream.readline()) != b".\r\n":
            if not line.endswith(b"\n"):
                raise ConnectionError("the answer broke off")
            lines.append(line[1:] if line.startswith(b".") else line)
        return b"".join(lines)

    def listing(self, command: str) -> dict[int, str]:
        """LIST or UIDL: by message number."""
        rows = (row.split(" ") for row in self.many(command).decode().splitlines())
        return {int(row[0]): row[1] for row in rows}

    def sizes(self) -> dict[int, int]:
        """LIST."""
        return {number: int(size) for number, size in self.listing("LIST").items()}

    def message(self, number: int) -> bytes:
        """RETR."""
        return self.many(f"RETR {number}")


class Maildrop:
    """One account's mail over POP3. Each call is a session of its own."""

    def __init__(self, port: int, address: str, password: str) -> None:
        self.port = port
        self.address = address
        self.password = password

    def connect(self) -> socket.socket:
        """A connection to the server."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    @contextmanager
    def session(self, patience: float = BUSY_SECONDS) -> Iterator[Reader]:
        """Log in; a maildrop in use, a fault or a connection refused is tried again for a while.
        QUITs when all went well."""
        deadline = time.monotonic() + patience
        while True:
            try:
                connection = self.connect()
                reader = Reader(connection)
                reader.line()
                reader.line(f"USER {self.address}")
                reader.line(f"PASS {self.password}")
                break
            except (RefusedError, OSError) as error:
                passing = isinstance(error, OSError) or re.search(
                    r"\[(IN-USE|SYS/TEMP)\]", str(error)
                )
                if not passing or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
        with connection:
            yield reader
            reader.line("QUIT")

    def count(self) -> int:
        """Number of messages."""
        with self.session() as reader:
            return int(reader.line("STAT").split(" ")[1])

    def sizes(self) -> list[int]:
        """Sizes as LIST gives them."""
        with self.session() as reader:
            return list(reader.sizes().values())

    def read(self) -> list[bytes]:
        """Every message; each has the size that LIST said."""
        with self.session() as reader:
            found = []
            for number, size in reader.sizes().items():
                octets = reader.message(number)
                assert len(octets) == size, (number, size, len(octets))
                found.append(octets)
            return found

    def await_mail(self, count: int, timeout: float = BUSY_SECONDS) -> list[bytes]:
        """Wait until there are ``count`` messages, and return them. More than that is an error
        at once."""
        deadline = time.monotonic() + timeout
        while (now := self.count()) < count:
            assert time.monotonic() < deadline, (
                f"{now} of {count} messages in {self.address} after {timeout:.0f} s"
            )
            time.sleep(0.05)
        assert now == count, f"{now} messages in {self.address} where {count} were expected"
        return self.read()

    def empty(self) -> None:
        """Delete everything."""
        with self.session() as reader:
            for number in reader.sizes():
                reader.line(f"DELE {number}")
