"""The clients: Postfix's smtp-source for SMTP, a raw-socket POP3 reader, and a probe for the
time from 250 to readable."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bench.peers import need

SESSIONS = 20
MESSAGE = 4096


def smtp_source(
    port: int, count: int, recipient: str, *, kept: bool, file: Path | None = None
) -> float:
    """Send ``count`` messages of 4 KiB over 20 parallel sessions; returns the seconds until the
    last 250.

    ``kept`` sends many messages over each connection; otherwise each message has a connection of
    its own. ``file``: the message to send in place of 4 KiB without a header.
    """
    command = [need("smtp-source", "postfix"), "-s", str(SESSIONS), "-m", str(count)]
    command += ["-d"] if kept else []
    command += ["-F", str(file)] if file else ["-l", str(MESSAGE)]
    command += [
        "-M",
        "bench.example.net",
        "-f",
        "sender@bench.example.net",
        "-t",
        recipient,
        f"inet:127.0.0.1:{port}",
    ]
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    if done.returncode or done.stderr.strip():
        raise RuntimeError(f"smtp-source: {done.stderr.strip()[:300]}")
    return time.monotonic() - began


@dataclass(frozen=True, slots=True)
class Read:
    """What a POP3 measurement found."""

    sessions_per_s: float
    messages_per_s: float
    octets_per_s: float


class _Pop3:
    """A POP3 client that costs next to nothing, so that the server is what is measured."""

    def __init__(self, port: int, user: str, password: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), 30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""
        self._line()
        self._ask(f"USER {user}")
        self._ask(f"PASS {password}")

    def _line(self) -> bytes:
        while b"\r\n" not in self._buffer:
            self._fill()
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        if not line.startswith(b"+OK"):
            raise RuntimeError(f"POP3 said {line!r}")
        return line

    def _fill(self) -> None:
        octets = self._socket.recv(262_144)
        if not octets:
            raise RuntimeError("POP3 closed the connection")
        self._buffer += octets

    def _ask(self, command: str) -> bytes:
        self._socket.sendall(command.encode() + b"\r\n")
        return self._line()

    def stat(self) -> int:
        return int(self._ask("STAT").split()[1])

    def retrieve(self, numbers: range, *, pipelined: bool) -> int:
        """Read messages; return the bytes read. Every reply is checked to begin with +OK."""
        return (
            self._many(numbers) if pipelined else sum(self._many(range(n, n + 1)) for n in numbers)
        )

    def _many(self, numbers: range) -> int:
        wanted = len(numbers)
        self._socket.sendall(b"".join(b"RETR %d\r\n" % number for number in numbers))
        octets = 0
        rest = self._buffer
        while wanted:
            at = 0
            while (end := rest.find(b"\r\n.\r\n", at)) >= 0:
                if not rest.startswith(b"+OK", at):
                    raise RuntimeError(f"POP3 said {rest[at : at + 60]!r}")
                octets += end - at
                at = end + 5
                wanted -= 1
            rest = rest[at:]
            if wanted:
                rest += self._socket.recv(1 << 20)
        self._buffer = rest
        return octets

    def delete(self, number: int) -> None:
        self._ask(f"DELE {number}")

    def quit(self) -> None:
        self._ask("QUIT")
        self._socket.close()


def pop3_read(
    ports: list[tuple[int, str, str]], *, pipelined: bool, rounds: int, per_session: int
) -> Read:
    """Read ``per_session`` messages in each of ``rounds`` sessions for every (port, user,
    password), those in parallel."""

    def one(target: tuple[int, str, str]) -> tuple[int, int]:
        messages = octets = 0
        for _ in range(rounds):
            client = _Pop3(*target)
            count = min(per_session, client.stat())
            octets += client.retrieve(range(1, count + 1), pipelined=pipelined)
            messages += count
            client.quit()
        return messages, octets

    began = time.monotonic()
    with ThreadPoolExecutor(len(ports)) as pool:
        sums = list(pool.map(one, ports))
    took = time.monotonic() - began
    return Read(
        sessions_per_s=len(ports) * rounds / took,
        messages_per_s=sum(messages for messages, _ in sums) / took,
        octets_per_s=sum(octets for _, octets in sums) / took,
    )


def pop3_logins(port: int, user: str, password: str, count: int) -> float:
    """Log in, STAT and quit, one session after the other; returns sessions per second."""
    began = time.monotonic()
    for _ in range(count):
        client = _Pop3(port, user, password)
        client.stat()
        client.quit()
    return count / (time.monotonic() - began)


async def paced_load(port: int, recipient: str, rate: float, stop: asyncio.Event) -> int:
    """Send messages of 4 KiB at ``rate`` a second over 20 kept connections until told to stop;
    returns how many got a 250."""
    message = b"Subject: paced\r\n\r\n" + (b"x" * 78 + b"\r\n") * 50 + b".\r\n"
    head = f"MAIL FROM:<p@bench.example.net>\r\nRCPT TO:<{recipient}>\r\nDATA\r\n".encode()
    sent = 0

    async def session(number: int) -> None:
        nonlocal sent
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await reader.readline()
        writer.write(b"EHLO bench.example.net\r\n")
        while not (await reader.readline()).startswith(b"250 "):
            pass
        due = time.monotonic() + number / rate
        while not stop.is_set():
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            due += SESSIONS / rate
            writer.write(head)
            for code in (b"250", b"250", b"354"):
                _expect(await reader.readline(), code)
            writer.write(message)
            _expect(await reader.readline(), b"250")
            sent += 1
        writer.close()

    async with asyncio.TaskGroup() as group:
        for number in range(SESSIONS):
            group.create_task(session(number))
    return sent


def _expect(line: bytes, code: bytes) -> None:
    if not line.startswith(code):
        raise RuntimeError(f"SMTP said {line!r} where {code.decode()} was due")


def readable_after(
    smtp_port: int,
    pop3_port: int,
    user: str,
    password: str,
    probes: int,
    pause_seconds: float = 0.02,
) -> Iterator[float]:
    """Send one message at a time; return, for each, the seconds from its 250 until a POP3
    session lists it."""
    with socket.create_connection(("127.0.0.1", smtp_port), 30) as smtp:
        smtp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        replies = smtp.makefile("rb")
        _expect(replies.readline(), b"220")
        smtp.sendall(b"EHLO probe.example.net\r\n")
        while not replies.readline().startswith(b"250 "):
            pass
        for number in range(probes):
            smtp.sendall(
                f"MAIL FROM:<p@bench.example.net>\r\nRCPT TO:<{user}>\r\nDATA\r\n".encode()
            )
            for code in (b"250", b"250", b"354"):
                _expect(replies.readline(), code)
            smtp.sendall(f"Subject: probe {number}\r\n\r\n{'y' * 70}\r\n.\r\n".encode())
            _expect(replies.readline(), b"250")
            accepted = time.monotonic()
            while True:
                client = _Pop3(pop3_port, user, password)
                if client.stat():
                    seen = time.monotonic()
                    client.delete(1)
                    client.quit()
                    break
                client.quit()
                if time.monotonic() - accepted > 30:
                    raise RuntimeError("a message was not readable within 30 s of its 250")
            yield seen - accepted
            time.sleep(pause_seconds)


def hold_idle(port: int, count: int) -> list[socket.socket]:
    """Open connections and leave them idle after the greeting."""
    held = []
    for number in range(count):
        connection = socket.create_connection(
            ("127.0.0.1", port), 30, (f"127.0.{1 + number // 200}.{1 + number % 200}", 0)
        )
        connection.recv(512)
        held.append(connection)
    return held
