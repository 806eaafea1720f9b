"""Input of a connection, from the transport's callbacks to the task that waits for it.

Rules:

- What came in is taken whole, as it came: one piece is never copied.
- An end from outside is raised where the task waits for input, now or the next time, and nowhere
  else.
- After a break of the connection nothing is taken; after the client's orderly end what it has sent
  is.
"""

from __future__ import annotations

import asyncio


class Ended(Exception):
    """Nothing more comes: the client has closed, or broken, the connection."""


class InputQueue:
    """Pieces of input that were read and not taken yet."""

    __slots__ = (
        "_interruption",
        "_is_broken",
        "_loop",
        "_pieces",
        "_waiter",
        "has_ended",
        "unread",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.unread = 0
        """Bytes of them."""
        self.has_ended = False
        """The client sends no more."""
        self._loop = loop
        self._pieces: list[bytes] = []
        self._is_broken = False
        self._interruption: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None

    def put(self, octets: bytes) -> None:
        """Add a piece."""
        self._pieces.append(octets)
        self.unread += len(octets)
        self._wake()

    def end(self, *, broken: bool = False) -> None:
        """Note that nothing more comes; ``broken``: the connection is, and what came before
        counts for nothing."""
        self.has_ended = True
        self._is_broken |= broken
        self._wake()

    def interrupt(self, why: Exception) -> None:
        """Have this raised where input is waited for, now or the next time; the first one
        counts."""
        self._interruption = self._interruption or why
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(self._interruption)

    def clear(self) -> None:
        """Drop what was not taken."""
        self._pieces.clear()
        self.unread = 0

    @property
    def must_wait(self) -> bool:
        """Whether nothing is there and something may come."""
        return not self._pieces and not self.has_ended

    def check(self) -> None:
        """Raise what ``interrupt`` was told."""
        if self._interruption is not None:
            raise self._interruption

    async def wait(self) -> None:
        """Wait until something is there or nothing more comes. Raises what ``interrupt`` is told
        meanwhile."""
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def take(self) -> bytes:
        """Return all that is there. Raises Ended."""
        if self._is_broken or not self._pieces:
            raise Ended
        octets = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self.clear()
        return octets

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
