"""What something costs in CPU: for limits on what a stranger's input may cost, never for speed.

Other processes, a core shared with another virtual machine, and the collection of garbage in a
worker that has run thousands of tests can multiply what is measured once. So the collection waits,
and what exceeds the limit is measured again: what really costs too much always does.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

_TRIES = 3


def cost(work: Callable[[], object], limit: float) -> float:
    """Return the CPU seconds of the work, of all threads: the least of up to three times."""
    taken: list[float] = []
    while _may_be_less(taken, limit):
        with _measured(taken):
            work()
    return min(taken)


async def cost_of(work: Callable[[], Awaitable[object]], limit: float) -> float:
    """Do as ``cost`` does, for a coroutine."""
    taken: list[float] = []
    while _may_be_less(taken, limit):
        with _measured(taken):
            await work()
    return min(taken)


def _may_be_less(taken: list[float], limit: float) -> bool:
    return not taken or (len(taken) < _TRIES and min(taken) >= limit)


@contextmanager
def _measured(taken: list[float]) -> Iterator[None]:
    gc.disable()
    began = time.process_time()
    try:
        yield
    finally:
        taken.append(time.process_time() - began)
        gc.enable()
