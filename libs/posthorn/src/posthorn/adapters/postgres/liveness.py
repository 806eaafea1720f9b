"""Liveness of connections: tells a slow statement from a dead connection, so that a vanished peer
is detected within seconds.

Theory of operation:

- The kernel gives up a connection whose packets are not acknowledged (keep-alives,
  TCP_USER_TIMEOUT). That is not enough where a middlebox acknowledges packets and then loses them.
- Once a connection has been in use for ``PATIENCE_SECONDS``, a second connection asks the server
  for the state of the first one's backend. One that works (``active``) is slow and is left alone.
  One that is gone, or idle in two checks in a row while no statement was begun or ended here, has
  lost a packet in either direction: its connection is aborted, so that its user gets Unavailable at
  once; and the backend is terminated, so that its locks are released.
- Idle connections of the pool used the same path and are closed as well.
- While a second connection cannot reach the server either, nothing can be decided, and all users
  wait within their limits.
- Behind a pooler the backends' process ids differ from what connections report. The second
  connection detects that for itself; then only the kernel's limits and the statement timeout apply.
- A connection must not stay in use without a statement for longer than about two checks: it would
  be taken for dead.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from weakref import WeakSet

import asyncpg
import structlog

log = structlog.get_logger()

type Connection = asyncpg.Connection[asyncpg.Record]

PATIENCE_SECONDS = 2.0
"""Seconds that a connection may be in use before it is checked."""
LOOK_SECONDS = 1.0
"""From one look to the next."""
_PROBE_SECONDS = 2.0
_UNACKNOWLEDGED_SECONDS = 8
_KEEPALIVE = {
    "TCP_KEEPIDLE": 2,
    "TCP_KEEPINTVL": 2,
    "TCP_KEEPCNT": 3,
    "TCP_USER_TIMEOUT": _UNACKNOWLEDGED_SECONDS * 1000,
}

_LOOK = """
SELECT pid, state, state_change, pid = pg_backend_pid() AS own FROM pg_stat_activity
WHERE pid = ANY($1::int[]) OR pid = pg_backend_pid()
"""
_END = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = ANY($1::int[]) AND usename = current_user"
_FAULTS = (
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)


@dataclass(slots=True)
class _Lent:
    since: float
    seen: tuple[datetime | None, int] | None = None
    """Result of the last check, when the backend was idle: since when, and how many statements
    were begun here."""


class Liveness:
    """Monitors the connections of a pool."""

    def __init__(self) -> None:
        self._all: WeakSet[Connection] = WeakSet()
        self._lent: dict[Connection, _Lent] = {}

    def opened(self, connection: Connection) -> None:
        """Start monitoring a new connection of the pool, and set the kernel's limits for it.

        It counts as in use from now on: the pool's library runs statements of its own over it
        first.
        """
        self._all.add(connection)
        self.lent(connection)
        limit_silence(connection)

    def lent(self, connection: Connection) -> None:
        """Record that the connection is in use."""
        self._lent[connection] = _Lent(time.monotonic())

    def returned(self, connection: Connection) -> None:
        """Record that the connection is returned."""
        self._lent.pop(connection, None)

    async def run(self, open_probe: Callable[[float], Awaitable[Connection]]) -> None:
        """Check connections in use until cancelled. ``open_probe`` connects outside the pool,
        within so many seconds."""
        probe: Connection | None = None
        try:
            while True:
                await asyncio.sleep(LOOK_SECONDS)
                now = time.monotonic()
                for closed in [each for each in self._lent if each.is_closed()]:
                    del self._lent[closed]
                overdue = [
                    each for each, lent in self._lent.items() if now - lent.since > PATIENCE_SECONDS
                ]
                try:
                    if overdue:
                        probe = probe or await open_probe(_PROBE_SECONDS)
                        await self._look(probe, overdue)
                        continue
                except _FAULTS as fault:
                    log.info("a second connection to Postgres fails as well", fault=fault)
                except Exception:
                    log.exception("checking connections to Postgres failed; trying again")
                if probe is not None:
                    probe.terminate()
                    probe = None
        finally:
            if probe is not None:
                probe.terminate()

    async def _look(self, probe: Connection, overdue: list[Connection]) -> None:
        place = _peer(probe)  # of several servers only the queried one can be judged
        pids = {
            each: each.get_server_pid()
            for each in overdue
            if not each.is_closed() and _peer(each) == place
        }
        rows = {
            row["pid"]: row
            for row in await probe.fetch(_LOOK, list(pids.values()), timeout=_PROBE_SECONDS)
        }
        own = rows.get(probe.get_server_pid())
        if own is None or not own["own"]:
            return  # a pooler is in between
        dead = [each for each, pid in pids.items() if self._is_dead(each, rows.get(pid))]
        if not dead:
            return
        idle = [
            each
            for each in self._all
            if each not in self._lent and not each.is_closed() and _peer(each) == place
        ]
        log.warning("connections to Postgres were lost silently", lent=len(dead), idle=len(idle))
        ended = [each.get_server_pid() for each in (*dead, *idle)]
        for connection in (*dead, *idle):
            connection.terminate()
        await probe.execute(_END, ended, timeout=_PROBE_SECONDS)

    def _is_dead(self, connection: Connection, row: asyncpg.Record | None) -> bool:
        lent = self._lent.get(connection)
        if lent is None or connection.is_closed():
            return False  # it was returned meanwhile
        if row is None:
            return True
        if row["state"] is None or not row["state"].startswith("idle"):
            lent.seen = None
            return False
        found = row["state_change"], connection._protocol.queries_count  # type: ignore[attr-defined]
        before, lent.seen = lent.seen, found
        return before == found


def _peer(connection: Connection) -> object:
    return connection._transport.get_extra_info("peername")  # type: ignore[attr-defined]


def limit_silence(connection: Connection) -> None:
    """Make the kernel give up the connection after some seconds without acknowledgements from
    the peer."""
    found = connection._transport.get_extra_info("socket")  # type: ignore[attr-defined]
    if found is None or found.family not in (socket.AF_INET, socket.AF_INET6):
        return
    found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE.items():
        if hasattr(socket, name):  # Linux has all of them
            found.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
