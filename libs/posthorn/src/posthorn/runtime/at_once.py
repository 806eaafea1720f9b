"""Awaiting several things at once, at no cost for those that need not wait.

``asyncio.gather`` makes a task of each and waits for turns of the loop even if none of them has to
wait. Most answers that a message needs are in a cache.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


def begun[T](waiting: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Run a coroutine up to where it first waits; return its task, which may be done."""
    return asyncio.Task(waiting, loop=asyncio.get_running_loop(), eager_start=True)


async def at_once(*waiting: Coroutine[Any, Any, Any]) -> list[Any]:
    """Await coroutines at once and return their results in order, as ``asyncio.gather`` does."""
    tasks = [begun(each) for each in waiting]
    if all(task.done() and not task.cancelled() and task.exception() is None for task in tasks):
        return [task.result() for task in tasks]
    return await asyncio.gather(*tasks)  # which takes note of every failure
