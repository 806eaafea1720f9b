"""Waiting for what another task or process does."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

BUSY_SECONDS = 30.0
"""What other work on the machine may add to anything: the allowance on top of a time that is
promised, and the bound of what takes no time to speak of."""
LONG_SECONDS = 300.0
"""A configured time that must not be waited out: so much longer than ``BUSY_SECONDS`` that no load
takes one for the other."""


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
