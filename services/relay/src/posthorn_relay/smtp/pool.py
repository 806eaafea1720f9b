"""Idle connections, kept for a moment: mail to one destination often comes in quick succession.

An idle connection holds no slot of its next hop; so few are kept, and not for long.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Collection, Coroutine
from dataclasses import dataclass
from typing import Any

from prometheus_client import Gauge

from posthorn.ports.queue import Due
from posthorn_relay.smtp.types import Connection

IDLE_SECONDS = 3.0
KEPT_PER_KEY = 4
LIMIT_SECONDS = 3600.0
"""How long a host's limit of messages per connection is remembered."""
MOST_LIMITS = 10_000

_open = Gauge("posthorn_relay_open_connections", "Connections to other hosts, idle ones included")

type Key = tuple[str, str, str | None, bytes | None]


def key_of(due: Due) -> Key:
    """Return what connections must have in common to serve the same mail: next hop, TLS and
    login."""
    route = due.route
    return (
        (due.next_hop, route.tls, route.username, route.password)
        if route
        else (due.next_hop, "", None, None)
    )


@dataclass(eq=False, slots=True)
class PooledConnection:
    """A connection with its history."""

    connection: Connection
    key: Key
    transactions: int = 0
    idle_since: float = 0.0


class ConnectionPool:
    """Open connections that no worker uses."""

    def __init__(self, transactions: int, most: int) -> None:
        """``transactions``: limit of transactions by one connection; ``most``: limit of idle
        connections."""
        self._transactions = transactions
        self._most = most
        self._count = 0
        self._idle: dict[Key, list[PooledConnection]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._limits: OrderedDict[tuple[str, int], tuple[int, float]] = OrderedDict()

    def made(self, connection: Connection, due: Due) -> PooledConnection:
        """Count a new connection."""
        _open.inc()
        return PooledConnection(connection, key_of(due))

    def take(self, due: Due, without: Collection[tuple[str, int]] = ()) -> PooledConnection | None:
        """Return a usable connection for the destination, the one used last; none to the hosts
        ``without``."""
        kept = self._idle.get(key := key_of(due), [])
        for pooled in reversed(kept.copy()):
            if pooled.connection.remote.key in without:
                continue
            kept.remove(pooled)
            self._count -= 1
            if not kept:
                del self._idle[key]
            if pooled.connection.usable and not self.is_worn(pooled):
                return pooled
            self.close(pooled)
        return None

    def give(self, pooled: PooledConnection) -> None:
        """Keep an idle connection for a moment, or close it."""
        kept = self._idle.get(pooled.key, [])
        connection = pooled.connection
        is_free = connection.usable and connection.announced is None
        if not is_free or self.is_worn(pooled) or len(kept) >= KEPT_PER_KEY:
            self.close(pooled)
            return
        if self._count >= self._most:  # those of the oldest key go first
            oldest = self._idle.pop(next(iter(self._idle)))
            self._count -= len(oldest)
            for each in oldest:
                self.close(each)
        pooled.idle_since = time.monotonic()
        self._idle.setdefault(pooled.key, []).append(pooled)
        self._count += 1

    def is_worn(self, pooled: PooledConnection) -> bool:
        """Return whether it has carried as many transactions as the settings, or its host,
        allow."""
        limit, until = self._limits.get(_host(pooled), (self._transactions, 0.0))
        return pooled.transactions >= (
            min(limit, self._transactions) if until > time.monotonic() else self._transactions
        )

    def ended(self, pooled: PooledConnection) -> None:
        """Remember how many messages the host takes by one connection: it answered the next one
        with 421."""
        if pooled.transactions < 2:
            return
        self._limits[_host(pooled)] = (pooled.transactions - 1, time.monotonic() + LIMIT_SECONDS)
        self._limits.move_to_end(_host(pooled))
        while len(self._limits) > MOST_LIMITS:
            self._limits.popitem(last=False)

    def close(self, pooled: PooledConnection) -> None:
        """Close a connection, in the background."""
        _open.dec()
        self._run(pooled.connection.close())

    def sweep(self, idle: float = IDLE_SECONDS) -> None:
        """Close what has been idle for ``idle`` seconds."""
        before = time.monotonic() - idle
        for key, kept in list(self._idle.items()):
            stays = [
                pooled for pooled in kept if pooled.idle_since > before and pooled.connection.usable
            ]
            for pooled in kept:
                if pooled not in stays:
                    self._count -= 1
                    self.close(pooled)
            if stays:
                self._idle[key] = stays
            else:
                del self._idle[key]

    def __len__(self) -> int:
        return self._count

    async def end(self, seconds: float) -> None:
        """Close everything; wait for it at most so many seconds."""
        self.sweep(-1.0)
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=seconds)
            for task in late:
                task.cancel()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _host(pooled: PooledConnection) -> tuple[str, int]:
    remote = pooled.connection.remote
    return (remote.host, remote.port)
