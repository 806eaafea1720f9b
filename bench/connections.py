"""What a connection to smtp-in costs by itself: accepting, greeting and closing, and a TLS handshake.

CPU of the process, not rates: one connection after the other, so that the client does not matter.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from typing import Any

from bench.peers import Postfix
from bench.system import System, cost

QUICK, COUNT = 200, 1000


def greeted(port: int) -> None:
    """Connect, read the greeting, and leave."""
    with _open(port) as connection:
        _close(connection)


def introduced(port: int) -> None:
    """Say EHLO besides."""
    with _open(port) as connection:
        _hello(connection)
        _close(connection)


def secured(port: int) -> None:
    """Shake hands for TLS after that, and say EHLO again."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # a new one: no session is resumed
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with _open(port) as connection:
        _hello(connection)
        connection.sendall(b"STARTTLS\r\n")
        _reply(connection, b"220")
        with context.wrap_socket(connection) as secure:
            _hello(secure)
            _close(secure)


def measure_connections(
    results: dict[str, Any], system: System, postfix: Postfix, *, quick: bool
) -> None:
    """Measure CPU microseconds per connection."""
    count = QUICK if quick else COUNT
    ours, theirs = system.parts()["smtp-in"], postfix.root_pid
    found: dict[str, dict[str, float]] = {"posthorn": {}, "postfix": {}}
    for name, talk in (("greeted", greeted), ("introduced", introduced), ("secured", secured)):
        found["posthorn"][name] = _each(ours, system.smtp, count, talk)
    for name, talk in (("greeted", greeted), ("introduced", introduced)):
        found["postfix"][name] = _each(theirs, postfix.port, count, talk)
    results["connections"] = found


def show_connections(found: dict[str, dict[str, float]]) -> None:
    """Print the table."""
    ours, theirs = found["posthorn"], found["postfix"]
    print("A connection to smtp-in, CPU µs                Posthorn    Postfix")
    for label, mine, peer in (
        ("accepted, greeted, closed by QUIT", ours["greeted"], theirs["greeted"]),
        (
            "an EHLO",
            ours["introduced"] - ours["greeted"],
            theirs["introduced"] - theirs["greeted"],
        ),
    ):
        print(f"  {label:<42} {mine:>10.0f} {peer:>10.0f}")
    shaken = ours["secured"] - ours["introduced"]
    print(f"  {'STARTTLS, a handshake, another EHLO':<42} {shaken:>10.0f}\n")


def _each(pid: int, port: int, count: int, talk: Callable[[int], None]) -> float:
    for _ in range(count // 10):
        talk(port)
    time.sleep(0.5)
    before = cost(pid).cpu
    for _ in range(count):
        talk(port)
    time.sleep(0.5)
    return 1e6 * (cost(pid).cpu - before) / count


def _open(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), 30)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    _reply(connection, b"220")
    return connection


def _hello(connection: socket.socket) -> None:
    connection.sendall(b"EHLO bench.example.net\r\n")
    _reply(connection, b"250")


def _close(connection: socket.socket) -> None:
    connection.sendall(b"QUIT\r\n")
    _reply(connection, b"221")


def _reply(connection: socket.socket, code: bytes) -> None:
    said = b""
    while not (said.endswith(b"\r\n") and said.splitlines()[-1][3:4] == b" "):
        more = connection.recv(4096)
        if not more:
            raise RuntimeError(f"the connection ended after {said!r}")
        said += more
    if not said.startswith(code):
        raise RuntimeError(f"SMTP said {said!r} where {code.decode()} was due")
