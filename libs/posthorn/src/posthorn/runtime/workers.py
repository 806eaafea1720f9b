"""A service in several processes: a parent that starts, watches, drains and restarts them.

Theory of operation:

- The parent does no work of the service. It holds the pod's signals, health page and metrics page;
  the processes share the ports (``SO_REUSEPORT``), so that the kernel spreads the connections.
- Each process has a health page of its own on a loopback socket that it inherits; the parent reads
  it. The pod is ready while one of them is; its metrics are their sum and the parent's own.
- A process that ends is started again, later and later while it keeps ending; the others serve on.
  Only at the start an end stops the parent: it is most likely a mistake in the settings.
- A process that has not answered for STUCK_SECONDS is killed, as Kubernetes does by
  ``/healthz`` where there is one process.
- The processes are in a session of their own, so that a terminal's SIGINT reaches the parent alone,
  and die with the parent (``end_with``).
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from typing import Any

import structlog
from prometheus_client import REGISTRY, Counter, generate_latest

from posthorn.ports.errors import Unavailable
from posthorn.runtime.metrics_sum import MetricsSum

log = structlog.get_logger()

STUCK_SECONDS = 30.0
"""Time without an answer after which a process is killed."""
_LOOK_SECONDS = 2.0
_ANSWER_SECONDS = 3.0
_LONGEST_PAUSE_SECONDS = 30.0
_LIVED_SECONDS = 60.0
"""A process that lived so long is started again at once."""
_MARGIN_SECONDS = 5.0
"""Beyond the grace period before a process that does not end is killed."""
_PR_SET_PDEATHSIG = 1

_restarts = Counter("posthorn_process_restarts_total", "Processes of this pod started again")


def end_with(parent: int) -> None:
    """Have the kernel kill this process when its parent dies (Linux; nothing elsewhere). Exits
    when it has died already."""
    libc = ctypes.CDLL(None, use_errno=True)
    if hasattr(libc, "prctl"):
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            raise SystemExit(1)


class Worker:
    """One process of several, as its parent sees it."""

    def __init__(self, number: int, module: str, overrides: dict[str, Any]) -> None:
        self.number = number
        self.page = ""
        """Its metrics as they were last read."""
        self._module = module
        self._overrides = json.dumps(overrides)
        self._process: asyncio.subprocess.Process | None = None
        self._port = 0
        self.began_at = self.answered_at = 0.0
        """Monotonic seconds."""

    @property
    def pid(self) -> int:
        """The process id; 0 before the first start."""
        return 0 if self._process is None else self._process.pid

    async def start(self) -> None:
        """Start the process."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self._port = listener.getsockname()[1]
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",
                "-m",
                self._module,
                *(str(self.number), str(listener.fileno()), str(os.getpid()), self._overrides),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(listener.fileno(),),
                start_new_session=True,
            )
        self.page = ""
        self.began_at = self.answered_at = time.monotonic()

    async def ended(self) -> int:
        """Wait for the process to end; return its status."""
        assert self._process is not None
        return await self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send the process a signal, if there is one."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    async def state(self) -> dict[str, Any]:
        """Return what its /readyz says; empty when it does not answer."""
        try:
            return dict(json.loads(await self._get("/readyz")))
        except (OSError, ValueError):  # a TimeoutError is an OSError
            return {}

    async def look(self) -> None:
        """Read its metrics."""
        try:
            self.page = (await self._get("/metrics")).decode()
            self.answered_at = time.monotonic()
        except OSError:
            log.warning("a process does not answer", process=self.number)

    async def _get(self, path: str) -> bytes:
        async with asyncio.timeout(_ANSWER_SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            try:
                writer.write(f"GET {path} HTTP/1.0\r\n\r\n".encode())
                return (await reader.read()).partition(b"\r\n\r\n")[2]
            finally:
                writer.close()


class Workers:
    """The processes of a service."""

    def __init__(
        self, module: str, overrides: dict[str, Any], *, processes: int, grace_seconds: float
    ) -> None:
        """``module`` is run for each process, which is told its number, the descriptor of the
        listener for its health page, its parent and ``overrides`` of the settings (JSON)."""
        self.workers: Sequence[Worker] = [
            Worker(number, module, overrides) for number in range(1, processes + 1)
        ]
        self._grace_seconds = grace_seconds
        self._past = MetricsSum()
        self._stopping = False

    async def start(self) -> None:
        """Start all, and wait until each serves. Raises SystemExit when one ends before."""
        for worker in self.workers:
            await worker.start()
        for end in await asyncio.gather(*(self._begun(worker) for worker in self.workers)):
            if end is not None:
                raise SystemExit(f"refusing to start: {end}")

    async def run(self) -> None:
        """Watch the processes forever; run as a supervised task."""
        async with asyncio.TaskGroup() as group:
            for worker in self.workers:
                group.create_task(self._keep(worker))
            group.create_task(self._look_after())

    async def stop(self) -> None:
        """Have all processes end within the grace period, and kill those that do not."""
        self._stopping = True
        started = [worker for worker in self.workers if worker.pid]
        for worker in started:
            worker.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(self._grace_seconds + _MARGIN_SECONDS):
                await asyncio.gather(*(worker.ended() for worker in started))
        except TimeoutError:
            log.error("processes did not end in time and are killed")
            for worker in started:
                worker.signal(signal.SIGKILL)

    async def probe(self) -> None:
        """Raises Unavailable while no process is ready."""
        states = await asyncio.gather(*(worker.state() for worker in self.workers))
        if not any(state.get("ready") for state in states):
            raise Unavailable("processes", "none is ready")

    async def metrics(self) -> str:
        """Return the sum of all processes' metrics, the parent's and those of ended ones
        included."""
        await asyncio.gather(*(worker.look() for worker in self.workers))
        found = MetricsSum()
        for page in (generate_latest(REGISTRY).decode(), *(each.page for each in self.workers)):
            found.add(page)
        found.add(self._past.page(), counters_only=True)
        return found.page()

    async def _begun(self, worker: Worker) -> str | None:
        """Wait until the process serves; return what happened when it ended before."""
        end = asyncio.ensure_future(worker.ended())
        try:
            while not (await worker.state()).get("started"):
                done, _ = await asyncio.wait([end], timeout=0.1)
                if done:
                    return (
                        f"process {worker.number} ended with status {end.result()} before it served"
                    )
            return None
        finally:
            end.cancel()

    async def _keep(self, worker: Worker) -> None:
        pause = 0.0
        while True:
            status = await worker.ended()
            if self._stopping:
                return
            self._past.add(worker.page, counters_only=True)
            worker.page = ""
            lived = time.monotonic() - worker.began_at
            pause = 0.0 if lived >= _LIVED_SECONDS else min(2 * pause + 1, _LONGEST_PAUSE_SECONDS)
            log.error(
                "a process ended, and is started again",
                process=worker.number,
                status=status,
                lived_seconds=round(lived, 1),
                pause_seconds=pause,
            )
            await asyncio.sleep(pause)
            try:
                await worker.start()
                _restarts.inc()
            except OSError as error:
                log.error("a process cannot be started", process=worker.number, detail=str(error))

    async def _look_after(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            for worker in self.workers:
                await worker.look()
                if time.monotonic() - worker.answered_at > STUCK_SECONDS:
                    log.error("a process is stuck, and is killed", process=worker.number)
                    worker.signal(signal.SIGKILL)
