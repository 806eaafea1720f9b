"""A worker's way to one destination: hops in order, a connection over many parcels, an outcome for every recipient.

Rules:

- Every recipient that was claimed gets exactly one outcome, whatever happens; only a relay that was taken for dead gives none.
- The next hop is tried when one fails as a host, and for the recipients that one gave a transient answer (``rounds``). When all
  fail as hosts, the lane is closed for everybody, and what is at hand is put off.
- A hop that takes a message for nobody, for the time being, stands behind the others for a while.
- A host that refuses one more connection while it serves others of ours is not down: what is at hand goes back, and for a while
  no more connections are opened than it put up with.
- A connection that has carried messages and is closed, or answered 421, is no failure: the parcel goes by a new one, and how many
  messages the host took before 421 is remembered (``pool``). A new one that is closed at MAIL, or answered 421, counts as the
  host's failure, so that a busy host is not asked by every message in turn.
- A fault of ours (the store does not give the octets) puts the message off for a little while.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

import structlog
from prometheus_client import Counter, Histogram

from posthorn.model.events import BOUNCED, DEFERRED, DELIVERED, Event
from posthorn.model.outbound import QueueState
from posthorn.model.retry import LANE
from posthorn.ports.errors import Unavailable
from posthorn.ports.events import Events
from posthorn.ports.notifications import Notifications
from posthorn.ports.queue import Due, Job, Outcome, Queue
from posthorn.ports.sending import Throttle
from posthorn_relay.lanes import Lane
from posthorn_relay.parcels import Bodies, groups, parcel
from posthorn_relay.pool import Carrier, Pool
from posthorn_relay.recorder import Recorder
from posthorn_relay.rounds import Round
from posthorn_relay.transport import Accepted, Connector, Failed, Hop, Parcel, Planner, Verdict
from posthorn_relay.verdicts import Judge

log = structlog.get_logger()

_attempts = Counter(
    "posthorn_relay_attempts_total",
    "Recipients tried, by what became of them and the stage that decided it",
    ["result", "stage"],
)
_closures = Counter("posthorn_relay_lane_closures_total", "Times that a host was found down and left alone for a while")
_latency = Histogram(
    "posthorn_relay_delivery_seconds",
    "From a recipient's entry into the queue to the remote host's 250",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600, 3600, 14400, 86400, 432000),
)

_KINDS = {
    QueueState.DELIVERED: DELIVERED,
    QueueState.DEFERRED: DEFERRED,
    QueueState.QUEUED: DEFERRED,  # by a fault of ours
    QueueState.BOUNCED: BOUNCED,
}
_HINDERED = "the message could not be read here; it is tried again"
_IDLE = "4.4.2"
"""Status of a 421 that is about time and not about a number of messages."""
_ADDRESS = re.compile(r"[^\s<>]+@[^\s<>]+")


@dataclass(frozen=True, slots=True)
class Parts:
    """What a relay works with."""

    queue: Queue
    planner: Planner
    connector: Connector
    bodies: Bodies
    wakes: Notifications
    events: Events
    throttle: Throttle | None = None
    """Counts reports to strangers."""


class Carriage:
    """Carries what one worker claims. ``may_go_on``: waits while the relay must not begin anything, False when it stops."""

    def __init__(
        self,
        parts: Parts,
        pool: Pool,
        judge: Judge,
        recorder: Recorder,
        due: Due,
        lane: Lane,
        relay: UUID,
        may_go_on: Callable[[], Awaitable[bool]],
    ) -> None:
        self._parts = parts
        self._pool = pool
        self._judge = judge
        self._recorder = recorder
        self._due = due
        self._lane = lane
        self._relay = relay
        self._may_go_on = may_go_on
        self._carrier: Carrier | None = None
        self._hops: Sequence[Hop] = ()
        self.is_sending = False
        """A transaction is under way: to be cut short now might mean to send the message twice."""

    async def carry(self, jobs: Sequence[Job]) -> bool:
        """Give every job its outcome; False when the worker should end."""
        left = {job.id: job for job in jobs}
        try:
            return await self._carry_all(left)
        except asyncio.CancelledError:
            left.clear()  # given back by whoever cancels
            raise
        except Exception:
            log.exception("a claim came to no good end", destination=self._due.destination)
            for job in list(left.values()):
                self._settle(job, self._judge.hindered(job, "an internal error; it is tried again"), left)
            return False
        finally:
            for job in left.values():
                self._recorder.put(self._relay, self._judge.back(job))

    def done(self) -> None:
        """The worker ends."""
        self._let_go(keep=True)

    # One claim

    async def _carry_all(self, left: dict[int, Job]) -> bool:
        for job in list(left.values()):
            if job.suppressed:
                self._settle(job, self._judge.suppressed(job), left)
        whole = self._parts.bodies.whole
        self._parts.bodies.prefetch([job.location for job in left.values() if whole(job.location)])
        for group in groups(left.values()):
            if not await self._may_go_on():
                return False
            try:
                goes_on = await self._carry_group(group, left)
            except Exception:
                log.exception("a message came to no good end", message=str(group[0].message))
                self._let_go()
                fault = Failed("end", 0, "4.3.0", "an internal error; it is tried again", permanent=False)
                of_it = [job for job in group if job.id in left]  # its neighbours need not suffer for it
                self._settle_all(of_it, lambda job, fault=fault: self._judge.outcome(job, fault), left)  # type: ignore[misc]
                continue
            if not goes_on:
                return False
        return True

    async def _carry_group(self, group: list[Job], left: dict[int, Job]) -> bool:
        """Offer a message to the hosts in turn until every recipient has an answer; False when the worker should end."""
        round_ = Round(group)
        parcel_: Parcel | None = None
        while True:
            try:
                if parcel_ is None or len(parcel_.recipients) != len(round_.waiting):
                    parcel_ = await parcel(round_.waiting, self._parts.bodies)
            except Unavailable as fault:
                log.warning("a message's octets are not at hand", message=str(group[0].message), detail=str(fault))
                self._settle_all(round_.waiting, lambda job: self._judge.hindered(job, _HINDERED), left)
                return True
            try:
                carrier = await self._connected(round_.tried)
            except Failed as failed:
                return await self._exhausted(round_, failed, left)
            fresh = carrier.parcels == 0
            carrier.parcels += 1
            self.is_sending = True
            try:
                verdicts = await carrier.connection.send(parcel_)
            except Unavailable as fault:
                log.warning("a message's octets broke off", message=str(group[0].message), detail=str(fault))
                self._let_go()
                self._settle_all(round_.waiting, lambda job: self._judge.hindered(job, _HINDERED), left)
                return True
            finally:
                self.is_sending = False
            for job, verdict in round_.take(verdicts):
                self._settle(job, self._judge.outcome(job, verdict), left, verdict)
            accepted = any(isinstance(verdict, Accepted) for verdict in verdicts)
            if accepted:
                self._lane.worked(carrier.connection.hop)
            if (broken := not carrier.connection.usable) or self._pool.is_worn(carrier):
                self._let_go()
            if not round_.waiting:
                return True
            if not await self._goes_on(round_, carrier, fresh=fresh, broken=broken, accepted=accepted):
                return await self._exhausted(round_, None, left)

    async def _goes_on(self, round_: Round, carrier: Carrier, *, fresh: bool, broken: bool, accepted: bool) -> bool:
        """Tell whether there is another connection to offer the message by, after a transient answer to some recipient."""
        hop, failed = carrier.connection.hop, round_.last
        assert failed is not None
        if broken and not fresh and failed.code == 421 and failed.status != _IDLE:
            self._pool.ended(carrier)
        if round_.is_anew(hop, failed, broken=broken, fresh=fresh):
            return True
        round_.refused(hop, failed, broken=broken, fresh=fresh)
        if not accepted:
            self._lane.failed(hop)
        with suppress(Failed):
            hops = self._hops or await self._plan()
            if any(one.key not in round_.tried for one in hops):
                if not await self._may_go_on():
                    round_.is_down = False  # not all hosts were asked
                    return False
                log.info(
                    "the next host is tried", destination=self._due.destination, host=failed.host, reply=failed.reply
                )
                self._let_go(keep=True)
                return True
        return False

    async def _exhausted(self, round_: Round, failed: Failed | None, left: dict[int, Job]) -> bool:
        """No further host can be asked. ``failed``: what the last connection failed by."""
        if round_.is_down:  # no host took mail at all
            told = round_.answer(round_.waiting[0]) if round_.tried else None
            if told is not None:
                told.stage = "ehlo"
                if failed is None or told.code or not failed.code:
                    failed = told
            assert failed is not None
            self._let_go()
            return await self._unreachable(failed, left)
        for job in round_.waiting:
            answer = round_.answer(job)
            self._settle(job, self._judge.outcome(job, answer), left, answer)
        return True

    # The connection

    async def _connected(self, tried: Collection[tuple[str, int]]) -> Carrier:
        """Give a connection to a hop that is not ``tried``: the one at hand, one kept from before, or a new one. Raises Failed."""
        if self._carrier is not None and self._carrier.connection.usable:
            if self._carrier.connection.hop.key not in tried:
                return self._carrier
            self._let_go(keep=True)
        self._let_go()
        carrier = self._pool.take(self._due, tried)
        if carrier is None:
            carrier = await self._connect(tried)
        self._carrier = carrier
        self._lane.connected += 1
        return carrier

    async def _plan(self) -> Sequence[Hop]:
        self._hops = await self._parts.planner.plan(self._due.destination, self._due.route)
        return self._hops

    async def _connect(self, tried: Collection[tuple[str, int]]) -> Carrier:
        failure: Failed | None = None
        for hop in self._lane.order(await self._plan()):
            if hop.key in tried:
                continue
            try:
                connection = await self._parts.connector.connect(hop)
            except Failed as failed:
                self._lane.failed(hop)
                log.info(
                    "no connection",
                    destination=self._due.destination,
                    host=failed.host,
                    stage=failed.stage,
                    reply=failed.reply,
                )
                if failure is None or failed.code or not failure.code:  # what a host said tells more than silence
                    failure = failed
                continue
            carrier = self._pool.made(connection, self._due)
            if self._lane.opened():
                await self._open_lane(carrier)
            return carrier
        raise failure or Failed("dns", 0, "4.4.3", "no host was found", permanent=False)

    async def _open_lane(self, carrier: Carrier) -> None:
        try:
            with suppress(Unavailable):  # the next connection says it again
                await self._parts.queue.open_lane(self._lane.key)
        except BaseException:
            self._pool.close(carrier)
            raise

    def _let_go(self, *, keep: bool = False) -> None:
        carrier, self._carrier = self._carrier, None
        if carrier is not None:
            self._lane.connected -= 1
            if keep:
                self._pool.give(carrier)
            else:
                self._pool.close(carrier)

    async def _unreachable(self, failed: Failed, left: dict[int, Job]) -> bool:
        """No host of the destination can be had now. Gives False: the worker ends."""
        pause = 0.0
        if failed.is_hosts and self._lane.connected:
            self._lane.cap()
            log.info("the host takes no more connections", lane=self._lane.key, connections=self._lane.connected)
            return False
        if failed.host or (failed.stage == "dns" and not failed.permanent):  # not for want of a route
            pause = await self._close_lane(failed)
        for job in list(left.values()):
            self._settle(job, self._judge.outcome(job, failed, least=pause), left, failed)
        return False

    async def _close_lane(self, failed: Failed) -> float:
        lane = self._lane
        pause = LANE.pause(lane.failures, random.random())  # noqa: S311 - spreads load, keeps no secret
        if lane.is_closed:
            return pause
        lane.closed(lane.failures + 1)  # first, so that the other workers leave it at that
        _closures.inc()
        log.warning("nothing goes this way for a while", lane=lane.key, seconds=round(pause), reply=failed.reply)
        try:
            reply = _ADDRESS.sub("…", failed.reply)  # it is shown to all whose mail waits for this host
            lane.closed(await self._parts.queue.close_lane(lane.key, pause, failed.host, reply))
        except Unavailable as fault:
            log.warning("the lane is closed here alone", lane=lane.key, detail=str(fault))
        return pause

    # Outcomes

    def _settle_all(self, group: list[Job], judge: Callable[[Job], Outcome], left: dict[int, Job]) -> None:
        for job in group:
            self._settle(job, judge(job), left)

    def _settle(self, job: Job, outcome: Outcome, left: dict[int, Job], verdict: Verdict | None = None) -> None:
        del left[job.id]
        self._recorder.put(self._relay, outcome)
        stage = verdict.stage if isinstance(verdict, Failed) else "end" if isinstance(verdict, Accepted) else "ours"
        _attempts.labels(outcome.state.value, stage).inc()
        now = time.time()
        if outcome.state is QueueState.DELIVERED:
            _latency.observe(max(0.0, now - job.created_at.timestamp()))
        log.info(
            outcome.state.value,
            message=str(job.message),
            destination=self._due.destination,
            host=outcome.host,
            reply=outcome.reply,
            tls=outcome.tls,
            attempt=job.attempts + 1,
        )
        detail: dict[str, object] = {
            "recipient": job.recipient,
            "host": outcome.host,
            "reply": outcome.reply,
            "tls": outcome.tls,
        }
        if job.original:
            detail["original"] = job.original
        if outcome.retry_in:
            detail["next_attempt_at"] = round(now + outcome.retry_in, 3)
        if outcome.state is QueueState.BOUNCED:
            detail["status"] = outcome.status
        self._parts.events.record(Event(job.message, now, _KINDS[outcome.state], detail))
