"""The relay's decisions: which destinations are worked on, by how many, and what becomes of a relay that was taken for dead.

Theory of operation:

- A look at the queue gives destinations with something due. Each gets one worker; a worker whose claim will take it a while calls
  for another one, as long as lane and relay have room. So a lone letter costs one connection, a flood to a slow host gets all
  that are allowed, and one to a fast host few connections with large claims.
- A worker that has carried all there was lingers for a moment with its slot and connection: what comes next finds it there. Of a
  destination's workers one lingers, the others end.
- A look comes after a wake-up, after a poll's time, after work was done, and when a worker ended that a look had passed over.
- A relay is alive as long as the queue hears so. When it did not for a while, nothing new is begun until it does; when it says that
  this relay was taken for dead, everything at hand is dropped at once, for others have it, and the relay goes on under a new id.
- A claim whose answer was lost may have taken recipients nobody knows of: the relay then takes a new id at once, finishes under the
  old one what is under way, and gives back the rest.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import UUID

import structlog
from prometheus_client import Gauge

from posthorn.ports.errors import Unavailable
from posthorn.ports.queue import ALIVE_SECONDS, RENEW_SECONDS, TRANSACTION_RECIPIENTS, Due
from posthorn_relay.carriage import Carriage, Parts
from posthorn_relay.lanes import Lane, Lanes
from posthorn_relay.pool import Pool
from posthorn_relay.recorder import Recorder
from posthorn_relay.settings import RelaySettings
from posthorn_relay.verdicts import Judge

log = structlog.get_logger()

FIRST_CLAIM = 5
"""Recipients of a worker's first claim, beside the others of their messages: a few messages to a slow host are shared among several
connections."""
TURN_SECONDS = 30.0
"""How long a worker goes on before the destination's route is looked up again."""
_STALE_SECONDS = ALIVE_SECONDS - RENEW_SECONDS
_AIM_SECONDS = 1.0
_FLUSH_SECONDS = 5.0
_WAKE_SECONDS = 60.0
_PAUSE = 1.0
_LOOKS_APART = 0.02  # under load every message wakes; whoever comes after a quiet moment never meets this
_LINGER_SECONDS = 0.2
_PATIENCE_SECONDS = 0.1
"""What is due waits so long for a worker that is busy, before another begins."""

_workers = Gauge("posthorn_relay_workers", "Destinations being worked on, each by as many as it has connections")


@dataclass(eq=False, slots=True)
class _Destination:
    """A destination that is worked on."""

    due: Due
    lane: Lane
    workers: int = 0
    back_at: dict[Carriage, float] = field(default_factory=dict)
    """When workers that have their hands full should be done, by the monotonic clock."""
    pace: float = 0.0
    """Recipients a second that one worker carries; 0: not known yet."""
    lingers: bool = False
    """One of the workers waits for more."""
    due_again: asyncio.Event = field(default_factory=asyncio.Event)
    """A look has found it due since the last claim."""
    wanted: asyncio.Event = field(default_factory=asyncio.Event)
    """There is more for it, or others want its place: it does not linger."""

    def calls(self) -> None:
        """It is due again."""
        self.due_again.set()
        self.wanted.set()

    def takes(self, recipients: int) -> float:
        """Seconds that a worker is likely to need for so many."""
        return recipients / self.pace if self.pace else math.inf

    def is_soon_free(self, now: float) -> bool:
        """Whether a worker is about to claim."""
        return len(self.back_at) < self.workers or abs(min(self.back_at.values()) - now) <= _PATIENCE_SECONDS


@dataclass(eq=False)
class _Life:
    """One id of the relay and what runs under it."""

    id: UUID
    tasks: dict[asyncio.Task[bool], Carriage] = field(default_factory=dict)
    ending: bool = False
    """Nothing new is begun under it."""


