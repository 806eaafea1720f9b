"""A worker's connection to the hosts of its destination: kept between messages, taken from the
pool, or new.

Rules:

- Hosts are tried in the order of the plan; one that failed recently comes after the others.
- A new connection is reported to the queue, where the next hop may be closed.
- Messages that need no TLS (RFC 8689) go by connections of their own, which hold to no policy of the
  destination, are used for nothing else and count in no TLS report (RFC 8460 §3).
- A next hop whose hosts are all down is closed for all relays, longer each time in a row.
"""

from __future__ import annotations

import random
import re
from collections.abc import Collection, Sequence
from contextlib import suppress

import structlog
from prometheus_client import Counter

from posthorn.model.retry import NEXT_HOP
from posthorn.ports.errors import Unavailable
from posthorn.ports.queue import Due
from posthorn_relay.context import RelayPorts
from posthorn_relay.next_hop import NextHop
from posthorn_relay.smtp.pool import ConnectionPool, PooledConnection
from posthorn_relay.smtp.types import Failed, MailTransaction, RemoteHost

log = structlog.get_logger()

_closures = Counter(
    "posthorn_relay_next_hop_closures_total",
    "Times that a next hop was closed because its hosts were down",
)
_ADDRESS = re.compile(r"[^\s<>]+@[^\s<>]+")


class HostConnections:
    """The connection of one worker. At most one is in use at a time."""

    def __init__(
        self,
        ports: RelayPorts,
        pool: ConnectionPool,
        due: Due,
        next_hop: NextHop,
        *,
        without_policies: bool = False,
    ) -> None:
        self._ports = ports
        self._pool = pool
        self._due = due
        self._next_hop = next_hop
        self.without_policies = without_policies
        self._current: PooledConnection | None = None
        self._hosts: Sequence[RemoteHost] = ()

    async def hosts(self) -> Sequence[RemoteHost]:
        """Return the hosts of the destination as they were planned last. Raises Failed."""
        return self._hosts or await self._plan()

    async def get(
        self, tried: Collection[tuple[str, int]], transaction: MailTransaction
    ) -> PooledConnection:
        """Return a connection for the transaction, to a host that was not ``tried``. Raises Failed
        when there is none.

        One that the transaction was announced on is returned even if it is not usable any more:
        what that means for the transaction is decided there.
        """
        if self._current is not None:
            connection = self._current.connection
            is_fit = (
                connection.usable
                if connection.announced is None
                else connection.announced is transaction
            )
            if is_fit and connection.remote.key not in tried:
                return self._current
            self.give_back()
        pooled = None if self.without_policies else self._pool.take(self._due, tried)
        pooled = pooled or await self._connect(tried)
        self._current = pooled
        self._next_hop.connected += not self.without_policies
        return pooled

    def give_back(self) -> None:
        """Give the current connection to the pool."""
        if self.without_policies:
            self.close()
        elif pooled := self._leave():
            self._pool.give(pooled)

    def close(self) -> None:
        """Close the current connection."""
        if pooled := self._leave():
            self._pool.close(pooled)

    async def close_next_hop(self, failed: Failed) -> float:
        """Close the next hop, whose hosts are down; return for how many seconds."""
        next_hop = self._next_hop
        pause = NEXT_HOP.pause(next_hop.failures, random.random())  # noqa: S311 - spreads load, keeps no secret
        if next_hop.is_closed:
            return pause
        # before the queue answers, so that other workers do not do the same
        next_hop.close(next_hop.failures + 1)
        _closures.inc()
        log.warning(
            "next hop closed for a while",
            next_hop=next_hop.key,
            seconds=round(pause),
            reply=failed.reply,
        )
        try:
            # it is shown to everybody whose mail waits for this host
            reply = _ADDRESS.sub("…", failed.reply)
            next_hop.close(
                await self._ports.queue.close_next_hop(next_hop.key, pause, failed.host, reply)
            )
        except Unavailable as fault:
            log.warning("next hop closed in this relay only", next_hop=next_hop.key, fault=fault)
        return pause

    @property
    def _is_reported(self) -> bool:
        """Whether sessions count for TLS reports: with the destination's own hosts, and not with a
        smart host."""
        return not self.without_policies and (self._due.route is None or not self._due.route.host)

    def _leave(self) -> PooledConnection | None:
        pooled, self._current = self._current, None
        if pooled is not None:
            self._next_hop.connected -= not self.without_policies
        return pooled

    async def _plan(self) -> Sequence[RemoteHost]:
        self._hosts = await self._ports.planner.plan(
            self._due.destination, self._due.route, without_policies=self.without_policies
        )
        return self._hosts

    async def _connect(self, tried: Collection[tuple[str, int]]) -> PooledConnection:
        failure: Failed | None = None
        for remote in self._next_hop.order(await self._plan()):
            if remote.key in tried:
                continue
            try:
                connection = await self._ports.connector.connect(remote)
            except Failed as failed:
                self._next_hop.host_failed(remote)
                if self._is_reported and failed.tls_result is not None:
                    self._ports.tls_tally.failed(self._due.destination, remote, failed.tls_result)
                log.info(
                    "connection failed",
                    destination=self._due.destination,
                    host=failed.host,
                    stage=failed.stage,
                    reply=failed.reply,
                )
                # a reply says more than silence
                if failure is None or failed.code or not failure.code:
                    failure = failed
                continue
            if self._is_reported:
                self._ports.tls_tally.connected(self._due.destination, remote, connection.tls)
            pooled = self._pool.made(connection, self._due)
            if not self.without_policies and self._next_hop.failures:
                log.info("next hop open again", next_hop=self._next_hop.key)
            if not self.without_policies and self._next_hop.open():
                await self._open_next_hop(pooled)
            return pooled
        raise failure or Failed("dns", 0, "4.4.3", "no host was found", permanent=False)

    async def _open_next_hop(self, pooled: PooledConnection) -> None:
        try:
            with suppress(Unavailable):  # the next connection reports it again
                await self._ports.queue.open_next_hop(self._next_hop.key)
        except BaseException:
            self._pool.close(pooled)
            raise
