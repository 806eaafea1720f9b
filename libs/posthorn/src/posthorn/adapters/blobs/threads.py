"""Blocking calls on a few threads of their own, awaited from the event loop.

Rules:

- A store that hangs must not pile up work: beyond ``_MOST_WAITING`` calls, or when no thread came free in time, a call is
  refused as Unavailable instead of waiting behind the others.
- A call cannot be stopped in its thread. When its caller is cancelled it runs to its end, and what it opened is closed then,
  never while a thread still reads from it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future, ThreadPoolExecutor

from posthorn.ports.errors import Unavailable

_MOST_WAITING = 512


class Threads:
    """A bounded pool of threads. ``part`` names in faults what the calls go to; ``patience`` is in seconds."""

    def __init__(self, part: str, number: int, patience: float) -> None:
        self._part = part
        self._patience = patience
        self._waiting = 0
        self._pool = ThreadPoolExecutor(number, part)

    def close(self) -> None:
        """Let the threads end; calls that have not begun are cancelled."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def run[T](self, work: Callable[[], T]) -> T:
        """Call ``work`` in a thread and give its result. Raises what it raises, and Unavailable when there is no thread for it."""
        return await self._result(self._submit(work))

    async def pieces[S](
        self, opening: Callable[[], S], reading: Callable[[S], bytes], closing: Callable[[S], None]
    ) -> AsyncGenerator[bytes]:
        """Open a source, give its pieces as the caller takes them until an empty one, and close it however the caller leaves.

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
            last.add_done_callback(end)  # at once, or in the thread as soon as it has let go of the source

    def _submit[T](self, work: Callable[[], T]) -> Future[T]:
        if self._waiting >= _MOST_WAITING:
            raise Unavailable(self._part, "too many calls wait")
        deadline = time.monotonic() + self._patience

        def call() -> T:
            if time.monotonic() > deadline:
                raise Unavailable(self._part, "no thread came free in time")
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
