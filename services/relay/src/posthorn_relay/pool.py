"""Connections that have carried what there was, kept for a moment: mail to one place often comes in quick succession.

A connection in here holds no slot of its lane; so few are kept, and not for long.
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
from posthorn_relay.transport import Connection

IDLE_SECONDS = 3.0
KEPT_PER_KEY = 4
LIMIT_SECONDS = 3600.0
"""How long a host's limit of messages per connection is remembered."""
MOST_LIMITS = 10_000

_open = Gauge("posthorn_relay_open_connections", "Connections to other hosts, those kept for a moment included")

type Key = tuple[str, str, str | None, bytes | None]


def key_of(due: Due) -> Key:
    """What connections must have in common to serve the same mail: the lane, and how and as whom it is used."""
    route = due.route
    return (due.lane, route.tls, route.username, route.password) if route else (due.lane, "", None, None)


@dataclass(eq=False, slots=True)
class Carrier:
    """A connection with its history."""

    connection: Connection
    key: Key
    parcels: int = 0
    idle_since: float = 0.0


class Pool:
    """Open connections that nobody uses."""

    def __init__(self, parcels: int, most: int) -> None:
        """``parcels``: how many a connection may carry before another is made; ``most``: connections kept at most."""
        self._parcels = parcels
        self._most = most
        self._count = 0
        self._idle: dict[Key, list[Carrier]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._limits: OrderedDict[tuple[str, int], tuple[int, float]] = OrderedDict()

    def made(self, connection: Connection, due: Due) -> Carrier:
        """Count a new connection."""
        _open.inc()
        return Carrier(connection, key_of(due))

    def take(self, due: Due, without: Collection[tuple[str, int]] = ()) -> Carrier | None:
        """Give a usable connection for the destination, the one that was used last; none to the hops ``without``."""
        kept = self._idle.get(key := key_of(due), [])
        for carrier in reversed(kept.copy()):
            if carrier.connection.hop.key in without:
                continue
            kept.remove(carrier)
            self._count -= 1
            if not kept:
                del self._idle[key]
            if carrier.connection.usable and not self.is_worn(carrier):
                return carrier
            self.close(carrier)
        return None

    def give(self, carrier: Carrier) -> None:
        """Keep a connection for a moment, or close it."""
        kept = self._idle.get(carrier.key, [])
        if not carrier.connection.usable or self.is_worn(carrier) or len(kept) >= KEPT_PER_KEY:
            self.close(carrier)
            return
        if self._count >= self._most:  # the key that came first goes first
            oldest = self._idle.pop(next(iter(self._idle)))
            self._count -= len(oldest)
            for each in oldest:
                self.close(each)
        carrier.idle_since = time.monotonic()
        self._idle.setdefault(carrier.key, []).append(carrier)
        self._count += 1

    def is_worn(self, carrier: Carrier) -> bool:
        """Whether it has carried as much as it may, by our settings or by what its host puts up with."""
        limit, until = self._limits.get(_host(carrier), (self._parcels, 0.0))
        return carrier.parcels >= (min(limit, self._parcels) if until > time.monotonic() else self._parcels)

    def ended(self, carrier: Carrier) -> None:
        """Remember how many messages the host takes by one connection: it answered the one after them with 421."""
        if carrier.parcels < 2:
            return
        self._limits[_host(carrier)] = (carrier.parcels - 1, time.monotonic() + LIMIT_SECONDS)
        self._limits.move_to_end(_host(carrier))
        while len(self._limits) > MOST_LIMITS:
            self._limits.popitem(last=False)

    def close(self, carrier: Carrier) -> None:
        """Close a connection, in the background."""
        _open.dec()
        self._run(carrier.connection.close())

    def sweep(self, idle: float = IDLE_SECONDS) -> None:
        """Close what has been idle for so many seconds."""
        before = time.monotonic() - idle
        for key, kept in list(self._idle.items()):
            stays = [carrier for carrier in kept if carrier.idle_since > before and carrier.connection.usable]
            for carrier in kept:
                if carrier not in stays:
                    self._count -= 1
                    self.close(carrier)
            if stays:
                self._idle[key] = stays
            else:
                del self._idle[key]

    def __len__(self) -> int:
        return self._count

    async def end(self, seconds: float) -> None:
        """Close everything; wait for it at most so long."""
        self.sweep(-1.0)
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=seconds)
            for task in late:
                task.cancel()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _host(carrier: Carrier) -> tuple[str, int]:
    hop = carrier.connection.hop
    return (hop.host, hop.port)
