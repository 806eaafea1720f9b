"""Sending what one claim took: transaction by transaction, host by host, a result for every
recipient.

Rules:

- Every claimed recipient gets exactly one outcome (``claimed``); only a relay that was reaped gives
  none.
- The next host is tried when one fails as a host, and for the recipients to whom one gave a
  transient answer (``attempt``). When all hosts fail as such, the next hop is closed and the jobs
  are deferred.
- A host that takes a message for nobody, for the time being, is tried after the others for a while.
- A host that refuses one more connection while it serves others of ours is not down: the jobs are
  released, and for a while no more connections are opened than it accepted.
- A connection that has carried messages and is closed, or answered 421, is no failure: a new one is
  used, and how many messages the host took before 421 is remembered (``pool``). A new one that is
  closed at MAIL, or answered 421, is a failure of the host, so that a busy host is not tried by
  every message in turn.
- Where the TLS that the destination demands cannot be had, the messages that need none are still
  sent (RFC 8689 §3), TLS reports among them (RFC 8460 §3): the worker goes on to whatever is due,
  and closes the next hop at its end.
- A local fault (the store does not return the body) defers the message for a little while.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import zip_longest
from uuid import UUID

import structlog

from posthorn.ports.errors import Unavailable
from posthorn.ports.queue import Due, Job
from posthorn.runtime import traces
from posthorn_relay.attempt import Attempt
from posthorn_relay.claimed import ClaimedJobs
from posthorn_relay.context import WorkerContext
from posthorn_relay.host_connections import HostConnections
from posthorn_relay.next_hop import NextHop
from posthorn_relay.outcomes import LocalFault, Released, Suppressed
from posthorn_relay.smtp.pool import PooledConnection
from posthorn_relay.smtp.types import Accepted, Failed, MailTransaction
from posthorn_relay.tracing import trace_attempt
from posthorn_relay.transactions import groups, transaction_for

log = structlog.get_logger()

_UNREADABLE = LocalFault("the message could not be read here; it is tried again")
_INTERNAL_ERROR = "an internal error; it is tried again"
_IDLE = "4.4.2"
"""Status of a 421 that is about time, not about the number of messages."""


class ClaimSender:
    """Sends what one worker claims for a destination."""

    def __init__(self, context: WorkerContext, due: Due, next_hop: NextHop, relay: UUID) -> None:
        self._context = context
        self._bodies = context.ports.bodies
        self._due = due
        self._next_hop = next_hop
        self._relay = relay
        self._connections = HostConnections(context.ports, context.pool, due, next_hop)
        self._unsecured = HostConnections(
            context.ports, context.pool, due, next_hop, without_policies=True
        )
        self._next: tuple[Sequence[Job], MailTransaction] | None = None
        """The group that follows, with its transaction."""
        self._tls_failure: Failed | None = None
        """Why messages that need TLS cannot be sent."""
        self.is_sending = False
        """A transaction is in progress: cutting it short could send the message twice."""

    async def send(self, jobs: Sequence[Job]) -> bool:
        """Give every job its outcome; return whether the worker may claim more."""
        context = self._context
        claimed = ClaimedJobs(
            jobs,
            self._due,
            self._relay,
            context.policy,
            context.recorder,
            context.ports.events,
        )
        try:
            return await self._send_all(claimed)
        except asyncio.CancelledError:
            claimed.drop()
            raise
        except Exception:
            log.exception("a claim failed", destination=self._due.destination)
            claimed.settle_all(claimed.open, LocalFault(_INTERNAL_ERROR))
            return False
        finally:
            claimed.settle_all(claimed.open, Released())

    def done(self) -> None:
        """Return the connection to the pool: the worker ends."""
        self._connections.give_back()
        self._unsecured.close()

    async def close_for_want_of_tls(self) -> None:
        """Close the next hop if it has not the TLS that its domain demands."""
        if self._tls_failure is not None:
            await self._connections.close_next_hop(self._tls_failure)

    async def _send_all(self, claimed: ClaimedJobs) -> bool:
        claimed.settle_all([job for job in claimed.open if job.suppressed], Suppressed())
        whole = self._bodies.whole
        self._bodies.prefetch([job.location for job in claimed.open if whole(job.location)])
        queue = groups(claimed.open)
        for group, next_group in zip_longest(queue, queue[1:]):
            if not await self._context.liveness.may_begin():
                return False
            try:
                goes_on = await self._send_group(group, claimed, next_group)
            except Exception:
                log.exception("a message failed", message=str(group[0].message))
                self._connections.close()
                self._unsecured.close()
                # the others still go
                claimed.settle_all(group, LocalFault(_INTERNAL_ERROR, is_attempt=True))
                continue
            if not goes_on:
                return False
        return True

    def _connections_for(self, transaction: MailTransaction) -> HostConnections:
        """Return the kind of connections that a message goes by; none of the other kind stays
        open."""
        kinds = self._connections, self._unsecured
        fit, other = reversed(kinds) if transaction.tls_optional else kinds
        other.give_back()
        return fit

    async def _following(
        self, group: Sequence[Job] | None, transaction: MailTransaction, pooled: PooledConnection
    ) -> MailTransaction | None:
        """Return the transaction that follows by the same connection; None where that is not
        certain, or its body is not here yet."""
        if group is None or self._context.pool.is_worn(pooled):
            return None
        location = group[0].location
        if not self._bodies.whole(location) or self._bodies.cached(location) is None:
            return None
        following = await transaction_for(group, self._bodies)
        if following.tls_optional is not transaction.tls_optional:
            return None
        self._next = group, following
        return following

    async def _send_group(
        self, group: Sequence[Job], claimed: ClaimedJobs, next_group: Sequence[Job] | None
    ) -> bool:
        """Offer a message to the hosts in turn until every recipient has a result; return False
        to end the worker. ``next_group`` is sent after it."""
        attempt = Attempt(group)
        transaction: MailTransaction | None = None
        if self._next is not None and self._next[0] is group:
            transaction = self._next[1]
        self._next = None
        while True:
            try:
                if transaction is None or len(transaction.recipients) != len(attempt.waiting):
                    transaction = await transaction_for(attempt.waiting, self._bodies)
            except Unavailable as fault:
                log.warning("a message cannot be read", message=str(group[0].message), fault=fault)
                claimed.settle_all(attempt.waiting, _UNREADABLE)
                return True
            if self._tls_failure is not None and not transaction.tls_optional:
                claimed.settle_all(attempt.waiting, self._tls_failure)
                return True
            connections = self._connections_for(transaction)
            tracer = traces.tracer
            began = 0 if tracer is None else time.time_ns()
            try:
                pooled = await connections.get(attempt.tried, transaction)
            except Failed as failed:
                if tracer is not None:
                    trace_attempt(tracer, attempt.waiting, began, [failed])
                return await self._exhausted(attempt, failed, claimed, connections)
            fresh = pooled.transactions == 0
            pooled.transactions += 1
            self.is_sending = True
            try:
                following = await self._following(next_group, transaction, pooled)
                results = await pooled.connection.send(transaction, following)
            except Unavailable as fault:
                log.warning(
                    "reading a message failed midway",
                    message=str(group[0].message),
                    fault=fault,
                )
                connections.close()
                claimed.settle_all(attempt.waiting, _UNREADABLE)
                return True
            finally:
                self.is_sending = False
            if tracer is not None:
                trace_attempt(tracer, attempt.waiting, began, results)
            for job, result in attempt.take(results):
                claimed.settle(job, result)
            accepted = any(isinstance(result, Accepted) for result in results)
            if accepted:
                self._next_hop.host_worked(pooled.connection.remote)
            broken = not pooled.connection.usable
            if not attempt.waiting and pooled.connection.announced is not None:
                return True  # also a broken one: the message that was announced meets it there
            if broken or self._context.pool.is_worn(pooled):
                connections.close()
            if not attempt.waiting:
                return True
            if not await self._has_next(
                attempt, connections, pooled, fresh=fresh, broken=broken, accepted=accepted
            ):
                return await self._exhausted(attempt, None, claimed, connections)

    async def _has_next(
        self,
        attempt: Attempt,
        connections: HostConnections,
        pooled: PooledConnection,
        *,
        fresh: bool,
        broken: bool,
        accepted: bool,
    ) -> bool:
        """Return whether to go on with another connection, after a transient answer to some
        recipient."""
        remote, failed = pooled.connection.remote, attempt.last
        assert failed is not None
        if broken and not fresh and failed.code == 421 and failed.status != _IDLE:
            self._context.pool.ended(pooled)
        if attempt.is_retried_at_once(remote, failed, broken=broken, fresh=fresh):
            return True
        attempt.refused(remote, failed, broken=broken, fresh=fresh)
        if not accepted:
            self._next_hop.host_failed(remote)
        with suppress(Failed):
            if any(one.key not in attempt.tried for one in await connections.hosts()):
                if not await self._context.liveness.may_begin():
                    attempt.is_down = False  # not all hosts were tried
                    return False
                log.info(
                    "trying the next host",
                    destination=self._due.destination,
                    host=failed.host,
                    reply=failed.reply,
                )
                connections.give_back()
                return True
        return False

    async def _exhausted(
        self,
        attempt: Attempt,
        failed: Failed | None,
        claimed: ClaimedJobs,
        connections: HostConnections,
    ) -> bool:
        """Settle what no further host can be tried for. ``failed``: why the last connection
        failed."""
        if attempt.is_down:  # no host took mail at all
            answer = attempt.answer(attempt.waiting[0]) if attempt.tried else None
            if answer is not None:
                answer.stage = "ehlo"
                if failed is None or answer.code or not failed.code:
                    failed = answer
            assert failed is not None
            connections.close()
            return await self._unreachable(failed, attempt, claimed, connections)
        for job in attempt.waiting:
            claimed.settle(job, attempt.answer(job))
        return True

    async def _unreachable(
        self,
        failed: Failed,
        attempt: Attempt,
        claimed: ClaimedJobs,
        connections: HostConnections,
    ) -> bool:
        """Settle all jobs that need what cannot be had: no host of the destination can be reached
        now, or none with TLS. Return False to end the worker."""
        pause = 0.0
        if failed.is_about_host and self._next_hop.connected:
            self._next_hop.cap_connections()
            log.info(
                "the host takes no more connections",
                next_hop=self._next_hop.key,
                connections=self._next_hop.connected,
            )
            return False
        if failed.is_about_tls and not connections.without_policies:
            self._tls_failure = failed
            claimed.settle_all(attempt.waiting, failed)
            return True
        # not for want of a route
        if failed.host or (failed.stage == "dns" and not failed.permanent):
            pause = await connections.close_next_hop(failed)
        claimed.settle_all(claimed.open, failed, min_pause_seconds=pause)
        return False
