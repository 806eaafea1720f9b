"""Blocking calls on a small pool of threads, awaited from the event loop.

Rules:

- A hanging store must not accumulate work: beyond ``_MOST_WAITING`` calls, or when no thread
  becomes free in time, a call is refused as Unavailable.
- A call cannot be stopped in its thread. When its caller is cancelled it runs to its end; what it
  opened is closed then, never while a thread still reads from it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import batched
from typing import Any

from posthorn.ports.errors import Unavailable

_MOST_WAITING = 512
_TOGETHER = 8
"""Most short calls that share a thread: handing one over costs more than reading a small body."""

type _Short = tuple[Callable[[], Any], asyncio.Future[Any]]


class Threads:
    """A bounded pool of threads. ``part``: the called part, named in faults; ``patience``:
    seconds to wait for a thread."""

    def __init__(self, part: str, number: int, patience: float) -> None:
        self._part = part
        self._patience = patience
        self._waiting = 0
        self._pool = ThreadPoolExecutor(number, part)
        self._short: list[_Short] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def close(self) -> None:
        """End the threads; calls that have not begun are cancelled."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def run[T](self, work: Callable[[], T]) -> T:
        """Call ``work`` in a thread and return its result. Raises what it raises, and
        Unavailable when no thread is free."""
        return await self._result(self._submit(work))

    async def run_short[T](self, work: Callable[[], T]) -> T:
        """As ``run``, for work of well below a millisecond: calls of the same turn of the event
        loop share threads, a few each."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        if not self._short:
            loop.call_soon(self._start_short, loop)
        self._short.append((work, done))
        return await done

    def _start_short(self, loop: asyncio.AbstractEventLoop) -> None:
        calls, self._short = self._short, []
        for some in batched(calls, _TOGETHER, strict=False):
            task = loop.create_task(self._run_short(some))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _run_short(self, calls: Sequence[_Short]) -> None:
        waited = [(work, done) for work, done in calls if not done.done()]  # a caller may have left
        works = [work for work, _ in waited]
        try:
            outcomes = await self.run(lambda: [_outcome(work) for work in works])
        except Exception as error:
            outcomes = [(None, error) for _ in works]
        for (_, done), (result, fault) in zip(waited, outcomes, strict=True):
            if done.done():
                continue
            if fault is None:
                done.set_result(result)
            else:
                done.set_exception(fault)

    async def pieces[S](
        self, opening: Callable[[], S], reading: Callable[[S], bytes], closing: Callable[[S], None]
    ) -> AsyncGenerator[bytes]:
        """Open a source, yield its pieces until an empty one, and close it however the caller
        leaves.

        Between two pieces no thread is held. ``closing`` must not block.
        """
        opened = self._submit(opening)
        last: Future[S] | Future[bytes] = opened

        def end(_: object) -> None:
            if not opened.cancelled() and opened.exception() is None:
                closing(opened.result())

        try:
            source = await self._result(opened)
            while True:
                read = last = self._submit(lambda: reading(source))
                piece = await self._result(read)
                if not piece:
                    return
                yield piece
        finally:
            # at once, or in the thread as soon as it has finished with the source
            last.add_done_callback(end)

    def _submit[T](self, work: Callable[[], T]) -> Future[T]:
        if self._waiting >= _MOST_WAITING:
            raise Unavailable(self._part, "too many calls wait")
        deadline = time.monotonic() + self._patience

        def call() -> T:
            if time.monotonic() > deadline:
                raise Unavailable(self._part, "no thread became free in time")
            return work()

        try:
            return self._pool.submit(call)
        except RuntimeError:
            raise Unavailable(self._part, "closed") from None

    async def _result[T](self, future: Future[T]) -> T:
        self._waiting += 1
        try:
            return await asyncio.wrap_future(future)
        finally:
            self._waiting -= 1


def _outcome[T](work: Callable[[], T]) -> tuple[T | None, Exception | None]:
    try:
        return work(), None
    except Exception as error:
        return None, error
