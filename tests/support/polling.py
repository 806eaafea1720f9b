"""Waiting for what another task or process does."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any


async def until(
    condition: Callable[[], Awaitable[Any] | Any],
    timeout: float = 30.0,
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