class Relay:
    """Takes what is due to where it belongs. ``told``: called when notices have become due."""

    def __init__(
        self, parts: Parts, settings: RelaySettings, *, new_id: Callable[[], UUID], told: Callable[[], None]
    ) -> None:
        self._parts = parts
        self._queue = parts.queue
        self._settings = settings
        self._new_id = new_id
        self.recorder = Recorder(parts.queue, told, self._put_down)
        self.pool = Pool(settings.relay_connection_messages, settings.relay_connections)
        self._judge = Judge(settings)
        self._lanes = Lanes()
        self._destinations: dict[str, _Destination] = {}
        self._life = _Life(new_id())
        self._old: list[_Life] = []
        """Put down, with something under way."""
        self._heard = asyncio.Event()
        """The queue heard lately that this relay lives."""
        self._heard_at = -ALIVE_SECONDS
        self._look = asyncio.Event()
        self._later: asyncio.TimerHandle | None = None
        self._left = False
        """The last look left something for which there was no room."""
        self._stopping = asyncio.Event()

    @property
    def id(self) -> UUID:
        """The id it has now."""
        return self._life.id

    # Life

    async def live(self) -> None:
        """Say again and again that the relay lives, until cancelled."""
        while True:
            life, at = self._life, time.monotonic()
            try:
                async with asyncio.timeout(RENEW_SECONDS):
                    alive = await self._queue.alive(life.id)
            except (Unavailable, TimeoutError) as fault:
                log.warning("the queue does not hear that this relay lives", detail=str(fault))
                if time.monotonic() - self._heard_at > _STALE_SECONDS:
                    self._heard.clear()
                await asyncio.sleep(_PAUSE)
                continue
            if life is not self._life:
                continue
            if alive:
                self._heard_at = at
                self._heard.set()
            elif not self._stopping.is_set():  # at the end it left by itself
                self._heard.clear()
                self._life = _Life(self._new_id())
                await self._drop(life)
                continue
            for old in list(self._old):
                await self._keep(old)
            await asyncio.sleep(RENEW_SECONDS)

    async def _drop(self, life: _Life) -> None:
        log.error("this relay was taken for dead; what it had at hand is others' now", workers=len(life.tasks))
        life.ending = True
        for task in list(life.tasks):
            task.cancel()
        self.recorder.forget(life.id)
        if life.tasks:
            await asyncio.wait(life.tasks, timeout=_FLUSH_SECONDS)
        self._look.set()

    async def _keep(self, old: _Life) -> None:
        """Keep an id that was put down until what is under way has come to its end; then give back what it has besides."""
        try:
            async with asyncio.timeout(RENEW_SECONDS):
                if not (old.tasks or self.recorder.holds(old.id)):
                    await self._queue.leave(old.id)
                elif await self._queue.alive(old.id):
                    return
                else:
                    await self._drop(old)
            if old in self._old:  # the look may have done the same
                self._old.remove(old)
        except (Unavailable, TimeoutError) as fault:
            log.warning("an old id is not put down yet", detail=str(fault))

    def _put_down(self, relay: UUID) -> None:
        """Go on under a new id, as after a claim whose answer was lost."""
        if self._life.id == relay:
            self._life.ending = True
            self._look.set()

    async def _renew(self, life: _Life) -> None:
        """Put an id down whose claims are not all known, and begin a new one."""
        log.warning("an answer of the queue was lost; the relay goes on under a new id")
        self._heard.clear()
        self._life = _Life(self._new_id())
        self._old.append(life)
        await self._keep(life)
        if await self._queue.alive(self._life.id):
            self._heard_at = time.monotonic()
            self._heard.set()

    # Looking

    async def run(self) -> None:
        """Look and work until drained."""
        wakes = asyncio.create_task(self._listen(), name="wakes")
        try:
            while not self._stopping.is_set():
                self._look.clear()
                looked_at = time.monotonic()
                try:
                    await self._heard.wait()
                    if self._life.ending:
                        await self._renew(self._life)
                    else:
                        await self._begin_what_is_due()
                except Unavailable as fault:
                    log.warning("the queue cannot be looked at", part=fault.part, detail=str(fault))
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._settings.relay_poll_seconds):
                        await self._look.wait()
                        await asyncio.sleep(looked_at + _LOOKS_APART - time.monotonic())
        finally:
            wakes.cancel()
            with suppress(asyncio.CancelledError):
                await wakes

    async def _listen(self) -> None:
        while True:
            for name in await self._parts.wakes.wait(_WAKE_SECONDS):
                if not self._calls(name):
                    self._look.set()

    def _calls(self, destination: str) -> bool:
        """Tell a worker that is about to claim that more is due; False when there is none."""
        place = self._destinations.get(destination)
        if place is None or not place.workers or place.lane.failures or not place.is_soon_free(time.monotonic()):
            return False
        place.calls()
        self._look_later()
        return True

    async def _begin_what_is_due(self) -> None:
        limit = max(200, 2 * self._settings.relay_connections)
        life = self._life
        self._left = False
        for due in await self._queue.due(limit):
            if life is not self._life or life.ending or self._stopping.is_set():
                return
            place = self._destinations.get(due.destination)
            if place is None:
                place = _Destination(due, self._lanes.of(due.lane))
            elif place.workers:
                place.calls()
                if place.due != due:
                    # its route has changed: those at work go on as they began, the next ones go by the new one
                    place = _Destination(due, self._lanes.of(due.lane))
                elif place.lane.failures:
                    continue
                elif place.is_soon_free(time.monotonic()):
                    self._look_later()
                    continue
                # else all are busy with a host that may be slow: what has come since need not wait for them
            if self._room(place, life):
                self._destinations[due.destination] = place
                self._begin(place, life)
            else:
                self._left = True
        if self._left:
            for place in self._destinations.values():
                place.wanted.set()

    def _look_later(self) -> None:
        """Look again soon: a worker may be kept longer than it seemed."""
        if self._later is None or self._later.when() < asyncio.get_running_loop().time():
            self._later = asyncio.get_running_loop().call_later(2 * _PATIENCE_SECONDS, self._look.set)

    def _room(self, place: _Destination, life: _Life) -> bool:
        connections = self._connections(place.due)
        return len(life.tasks) < self._settings.relay_connections and place.lane.room(connections)

    def _connections(self, due: Due) -> int:
        return (due.route and due.route.connections) or self._settings.relay_destination_connections

    def _begin(self, place: _Destination, life: _Life) -> None:
        place.workers += 1
        place.lane.workers += 1
        _workers.inc()
        carriage = Carriage(
            self._parts, self.pool, self._judge, self.recorder, place.due, place.lane, life.id, self._may_go_on
        )
        task = asyncio.create_task(self._work(place, life, carriage), name=f"to {place.due.destination}")
        life.tasks[task] = carriage

        def ended(task: asyncio.Task[bool]) -> None:
            del life.tasks[task]
            place.workers -= 1
            place.lane.workers -= 1
            _workers.dec()
            if not place.workers and self._destinations.get(place.due.destination) is place:
                del self._destinations[place.due.destination]
            if not task.cancelled() and (error := task.exception()):
                log.error("a worker failed", destination=place.due.destination, exc_info=error)
                life.ending = True  # what it had at hand is known to nobody else
            carried = not task.cancelled() and not task.exception() and task.result()
            if place.due_again.is_set() or life.ending or (carried and self._left):
                self._look.set()

        task.add_done_callback(ended)

    # Working

    async def _work(self, place: _Destination, life: _Life, carriage: Carriage) -> bool:
        """Claim and carry until nothing is due; gives whether there was something."""
        due, lane = place.due, place.lane
        per_minute = (due.route and due.route.messages_per_minute) or self._settings.relay_destination_per_minute
        limit = 1 if lane.failures else min(FIRST_CLAIM, self._settings.relay_claim)
        slot: UUID | None = None
        until, carried = time.monotonic() + TURN_SECONDS, False
        try:
            while not (life.ending or self._stopping.is_set()):
                if time.monotonic() > until:
                    place.calls()
                    break
                await self.recorder.room()
                place.due_again.clear()
                place.wanted.clear()
                claim = await self._queue.claim(
                    life.id, due, slot, self._connections(due), per_minute, limit, TRANSACTION_RECIPIENTS
                )
                slot, some = claim.slot, len(claim.jobs)
                if not some:
                    break
                slow = some * 2 >= limit and place.takes(some) > _PATIENCE_SECONDS
                if slow and not lane.failures and self._room(place, life) and not life.ending:
                    self._begin(place, life)
                began = time.monotonic()
                carried = True
                place.back_at[carriage] = began + place.takes(some)
                try:
                    goes_on = await carriage.carry(claim.jobs)
                finally:
                    del place.back_at[carriage]
                if not goes_on:
                    break
                place.pace = some / max(0.001, time.monotonic() - began)
                if some < limit and not await self._linger(place):
                    break
                limit = max(1, min(self._settings.relay_claim, round(place.pace * _AIM_SECONDS)))
        except Unavailable as fault:
            log.warning("a claim is uncertain", destination=due.destination, part=fault.part, detail=str(fault))
            life.ending = True
        finally:
            carriage.done()
            if slot is not None and (life is self._life or life in self._old):
                try:
                    await self._queue.free(life.id, slot)
                except Unavailable:
                    life.ending = True  # nobody would ever give this slot back: it goes with the id
        return carried

    async def _linger(self, place: _Destination) -> bool:
        """Wait a moment until more is due; False: another worker does so already. Who has waited in vain claims once more, by
        which the destination learns that nothing is due. While others want for room nobody waits."""
        if place.due_again.is_set() or self._left:
            return True
        if place.lingers:
            return False
        place.lingers = True
        try:
            async with asyncio.timeout(_LINGER_SECONDS):
                await place.wanted.wait()
        except TimeoutError:
            pass
        finally:
            place.lingers = False
        return True

    async def _may_go_on(self) -> bool:
        """Wait until it is known that this relay lives; False when it drains."""
        if time.monotonic() - self._heard_at > _STALE_SECONDS and not self._stopping.is_set():
            self._heard.clear()  # it may have stood still for so long that others have what is at hand
        if not self._heard.is_set():
            await self._heard.wait()
        return not self._stopping.is_set()

    # The end

    async def drain(self, seconds: float) -> None:
        """Claim nothing more, finish the transactions under way within so many seconds, give back the rest."""
        self._stopping.set()
        self._look.set()
        self._heard.set()  # whoever waits for it goes on, and finds that the relay stops
        lives = [self._life, *self._old]
        tasks = {task: carriage for life in lives for task, carriage in life.tasks.items()}
        for task, carriage in tasks.items():
            if not carriage.is_sending:  # nothing is under way: what it has goes back with all the rest
                task.cancel()
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=seconds)
            if late:
                log.warning("transactions cut at the end of the grace period", connections=len(late))
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=1)
        if not await self.recorder.settled(_FLUSH_SECONDS):
            log.error("not all outcomes could be recorded: some messages may be sent twice")
        with suppress(Unavailable):
            for life in lives:
                await self._queue.leave(life.id)
        await self.pool.end(2)
