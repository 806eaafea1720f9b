"""The scheduler: which destinations are worked on, and by how many workers.

Theory of operation:

- A look at the queue returns destinations with something due. Each gets one worker; a worker whose
  claim will take it a while calls for another one, as long as next hop and relay have room. So a
  lone message costs one connection, a flood to a slow host gets all that are allowed, and one to a
  fast host few connections with large claims.
- A hand-over (``hand_overs``) starts a worker that has its claim and slot already.
- A look follows a wake-up, the poll interval, finished work, and the end of a worker that a look
  had passed over.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from uuid import UUID

import structlog
from prometheus_client import Gauge

from posthorn.ports.errors import Unavailable
from posthorn.ports.queue import Claim, Due
from posthorn.runtime.tasks import cancel_and_wait
from posthorn_relay.context import RelayPorts, WorkerContext
from posthorn_relay.liveness import FLUSH_SECONDS, Liveness, RelayIdentity
from posthorn_relay.next_hop import NextHops
from posthorn_relay.outcomes import OutcomePolicy
from posthorn_relay.recorder import OutcomeRecorder
from posthorn_relay.settings import RelaySettings
from posthorn_relay.smtp.pool import ConnectionPool
from posthorn_relay.worker import BUSY_SECONDS, Capacity, Destination, Worker, connections_for

log = structlog.get_logger()

_WAIT_SECONDS = 60.0
# seconds; under load every message notifies, and after a quiet moment nobody waits for this
_MIN_LOOK_INTERVAL = 0.02

_workers = Gauge("posthorn_relay_workers", "Workers, each with one connection to a destination")


class Scheduler:
    """Starts workers for what is due. ``on_dsn_due`` is called when DSNs have become due."""

    def __init__(
        self,
        ports: RelayPorts,
        settings: RelaySettings,
        *,
        new_id: Callable[[], UUID],
        on_dsn_due: Callable[[], None],
    ) -> None:
        self._ports = ports
        self._settings = settings
        self._look = asyncio.Event()
        self.recorder = OutcomeRecorder(
            ports.queue, on_dsn_due, lambda relay: self.liveness.retire(relay)
        )
        self.liveness = Liveness(
            ports.queue, self.recorder, new_id=new_id, on_change=self._look.set
        )
        self.pool = ConnectionPool(settings.relay_connection_messages, settings.relay_connections)
        self._context = WorkerContext(
            ports, settings, self.pool, OutcomePolicy(settings), self.recorder, self.liveness
        )
        self._capacity = Capacity(self._begin_if_room, lambda: self._is_room_wanted)
        self.next_hops = NextHops()
        self._destinations: dict[str, Destination] = {}
        self._workers: dict[asyncio.Task[bool], Worker] = {}
        self._later: asyncio.TimerHandle | None = None
        self._is_room_wanted = False
        """The last look left a destination for which there was no room."""

    async def run(self) -> None:
        """Look and start workers until drained."""
        listener = asyncio.create_task(self._listen(), name="notifications")
        try:
            while not self.liveness.is_stopping:
                self._look.clear()
                looked_at = time.monotonic()
                try:
                    await self.liveness.confirmed()
                    if self.liveness.identity.is_retired:
                        await self.liveness.renew()
                    else:
                        await self._begin_what_is_due()
                except Unavailable as fault:
                    log.warning("the queue cannot be read", fault=fault)
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._settings.relay_poll_seconds):
                        await self._look.wait()
                        await asyncio.sleep(looked_at + _MIN_LOOK_INTERVAL - time.monotonic())
        finally:
            await cancel_and_wait(listener)

    async def drain(self, seconds: float) -> None:
        """Claim nothing more, finish transactions in progress within so many seconds, release
        the rest within these or some more. What is not released then is reaped by other relays."""
        deadline = time.monotonic() + seconds
        self.liveness.stop()
        self._look.set()
        identities = self.liveness.identities
        tasks = {task for identity in identities for task in identity.tasks}
        for task in tasks:
            if not self._workers[task].is_sending:  # its jobs are released with all the rest
                task.cancel()
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=seconds)
            if late:
                log.warning(
                    "transactions cut at the end of the grace period", connections=len(late)
                )
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=1)
        deadline = max(deadline, time.monotonic() + FLUSH_SECONDS)
        if not await self.recorder.settled(FLUSH_SECONDS):
            log.error("not all outcomes could be recorded: some messages may be sent twice")
        with suppress(Unavailable, TimeoutError):
            async with asyncio.timeout(deadline - time.monotonic()):
                for identity in identities:
                    await self._ports.queue.leave(identity.id)
        await self.pool.end(2)

    async def _listen(self) -> None:
        while True:
            for name in await self._ports.notifications.wait(_WAIT_SECONDS):
                if not self._call(name):
                    self._look.set()

    def _call(self, name: str) -> bool:
        """Tell a worker that is about to claim that more is due; return False when there is
        none."""
        destination = self._destinations.get(name)
        if (
            destination is None
            or not destination.workers
            or destination.next_hop.failures
            or not destination.is_soon_free(time.monotonic())
        ):
            return False
        destination.call()
        self._look_later()
        return True

    async def _begin_what_is_due(self) -> None:
        limit = max(200, 2 * self._settings.relay_connections)
        identity = self.liveness.identity
        self._is_room_wanted = False
        for due in await self._ports.queue.due(limit):
            if (
                identity is not self.liveness.identity
                or identity.is_retired
                or self.liveness.is_stopping
            ):
                return
            destination = self._destinations.get(due.destination)
            if destination is None:
                destination = Destination(due, self.next_hops.get(due.next_hop))
            elif destination.workers:
                destination.call()
                if destination.due != due:
                    # its route has changed: workers finish by the old one, the next ones go by the
                    # new one
                    destination = Destination(due, self.next_hops.get(due.next_hop))
                elif destination.next_hop.failures:
                    continue
                elif destination.is_soon_free(time.monotonic()):
                    self._look_later()
                    continue
                # else all are busy with a host that may be slow: what is due need not wait for them
            if self._has_room(destination, identity):
                self._destinations[due.destination] = destination
                self._begin(destination, identity)
            else:
                self._is_room_wanted = True
        if self._is_room_wanted:
            for destination in self._destinations.values():
                destination.wanted.set()

    def _look_later(self) -> None:
        """Look again soon: a worker may be busy for longer than it seemed."""
        if self._later is None or self._later.when() < asyncio.get_running_loop().time():
            self._later = asyncio.get_running_loop().call_later(2 * BUSY_SECONDS, self._look.set)

    def _has_room(self, destination: Destination, identity: RelayIdentity) -> bool:
        connections = connections_for(destination.due, self._settings)
        return len(
            identity.tasks
        ) < self._settings.relay_connections and destination.next_hop.has_room(connections)

    def _begin_if_room(self, destination: Destination, identity: RelayIdentity) -> None:
        if self._has_room(destination, identity):
            self._begin(destination, identity)

    def slots(self) -> set[UUID]:
        """Return the slots that workers hold."""
        return {worker.slot for worker in self._workers.values() if worker.slot is not None}

    def has_connections(self) -> bool:
        """Return whether this relay may open another connection."""
        return len(self.liveness.identity.tasks) < self._settings.relay_connections

    def begin_handed(self, due: Due, identity: RelayIdentity, claim: Claim) -> None:
        """Start a worker with a claim that was handed over."""
        destination = self._destinations.get(due.destination)
        if destination is None or destination.due != due:
            destination = Destination(due, self.next_hops.get(due.next_hop))
            self._destinations[due.destination] = destination
        self._begin(destination, identity, claim)

    def _begin(
        self, destination: Destination, identity: RelayIdentity, handed: Claim | None = None
    ) -> None:
        destination.workers += 1
        destination.next_hop.workers += 1
        _workers.inc()
        worker = Worker(self._context, destination, identity, self._capacity, handed)
        task = asyncio.create_task(worker.run(), name=f"to {destination.due.destination}")
        identity.tasks.add(task)
        self._workers[task] = worker
        task.add_done_callback(lambda task: self._ended(task, destination, identity))

    def _ended(
        self, task: asyncio.Task[bool], destination: Destination, identity: RelayIdentity
    ) -> None:
        identity.tasks.discard(task)
        del self._workers[task]
        destination.workers -= 1
        destination.next_hop.workers -= 1
        _workers.dec()
        name = destination.due.destination
        if not destination.workers and self._destinations.get(name) is destination:
            del self._destinations[name]
        has_sent = False
        if not task.cancelled():
            if error := task.exception():
                log.error("a worker failed", destination=name, exc_info=error)
                identity.is_retired = True  # nobody else knows what it had claimed
            else:
                has_sent = task.result()
        if (
            destination.due_again.is_set()
            or identity.is_retired
            or (has_sent and self._is_room_wanted)
        ):
            self._look.set()
