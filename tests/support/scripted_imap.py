"""An IMAP server with a few folders that only answers what reads, notes what it is sent, and fails
where a test wants it to."""

from __future__ import annotations

import re
import socketserver
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.support.line_server import serving_lines

_RANGE = re.compile(r"(\d+)(?::(\d+))?\Z")
_PARTIAL = re.compile(r"BODY\.PEEK\[\](?:<(\d+)\.(\d+)>)?")


@dataclass(frozen=True, slots=True)
class Held:
    """A message."""

    uid: int
    content: bytes
    flags: str = ""
    date: str = "03-Feb-2019 04:05:06 +0000"


@dataclass(slots=True)
class ScriptedImap:
    """What the server has, and what it was sent."""

    folders: dict[str, list[Held]]
    attributes: dict[str, str] = field(default_factory=dict)
    validity: int = 7
    password: str = "secret"
    fault: Callable[[str], str] = lambda _: ""
    """Given a command without its tag: empty, ``drop`` to break the connection off, or a line that
    is answered in place of the right one."""
    commands: list[str] = field(default_factory=list)
    """Without tags, in the order in which they came."""
    credentials: list[bytes] = field(default_factory=list)
    """What followed AUTHENTICATE, in base64."""
    port: int = 0

    def verbs(self) -> set[str]:
        """The names of all commands."""
        return {
            " ".join(line.split()[: 2 if line.upper().startswith("UID ") else 1]).upper()
            for line in self.commands
        }


@contextmanager
def serving(script: ScriptedImap) -> Iterator[ScriptedImap]:
    """Serve on a free port of 127.0.0.1."""

    class Handler(socketserver.StreamRequestHandler):
        wbufsize = -1
        disable_nagle_algorithm = True

        def handle(self) -> None:
            _Session(script, self).run()

    with serving_lines(Handler) as script.port:
        yield script


class _Session:
    def __init__(self, script: ScriptedImap, handler: socketserver.StreamRequestHandler) -> None:
        self._script = script
        self._in = handler.rfile
        self._out = handler.wfile
        self._selected: list[Held] = []

    def run(self) -> None:
        self._say("* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN NAMESPACE] ready")
        self._out.flush()
        while line := self._in.readline():
            tag, _, command = line.decode().rstrip("\r\n").partition(" ")
            self._script.commands.append(command)
            fault = self._script.fault(command)
            if fault == "drop":
                return
            if fault:
                self._say(f"{tag} {fault}")
            else:
                self._answer(tag, command)
            self._out.flush()
            if command.upper() == "LOGOUT":
                return

    def _answer(self, tag: str, command: str) -> None:
        words = command.split(" ")
        name = words[0].upper()
        if name == "CAPABILITY":
            self._say("* CAPABILITY IMAP4rev1 AUTH=PLAIN NAMESPACE")
        elif name == "AUTHENTICATE":
            self._say("+ ")
            self._out.flush()
            self._script.credentials.append(self._in.readline().strip())
        elif name == "NAMESPACE":
            self._say('* NAMESPACE (("" "/")) NIL NIL')
        elif name == "LIST":
            for folder in self._script.folders:
                self._say(f'* LIST ({self._script.attributes.get(folder, "")}) "/" "{folder}"')
        elif name == "STATUS":
            folder = command.split('"')[1] if '"' in command else words[1]
            self._say(f'* STATUS "{folder}" (MESSAGES {len(self._script.folders[folder])})')
        elif name == "EXAMINE":
            self._selected = self._script.folders[command.partition(" ")[2].strip('"')]
            self._say(f"* {len(self._selected)} EXISTS")
            self._say(f"* OK [UIDVALIDITY {self._script.validity}] UIDs valid")
        elif name == "FETCH":
            self._fetch(words[1], command, by_uid=False)
        elif name == "UID" and words[1].upper() == "FETCH":
            self._fetch(words[2], command, by_uid=True)
        elif name != "LOGOUT":
            self._say(f"{tag} BAD unknown command")
            return
        self._say(f"{tag} OK done")

    def _fetch(self, which: str, command: str, *, by_uid: bool) -> None:
        wanted: set[int] = set()
        for part in which.split(","):
            found = _RANGE.match(part)
            assert found, command
            wanted.update(range(int(found[1]), int(found[2] or found[1]) + 1))
        for number, message in enumerate(self._selected, 1):
            if (message.uid if by_uid else number) not in wanted:
                continue
            items = [f"UID {message.uid}"]
            if "FLAGS" in command:
                items.append(f'FLAGS ({message.flags}) INTERNALDATE "{message.date}"')
            if "RFC822.SIZE" in command:
                items.append(f"RFC822.SIZE {len(message.content)}")
            self._out.write(f"* {number} FETCH ({' '.join(items)}".encode())
            if partial := _PARTIAL.search(command):
                first = int(partial[1] or 0)
                content = message.content[first:]
                if partial[2]:
                    content = content[: int(partial[2])]
                origin = "" if partial[1] is None else f"<{first}>"
                self._out.write(f" BODY[]{origin} {{{len(content)}}}\r\n".encode() + content)
            if "BODY.PEEK[HEADER]" in command:
                header = message.content.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
                self._out.write(f" BODY[HEADER] {{{len(header)}}}\r\n".encode() + header)
            self._say(")")

    def _say(self, line: str) -> None:
        self._out.write(line.encode() + b"\r\n")
