"""A POP3 server with a few messages that notes what it is sent, and fails where a test wants it to."""

from __future__ import annotations

import socketserver
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.support.line_server import serving_lines


@dataclass(slots=True)
class ScriptedPop3:
    """What the server has, and what it was sent."""

    messages: list[tuple[str, bytes]]
    """Unique ids and contents."""
    capabilities: tuple[str, ...] = ("TOP", "UIDL", "PIPELINING", "SASL PLAIN XOAUTH2")
    extra_bytes: int = 0
    """What each size is wrong by."""
    fault: Callable[[str], str] = lambda _: ""
    """Given a command: empty, ``drop`` to break the connection off, or a line that is answered in
    place of the right one."""
    commands: list[str] = field(default_factory=list)
    """In the order in which they came, with what followed AUTH."""
    port: int = 0


@contextmanager
def serving_pop3(script: ScriptedPop3) -> Iterator[ScriptedPop3]:
    """Serve on a free port of 127.0.0.1."""

    class Handler(socketserver.StreamRequestHandler):
        wbufsize = -1

        def handle(self) -> None:
            self.wfile.write(b"+OK ready\r\n")
            self.wfile.flush()
            while line := self.rfile.readline():
                command = line.decode().rstrip("\r\n")
                script.commands.append(command)
                fault = script.fault(command)
                if fault == "drop":
                    return
                self.wfile.write(f"{fault}\r\n".encode() if fault else _reply(script, command))
                self.wfile.flush()
                if command == "QUIT":
                    return

    with serving_lines(Handler) as script.port:
        yield script


def _reply(script: ScriptedPop3, command: str) -> bytes:
    verb, *arguments = command.split(" ")
    numbered = list(enumerate(script.messages, 1))
    if verb == "CAPA":
        return _lines(script.capabilities)
    if verb == "LIST":
        return _lines(f"{n} {len(content) + script.extra_bytes}" for n, (_, content) in numbered)
    if verb == "UIDL":
        return _lines(f"{n} {unique_id}" for n, (unique_id, _) in numbered)
    if verb == "TOP":
        content = script.messages[int(arguments[0]) - 1][1]
        header, _, _ = content.partition(b"\r\n\r\n")
        stuffed = b"".join(b"." * line.startswith(b".") + line for line in header.splitlines(True))
        return b"+OK\r\n" + stuffed + b"\r\n\r\n.\r\n"
    if verb == "AUTH":
        return b"+ \r\n"
    return b"+OK\r\n"


def _lines(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\r\n" for line in ("+OK", *lines, ".")).encode()
