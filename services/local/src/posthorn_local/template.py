"""The template: a process that has loaded what the services share, and is copied to start each.

Rules:

- The template holds nothing that two processes must not share: no thread, event loop, TLS context
  or file, but the socket to the supervisor and the lock of the home; no setting, and so no secret;
  no metric that not every service has.
- A copy is a child of the supervisor: the template forks twice, and the supervisor adopts what is
  left by the process between. So it is waited for, signalled and killed as any child, and the end
  of the template ends no service.
- A copy goes on as a new interpreter would, with an environment, a session and a log of its own. ps
  shows the command that does the same without a template.
- What cannot be loaded here is left to the service, which says why.
"""

from __future__ import annotations

import gc
import json
import os
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from posthorn.runtime.env_settings import PREFIX, environment, set_environment
from posthorn_local.embedded import die_with_parent
from posthorn_local.service import load, run

SHARED = (
    *("posthorn.adapters.blobs.config", "posthorn.adapters.nats.events"),
    *("posthorn.adapters.nats.heartbeats", "posthorn.adapters.nats.scan"),
    *("posthorn.runtime.brakes", "posthorn.runtime.process", "posthorn.runtime.tls_watch"),
    *("argon2", "asyncpg", "bcrypt", "dns.message", "httpcore", "zstandard"),
    *("cryptography.hazmat.primitives.asymmetric.rsa", "cryptography.x509"),
)
"""Of ours what every service loads, since a module brings its metrics; of others what several
services load."""
_ROOM_BYTES = 16 * 1024
"""Room for the environment that a copy shows."""
_SCRIPT_LENGTH = 120
"""Of the template's and of each copy's: they are shown in the same place."""


def command() -> list[str]:
    """Return the command that runs a template. Its standard input is a socket."""
    return _command("from posthorn_local.template import main;", "main()  # template")


def plain_environment() -> dict[str, str]:
    """Return the environment of a template."""
    plain = {name: value for name, value in environment().items() if not name.startswith(PREFIX)}
    return plain | {"ROOM": " " * _ROOM_BYTES}


def main() -> None:
    """Be the template until the supervisor closes the socket, and in a copy be the program."""
    for name in SHARED:
        with suppress(Exception):
            load(name)
    gc.freeze()  # a search for garbage would write to what is shared
    supervisor = os.getppid()
    control = socket.socket(fileno=0)
    while request := _received(control):
        asked, log = request
        ours, theirs = socket.socketpair()
        between = os.fork()
        if not between:
            if os.fork():
                os._exit(0)
            control.detach()
            ours.close()
            with theirs:
                theirs.sendall(str(os.getpid()).encode())
                theirs.recv(1)  # its end: this process has been adopted
            _become(asked["name"], asked["module"], asked["environment"], log, supervisor)
            run(asked["module"])
            return
        theirs.close()
        os.close(log)
        os.waitpid(between, 0)
        with ours:
            control.sendall(ours.recv(20) + b"\n")


def _received(control: socket.socket) -> tuple[dict[str, Any], int] | None:
    data, descriptors, _, _ = socket.recv_fds(control, 65536, 1)
    while data and not data.endswith(b"\n"):
        data += control.recv(65536)
    return (json.loads(data), descriptors[0]) if data else None


def _become(
    name: str, module: str, variables: Mapping[str, str], log: int, supervisor: int
) -> None:
    os.setsid()
    die_with_parent(parent=supervisor)()
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.close(nothing)
    os.close(log)
    set_environment(variables)
    shown = _command("from posthorn_local.service import run;", f"run({module!r})  # {name}")
    with suppress(OSError):
        _show(shown, [f"{variable}={value}" for variable, value in variables.items()])


def _command(first: str, rest: str) -> list[str]:
    return [sys.executable, "-P", "-c", first + rest.rjust(_SCRIPT_LENGTH - len(first))]


def _show(*texts: list[str]) -> None:
    """Put command and environment where ps reads them (proc(5): arg_start to env_end)."""
    fields = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()
    places = [int(field) for field in fields[45:49]]
    with Path("/proc/self/mem").open("r+b", buffering=0) as memory:
        for start, end, text in zip(places[::2], places[1::2], texts, strict=True):
            memory.seek(start)
            shown = b"".join(os.fsencode(part) + b"\0" for part in text)
            memory.write(shown[: end - start].ljust(end - start, b"\0"))
