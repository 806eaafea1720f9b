"""The lifecycle of a service process: start, serve, drain, stop.

Rules:

- Everything a process opens goes on one exit stack; leaving it in reverse order is the shutdown.
  Listeners are entered last, so they drain first, while everything behind them still works.
- The first SIGTERM or SIGINT begins the drain, or aborts the start; a second one ends the process
  at once. Signals are handled from the start: the first process of a container has no default
  action for them.
- A supervised task that ends with an error ends the process with status 1: Kubernetes restarts it;
  no partial service stays up.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import threading
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from importlib.metadata import version
from typing import Any

import structlog
import uvloop
from prometheus_client import Gauge, Histogram

from posthorn.ports.errors import Unavailable
from posthorn.runtime.health import Health
from posthorn.runtime.http import bind, http_server
from posthorn.runtime.logging import configure_logging
from posthorn.runtime.settings import ProcessSettings

log = structlog.get_logger()

_THREADS_SECONDS = 1.0
_LAG_SECONDS = 1.0

_build = Gauge("posthorn_build_info", "1, with the version as a label", ["service", "version"])
_lag = Histogram(
    "posthorn_process_loop_lag_seconds",
    "How late the event loop ran a timer that is due every second",
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5),
)


class Process[S: ProcessSettings = ProcessSettings]:
    """The argument of a service's start function: exit stack, health page, supervised tasks."""

    def __init__(self, settings: S, stack: AsyncExitStack) -> None:
        self._settings = settings
        self.stack = stack
        self.health = Health()
        self._stop = asyncio.Event()
        self._failed = False
        self._starting: asyncio.Task[Any] | None = None

    @property
    def settings(self) -> S:
        """The settings of the service."""
        return self._settings

    async def task(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run a task until the stack is left; should it end before that, the process stops, with
        status 1 if by an error."""
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._task_ended)

        async def end() -> None:
            task.remove_done_callback(self._task_ended)
            ended = task.done()
            task.cancel()
            await asyncio.wait([task])
            if not ended and not task.cancelled() and (error := task.exception()):
                log.error("task failed while it was stopped", task=name, exc_info=error)

        self.stack.push_async_callback(end)
        return task

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()):
            log.error("task failed, stopping", task=task.get_name(), exc_info=error)
            self._failed = True
        self.stop()

    def stop(self, *, failed: bool = False) -> None:
        """Begin the shutdown, or abort the start."""
        self._failed |= failed
        self._stop.set()
        if self._starting is not None:
            self._starting.cancel()
            self._starting = None

    async def begin(self, start: Callable[[Process[S]], Awaitable[None]]) -> bool:
        """Heed signals and start; return whether it came to serving. Raises what ``start``
        raises."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled, number)
        task = self._starting = asyncio.current_task()
        assert task is not None
        try:
            await start(self)
        except asyncio.CancelledError:
            if not self._stop.is_set():
                raise
        finally:
            self._starting = None
        if self._stop.is_set():
            task.uncancel()  # also one that has not struck yet
            log.info("stopped before it served")
            return False
        return True

    async def live(self) -> None:
        """Serve until told to stop."""
        self.health.started = True
        log.info("serving")
        await self._stop.wait()
        self.health.draining = True
        log.info("draining", grace_seconds=self.settings.grace_seconds)
        if not self._failed:
            await asyncio.sleep(self.settings.drain_delay_seconds)

    @property
    def succeeded(self) -> bool:
        """False once a supervised task failed."""
        return not self._failed

    def _signalled(self, number: int) -> None:
        if self._stop.is_set():
            os._exit(128 + number)
        self.stop()


_COLLECT_AFTER = 20_000
"""Objects made between two looks for cycles: mail makes many objects and hardly any cycle."""


def serve[S: ProcessSettings](
    service: str,
    settings: S,
    start: Callable[[Process[S]], Awaitable[None]],
    *,
    number: int | None = None,
    health: socket.socket | None = None,
) -> None:
    """Run a service until a signal ends it. ``start`` enters what the service needs on
    ``process.stack``.

    ``number``: of a process that is one of several (``workers``). ``health``: the listener of the
    health page; None: as the settings say.

    Exits with status 1 when start or a supervised task failed.
    """
    lines = configure_logging(service, settings.log_level, process=number)
    _build.labels(service, version("posthorn")).set(1)
    succeeded = uvloop.run(_serve(settings, start, health))
    lines.flush()
    status = 0 if succeeded else 1
    # Everything is closed; the interpreter would still wait for each thread that hangs in a call to
    # a store that is down.
    last = threading.Timer(_THREADS_SECONDS, os._exit, (status,))
    last.daemon = True
    last.start()
    raise SystemExit(status)


async def _serve[S: ProcessSettings](
    settings: S, start: Callable[[Process[S]], Awaitable[None]], health: socket.socket | None
) -> bool:
    async with AsyncExitStack() as stack:
        process = Process(settings, stack)
        listener = health or bind(
            settings.health_host, settings.health_port, "POSTHORN_HEALTH_PORT"
        )
        await stack.enter_async_context(http_server(process.health, listener, grace=1))
        try:
            serving = await process.begin(start)
        except Unavailable as fault:
            log.error("could not start", fault=fault)
            return False
        except Exception:
            log.exception("could not start")
            return False
        gc.freeze()  # what is there now stays: it need not be looked through again and again
        gc.set_threshold(_COLLECT_AFTER)
        if serving:
            await process.task(_measure_lag(), "event loop lag")
            await process.task(process.health.watch(), "health")
            await process.live()
    log.info("stopped")
    return process.succeeded


async def _measure_lag() -> None:
    """Measure for ever how late the event loop is."""
    loop = asyncio.get_running_loop()
    while True:
        due_at = loop.time() + _LAG_SECONDS
        await asyncio.sleep(_LAG_SECONDS)
        _lag.observe(max(0.0, loop.time() - due_at))
