"""Awaiting several things at once, at no cost for those that need not wait.

``asyncio.gather`` makes a task of each and waits for turns of the loop even if none of them has to
wait. Most answers that a message needs are in a cache.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from types import coroutine
from typing import Any, cast


def begun[T](waiting: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Run a coroutine up to where it first waits; return its task, which may be done."""
    return asyncio.Task(waiting, loop=asyncio.get_running_loop(), eager_start=True)


async def at_once(*waiting: Coroutine[Any, Any, Any]) -> list[Any]:
    """Await coroutines at once and return their results in order, as ``asyncio.gather`` does."""
    if len(waiting) == 1:
        return [await waiting[0]]
    tasks = [begun(each) for each in waiting]
    if all(task.done() and not task.cancelled() and task.exception() is None for task in tasks):
        return [task.result() for task in tasks]
    return await asyncio.gather(*tasks)  # which takes note of every failure


class Begun[T]:
    """A coroutine that was run up to where it first waits, in the task of whoever awaits it: no
    task is made for it. Await it once."""

    __slots__ = ("_coroutine", "_result", "_waits", "is_done")

    def __init__(self, waiting: Coroutine[Any, Any, T]) -> None:
        """Run it. Raises what it raises before it waits."""
        self._coroutine = waiting
        try:
            self._waits = waiting.send(None)
        except StopIteration as returned:
            self.is_done = True
            """Whether it had to wait for nothing."""
            self._result: T = returned.value
        else:
            self.is_done = False

    async def result(self) -> T:
        """Return what it returns."""
        if self.is_done:
            return self._result
        return cast("T", await _resumed(self._coroutine, self._waits))


@coroutine
def _resumed(begun_: Coroutine[Any, Any, Any], waits: Any) -> Generator[Any, Any, Any]:
    """Wait for what a coroutine waits for, until it returns."""
    while True:
        try:
            try:
                sent = yield waits
            except BaseException as error:
                waits = begun_.throw(error)
            else:
                waits = begun_.send(sent)
        except StopIteration as returned:
            return returned.value
