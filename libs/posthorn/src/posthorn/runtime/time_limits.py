"""Time limits that are set for each message and hardly ever reached.

``asyncio.timeout`` sets a timer of the loop for each use and takes it back. Limits of one length
end in the order in which they began, so one timer, for the oldest, serves all of them.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self


class TimeLimits:
    """Limits of one length, of one event loop."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._running: dict[TimeLimit, float] = {}  # the oldest first, with the time of its end
        self._timer: asyncio.TimerHandle | None = None

    def limit(self) -> TimeLimit:
        """Return a context manager that raises TimeoutError after the seconds, as
        ``asyncio.timeout`` does; for use in a task."""
        return TimeLimit(self)

    def began(self, limit: TimeLimit) -> None:
        """Let a limit run."""
        loop = asyncio.get_running_loop()
        self._running[limit] = at = loop.time() + self._seconds
        if self._timer is None:
            self._timer = loop.call_at(at, self._look)

    def ended(self, limit: TimeLimit) -> None:
        """Forget a limit."""
        self._running.pop(limit, None)

    def _look(self) -> None:
        """Let those expire whose time has come, and look again at the end of the next one."""
        self._timer = None
        loop = asyncio.get_running_loop()
        now = loop.time()
        for limit, at in list(self._running.items()):
            if at > now:
                self._timer = loop.call_at(at, self._look)
                return
            del self._running[limit]
            limit.expire()


class TimeLimit:
    """One use of a limit."""

    __slots__ = ("_cancelling", "_has_expired", "_limits", "_task")

    def __init__(self, limits: TimeLimits) -> None:
        self._limits = limits
        self._has_expired = False

    def expire(self) -> None:
        """Interrupt the task."""
        self._has_expired = True
        self._task.cancel()

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None
        self._task, self._cancelling = task, task.cancelling()
        self._limits.began(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if not self._has_expired:
            self._limits.ended(self)
        # a task that was cancelled by others besides goes on to end
        elif self._task.uncancel() <= self._cancelling and isinstance(
            error, asyncio.CancelledError
        ):
            raise TimeoutError from error
