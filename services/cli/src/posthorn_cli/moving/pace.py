"""How fast the source is read: a rate in bytes a second, of all connections together."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Pace:
    """Sleeps after what was read. Used by several threads."""

    def __init__(
        self,
        bytes_per_second: float | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._rate = bytes_per_second
        self._clock = clock
        self._sleep = sleep
        self._free_at = clock()
        self._lock = threading.Lock()

    def spend(self, size: int) -> None:
        """Count bytes that were read, and wait until more may be."""
        if self._rate is None:
            return
        with self._lock:
            now = self._clock()
            self._free_at = max(self._free_at, now) + size / self._rate
            wait = self._free_at - now
        self._sleep(wait)
