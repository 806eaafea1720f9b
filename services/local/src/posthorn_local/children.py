"""Child processes of local mode, and the backoff of their restarts."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Container, Mapping
from typing import BinaryIO

import httpx

from posthorn_local.embedded import (
    Child,
    Nats,
    Postgres,
    adopting,
    die_with_parent,
    end_by,
    free_port,
)
from posthorn_local.logs import Log
from posthorn_local.template import command, plain_environment

_FIRST_DELAY = 0.1
_LONGEST_DELAY = 5.0
_SETTLED = 10.0
"""Seconds of running after which the backoff of a child starts afresh."""
_ANSWER_SECONDS = 30.0
"""Longest wait for a template, which may still be loading."""
_LOOK = 0.01
"""Seconds between two looks whether a copy has ended."""
_MODULES = {"submission": "smtp_in"}
"""Services that are another role of the same program."""


class Backoff:
    """Delay before a child that ended is started again."""

    def __init__(self) -> None:
        self._delay = _FIRST_DELAY
        self.due = 0.0

    def after(self, lived: float) -> float:
        """Record an end after ``lived`` seconds; return the delay in seconds, and set ``due``
        (monotonic seconds)."""
        if lived > _SETTLED:
            self._delay = _FIRST_DELAY
        delay, self._delay = self._delay, min(self._delay * 2, _LONGEST_DELAY)
        self.due = time.monotonic() + delay
        return delay


class Copy:
    """A child process that was copied from the template."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._status: int | None = None

    def poll(self) -> int | None:
        """Return the exit status, negative after a signal, or None while it runs."""
        if self._status is None:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            if ended:
                self._status = os.waitstatus_to_exitcode(status)
        return self._status

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end; return the exit status. Raises subprocess.TimeoutExpired."""
        began = time.monotonic()
        while (status := self.poll()) is None:
            if timeout is not None and time.monotonic() - began >= timeout:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout)
            time.sleep(_LOOK)
        return status

    def send_signal(self, sig: int) -> None:
        """Send a signal, if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, sig)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


class Template:
    """The process that copies itself to start others; it is started again when it has ended."""

    def __init__(self, held: tuple[int, ...] = ()) -> None:
        """``held``: file descriptors for the copies to inherit."""
        self._held = held
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def start(self) -> None:
        """Start it without waiting until it has loaded all. From the main thread only."""
        self.stop()
        self._control, theirs = socket.socketpair()
        self._control.settimeout(_ANSWER_SECONDS)
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603
                command(),
                env=plain_environment(),
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                pass_fds=self._held,
                start_new_session=True,
                preexec_fn=die_with_parent(),
            )

    def copy(
        self, name: str, module: str, environment: Mapping[str, str], output: BinaryIO
    ) -> Copy:
        """Start the program ``module.main`` with an environment; it writes to ``output``. Raises
        OSError."""
        if self._process is None or self._process.poll() is not None:
            self.start()
        assert self._control is not None
        asked = {"name": name, "module": module, "environment": dict(environment)}
        text = json.dumps(asked).encode() + b"\n"
        try:
            with adopting():
                sent = socket.send_fds(self._control, [text], [output.fileno()])
                self._control.sendall(text[sent:])
                answer = self._control.recv(32)
            if not answer.strip():
                raise OSError("its process was not made")
        except BaseException:
            self.stop()  # its next answer would be taken for that to another question
            raise
        return Copy(int(answer))

    def stop(self) -> None:
        """End it."""
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._process is not None:
            self._process.kill()  # it has nothing to finish
            self._process.wait()
            self._process = None


class Service:
    """One of Posthorn's services as a process of its own."""

    def __init__(
        self,
        name: str,
        environment: Mapping[str, str],
        health_port: int,
        log: Log,
        template: Template,
    ) -> None:
        self.name = name
        self.log = log
        self.backoff = Backoff()
        self._environment = environment
        self._health = f"http://127.0.0.1:{health_port}/readyz"
        self._template = template
        self._process: Copy | None = None
        self._started_at = 0.0

    def start(self) -> None:
        """Start the process without waiting for it. From the main thread only. Raises OSError."""
        part = _MODULES.get(self.name, self.name.replace("-", "_"))
        with self.log.writer() as out:
            self._process = self._template.copy(
                self.name, f"posthorn_{part}.main", self._environment, out
            )
        self._started_at = time.monotonic()

    def ended(self) -> str | None:
        """Return how the process ended, as text, or None while it runs."""
        return _end(self._process)

    @property
    def lived(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started_at

    def state(self, client: httpx.Client) -> str | None:
        """Return None when the service is ready; otherwise what it waits for."""
        try:
            answer = client.get(self._health, timeout=4)
            parts = answer.json()["parts"]
        except (httpx.HTTPError, ValueError, KeyError):
            return "no answer"
        if answer.status_code == httpx.codes.OK:
            return None
        return (
            ", ".join(f"{part}: {state}" for part, state in parts.items() if state != "ok")
            or "starting"
        )

    def terminate(self) -> None:
        """Tell it to drain and end, without waiting."""
        if self._process:
            self._process.send_signal(signal.SIGTERM)

    def wait(self, deadline: float) -> bool:
        """Wait until ``deadline`` (monotonic seconds), then kill it; return whether it ended by
        itself."""
        return self._process is None or end_by(self._process, deadline)


class Backend:
    """PostgreSQL or NATS, always on the same port, so that the services find it again."""

    def __init__(self, server: Postgres | Nats, taken: Container[int]) -> None:
        """``taken``: ports that the services will listen on."""
        self.server = server
        self._taken = taken
        self.name = server.name
        self.backoff = Backoff()
        self._started_at = 0.0

    def start(self) -> None:
        """Start it and wait until it serves. Raises EmbeddedError."""
        self._started_at = time.monotonic()
        self.server.start(self.server.port or free_port(self._taken))

    def ended(self) -> str | None:
        """Return how the process ended, or None while it runs."""
        return _end(self.server.process)

    @property
    def lived(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started_at


def _end(process: Child | None) -> str | None:
    if process is None:
        return "did not start"
    status = process.poll()
    if status is None:
        return None
    return f"exit status {status}" if status >= 0 else f"killed by {signal.Signals(-status).name}"
