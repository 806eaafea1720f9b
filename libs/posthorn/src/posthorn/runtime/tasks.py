"""Tasks that live no longer than what they serve, and their last work."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from posthorn.ports.errors import Unavailable

LAST_WRITE_SECONDS = 10.0
"""Seconds for which the end of a process may wait for a store to take what is left; the pod is
killed 30 seconds after the grace period."""
_RETRY_SECONDS = 0.25


async def cancel_and_wait(task: asyncio.Task[Any]) -> None:
    """Cancel a task and wait for its end. Raises what it failed with."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def retry_while_unavailable(work: Callable[[], Awaitable[None]], seconds: float) -> None:
    """Run ``work`` until it raises no Unavailable, for at most so many seconds. Raises the last
    Unavailable; what is still running then is cancelled."""
    last = Unavailable("store", f"no answer within {seconds:.0f} s")
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while True:
                try:
                    await work()
                except Unavailable as fault:
                    last = fault
                else:
                    return
                await asyncio.sleep(_RETRY_SECONDS)
    raise last
