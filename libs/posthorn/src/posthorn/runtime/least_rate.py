"""A minimum rate for what a client sends or reads over a long time, so that it cannot hold
resources with a few bytes a minute. Only the time spent waiting for the client counts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

LEAST_BYTES_PER_SECOND = 1000
"""Bytes per second, about the rate of a modem; mail relays demand the same."""
_WINDOW_SECONDS = 30.0


class LeastRate:
    """Raises TimeoutError for a client that is slower over half a minute of waiting, silent for
    ``idle_seconds`` or active for more than ``whole_seconds``."""

    def __init__(
        self,
        *,
        idle_seconds: float = 60.0,
        whole_seconds: float = float("inf"),
    ) -> None:
        self._idle_seconds = idle_seconds
        self._end = time.monotonic() + whole_seconds
        self._waited = 0.0
        self._bytes = 0

    @property
    def patience(self) -> float:
        """Return the seconds to wait for the client now."""
        return max(min(self._idle_seconds, self._end - time.monotonic()), 0.0)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the time inside as waiting for the client."""
        began = time.monotonic()
        try:
            yield
        finally:
            self._waited += time.monotonic() - began

    def count(self, size: int) -> None:
        """Count bytes received or sent."""
        self._bytes += size
        if self._waited >= _WINDOW_SECONDS:
            if self._bytes < LEAST_BYTES_PER_SECOND * self._waited:
                raise TimeoutError("the client is too slow")
            self._waited, self._bytes = 0.0, 0
        if time.monotonic() > self._end:
            raise TimeoutError("it takes too long")

    async def read(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield the pieces as they arrive."""
        while True:
            with self.waiting():
                async with asyncio.timeout(self.patience):
                    piece = await anext(pieces, None)
            if piece is None:
                return
            self.count(len(piece))
            yield piece
