"""Child processes of local mode, and the backoff of their restarts."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Container, Mapping

import httpx

from posthorn_local.embedded import Nats, Postgres, die_with_parent, end_by, free_port
from posthorn_local.logs import Log

_FIRST_DELAY = 0.1
_LONGEST_DELAY = 5.0
_SETTLED = 10.0
"""Seconds of running after which the backoff of a child starts afresh."""


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


_MODULES = {"submission": "smtp_in"}
"""Services that are another role of the same program."""


class Service:
    """One of Posthorn's services as a process of its own."""

    def __init__(
        self,
        name: str,
        environment: Mapping[str, str],
        health_port: int,
        log: Log,
        held: tuple[int, ...],
    ) -> None:
        self.name = name
        self.log = log
        self.backoff = Backoff()
        self._environment = environment
        self._health = f"http://127.0.0.1:{health_port}/readyz"
        self._held = held
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0

    def start(self) -> None:
        """Start the process without waiting for it. From the main thread only."""
        module = _MODULES.get(self.name, self.name.replace("-", "_"))
        # ps shows whose process it is
        script = f"from posthorn_local.service import run; run({module!r})  # {self.name}"
        with self.log.writer() as out:
            self._process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-P", "-c", script],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                pass_fds=self._held,
                # a terminal's Ctrl-C reaches the supervisor only, which stops children in order
                start_new_session=True,
                preexec_fn=die_with_parent(),
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
        if self._process and self._process.poll() is None:
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


def _end(process: subprocess.Popen[bytes] | None) -> str | None:
    if process is None:
        return "did not start"
    status = process.poll()
    if status is None:
        return None
    return f"exit status {status}" if status >= 0 else f"killed by {signal.Signals(-status).name}"
