"""A pool of asyncpg's connections (ADR 47).

Rules:

- At most ``size`` connections exist; who finds all of them lent waits in turn, up to
  ``wait_seconds``.
- A connection is opened when it is needed. The one returned last is lent next, so that few stay
  warm; one older than ``recycle_seconds`` is replaced.
- No ping before use: the driver knows when the server closed a connection, and such a one is
  replaced.
- Nothing is reset on return: a borrower that leaves a connection in doubt discards it, and one that
  is cancelled always does.
- The gauges ask the pools when they are read: lending costs no metric.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from weakref import WeakSet

import asyncpg
from prometheus_client import Gauge

type Connection = asyncpg.Connection[asyncpg.Record]

_CLOSE_SECONDS = 2.0

_pools: WeakSet[ConnectionPool] = WeakSet()
_lent = Gauge("posthorn_postgres_pool_in_use", "Connections to Postgres that are lent")
_waiting = Gauge("posthorn_postgres_pool_waiting", "Borrowers that wait for a connection")
_size = Gauge("posthorn_postgres_pool_size", "Most connections to Postgres")


class ConnectionPool:
    """Lends connections that ``open_connection`` makes."""

    def __init__(
        self,
        open_connection: Callable[[], Awaitable[Connection]],
        *,
        size: int,
        wait_seconds: float,
        recycle_seconds: float = 1800.0,
    ) -> None:
        self.size = size
        """Most connections at a time."""
        self.lent = 0
        """Connections that are lent or being opened."""
        self.waiting = 0
        """Borrowers that wait for a connection."""
        self._open = open_connection
        self._turns = asyncio.Semaphore(size)
        self._wait_seconds = wait_seconds
        self._recycle_seconds = recycle_seconds
        self._idle: list[Connection] = []
        self._recycled_at: dict[Connection, float] = {}
        """Of every connection that may be lent again."""
        self._is_closed = False
        _pools.add(self)

    async def take(self) -> Connection:
        """Borrow a connection; it must be given back or discarded.

        Raises TimeoutError when none becomes free in time, and what opening one raises.
        """
        if self._turns.locked():
            self.waiting += 1
            try:
                async with asyncio.timeout(self._wait_seconds):
                    await self._turns.acquire()
            finally:
                self.waiting -= 1
        else:
            await self._turns.acquire()
        self.lent += 1
        try:
            while self._idle:
                connection = self._idle.pop()
                if connection.is_closed():
                    del self._recycled_at[connection]
                elif self._recycled_at[connection] < monotonic():
                    await self._close(connection)
                else:
                    return connection
            connection = await self._open()
            if not self._is_closed:
                self._recycled_at[connection] = monotonic() + self._recycle_seconds
        except BaseException:
            self._end_turn()
            raise
        return connection

    def give(self, connection: Connection) -> None:
        """Return a connection for the next borrower."""
        if connection in self._recycled_at:
            self._idle.append(connection)
        else:  # the pool was cleared or closed meanwhile
            connection.terminate()
        self._end_turn()

    async def discard(self, connection: Connection) -> None:
        """Return a connection that must not be lent again: it is closed, and another is opened
        when one is needed."""
        try:
            await self._close(connection)
        finally:
            self._end_turn()

    async def clear(self) -> None:
        """Close all connections, those that are lent when they return. The pool remains usable."""
        idle, self._idle = self._idle, []
        self._recycled_at.clear()
        await asyncio.gather(*map(self._close, idle))

    async def close(self) -> None:
        """Close all connections, also those that a task which outlives the pool will return."""
        self._is_closed = True
        await self.clear()

    def _end_turn(self) -> None:
        self.lent -= 1
        self._turns.release()

    async def _close(self, connection: Connection) -> None:
        """Close a connection, by force if need be. A statement that was cancelled is waited for, so
        that its locks are released."""
        self._recycled_at.pop(connection, None)
        try:
            await asyncio.shield(connection.close(timeout=_CLOSE_SECONDS))
        except Exception:  # it is gone all the same
            connection.terminate()
        except asyncio.CancelledError:
            connection.terminate()
            raise


_lent.set_function(lambda: sum(pool.lent for pool in _pools))
_waiting.set_function(lambda: sum(pool.waiting for pool in _pools))
_size.set_function(lambda: sum(pool.size for pool in _pools))
