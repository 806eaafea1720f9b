"""Tasks that live no longer than what they serve."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any


async def cancel_and_wait(task: asyncio.Task[Any]) -> None:
    """Cancel a task and wait for its end. Raises what it failed with."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
