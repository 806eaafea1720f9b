"""Waiting for what another task or process does."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import pytest

from posthorn.runtime.at_once import begun

BUSY_SECONDS = 30.0
"""What other work on the machine may add to anything: the allowance on top of a time that is
promised, and the bound of what takes no time to speak of."""
START_SECONDS = 5 * BUSY_SECONDS
"""The bound of what waits for a process to start: its imports alone take seconds on a busy
machine."""
LONG_SECONDS = 300.0
"""A configured time that must not be waited out: so much longer than ``BUSY_SECONDS`` that no load
takes one for the other."""
_TICK_SECONDS = 0.02


@contextmanager
def timers_run() -> Iterator[list[object]]:
    """Note the timers of the running loop that were set and came due within: what waited for time
    to pass, however fast the machine is. A deadline that was kept does not come due."""
    loop = asyncio.get_running_loop()
    run: list[object] = []
    set_timer = loop.call_at

    def noted(when: float, callback: Callable[..., object], *args: Any, **rest: Any) -> Any:
        def due() -> None:
            run.append(callback)
            callback(*args)

        return set_timer(when, due, **rest)

    loop.call_at = noted  # type: ignore[method-assign, assignment]
    try:
        yield run
    finally:
        del loop.call_at


async def until(
    condition: Callable[[], Awaitable[Any] | Any],
    timeout: float = BUSY_SECONDS,
    what: str = "it",
    *,
    every: float = 0.02,
) -> None:
    """Poll until the condition, which may be asynchronous, holds. Raises AssertionError when it
    does not in time."""
    deadline = time.monotonic() + timeout
    while True:
        held = condition()
        if await held if inspect.isawaitable(held) else held:
            return
        assert time.monotonic() < deadline, f"{what} did not happen within {timeout} s"
        await asyncio.sleep(every)


class _Lateness:
    """How late the running loop is in all, in seconds."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._due_at = 0.0

    @property
    def seconds(self) -> float:
        """Until now."""
        return self._seconds + max(0.0, time.monotonic() - self._due_at)

    async def watch(self) -> None:
        while True:
            self._due_at = time.monotonic() + _TICK_SECONDS
            await asyncio.sleep(_TICK_SECONDS)
            self._seconds += max(0.0, time.monotonic() - self._due_at)


def repeated_when_late[**P](
    seconds: float, times: int = 8
) -> Callable[[Callable[P, Awaitable[None]]], Callable[P, Coroutine[Any, Any, None]]]:
    """Run a test again, up to so many times, when it failed and its loop was late by ``seconds`` in
    all: a client or host that must be quick could not be. A failure on a machine that kept time
    stands. For tests with a short time limit of their own, that make their servers themselves."""

    def repeated(test: Callable[P, Awaitable[None]]) -> Callable[P, Coroutine[Any, Any, None]]:
        @wraps(test)
        async def run(*args: P.args, **kwargs: P.kwargs) -> None:
            for left in reversed(range(times)):
                lateness = _Lateness()
                watching = begun(lateness.watch())
                try:
                    await test(*args, **kwargs)
                    return
                except (Exception, pytest.fail.Exception):
                    if not left or lateness.seconds < seconds:
                        raise
                finally:
                    watching.cancel()

        return run

    return repeated
