"""The relay's id and its heartbeat: whether the queue knows that this relay is alive, and what
follows when it does not.

Theory of operation:

- A relay is alive as long as the queue gets its heartbeats. When it did not get one for a while,
  nothing new is begun until it does. When it answers that this relay was reaped, everything claimed
  is dropped at once, for other relays have it now, and the relay continues under a new id.
- A claim whose answer was lost may have taken recipients that nobody knows of. The relay then takes
  a new id at once, finishes under the old one what is in progress, and releases the rest.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import structlog

from posthorn.ports.errors import Unavailable
from posthorn.ports.queue import ALIVE_SECONDS, RENEW_SECONDS, Queue
from posthorn_relay.recorder import OutcomeRecorder

log = structlog.get_logger()

FLUSH_SECONDS = 5.0
"""How long to wait for cancelled workers, and at the end for outcomes to be recorded."""
_STALE_SECONDS = ALIVE_SECONDS - RENEW_SECONDS
_RETRY_SECONDS = 1.0


@dataclass(eq=False)
class RelayIdentity:
    """One id of the relay and the workers that run under it."""

    id: UUID
    tasks: set[asyncio.Task[bool]] = field(default_factory=set)
    is_retired: bool = False
    """Nothing new is begun under it."""


class Liveness:
    """Sends heartbeats and replaces the id. ``on_change`` is called when the scheduler should
    look again."""

    def __init__(
        self,
        queue: Queue,
        recorder: OutcomeRecorder,
        *,
        new_id: Callable[[], UUID],
        on_change: Callable[[], None],
    ) -> None:
        self._queue = queue
        self._recorder = recorder
        self._new_id = new_id
        self._on_change = on_change
        self.identity = RelayIdentity(new_id())
        """The id that claims are made under now."""
        self._former: list[RelayIdentity] = []
        """Retired ids with something in progress."""
        self._confirmed = asyncio.Event()
        """The queue got a heartbeat recently."""
        self._confirmed_at = -ALIVE_SECONDS
        self._stopping = asyncio.Event()

    @property
    def is_stopping(self) -> bool:
        """Whether the relay drains: nothing new is begun."""
        return self._stopping.is_set()

    @property
    def identities(self) -> Sequence[RelayIdentity]:
        """The present id and the former ones that are not given up yet."""
        return [self.identity, *self._former]

    @property
    def is_confirmed(self) -> bool:
        """Whether the queue got a heartbeat recently, and nothing speaks against new work."""
        return self._confirmed.is_set() and not self.is_stopping and not self.identity.is_retired

    def is_held(self, identity: RelayIdentity) -> bool:
        """Return whether what the id has claimed is still this relay's."""
        return identity is self.identity or identity in self._former

    def retire(self, relay: UUID) -> None:
        """Continue under a new id, as after a claim whose answer was lost."""
        if self.identity.id == relay:
            self.identity.is_retired = True
            self._on_change()

    def stop(self) -> None:
        """Begin nothing more; whoever waits to begin learns it."""
        self._stopping.set()
        self._confirmed.set()

    async def confirmed(self) -> None:
        """Wait until the queue has got a heartbeat."""
        await self._confirmed.wait()

    async def may_begin(self) -> bool:
        """Wait until it is known that this relay is alive; return False when it drains."""
        if time.monotonic() - self._confirmed_at > _STALE_SECONDS and not self.is_stopping:
            # the process may have been stopped for so long that other relays have its jobs
            self._confirmed.clear()
        if not self._confirmed.is_set():
            await self._confirmed.wait()
        return not self.is_stopping

    async def run(self) -> None:
        """Send heartbeats until cancelled."""
        while True:
            identity, at = self.identity, time.monotonic()
            try:
                async with asyncio.timeout(RENEW_SECONDS):
                    is_alive = await self._queue.heartbeat(identity.id)
            except (Unavailable, TimeoutError) as fault:
                log.warning("heartbeat failed", fault=fault)
                if time.monotonic() - self._confirmed_at > _STALE_SECONDS:
                    self._confirmed.clear()
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            if identity is not self.identity:
                continue
            if is_alive:
                self._confirmed_at = at
                self._confirmed.set()
            elif not self.is_stopping:  # at the end the relay leaves by itself
                self._confirmed.clear()
                self.identity = RelayIdentity(self._new_id())
                await self._drop(identity)
                continue
            for former in list(self._former):
                await self._give_up(former)
            await asyncio.sleep(RENEW_SECONDS)

    async def renew(self) -> None:
        """Retire an id whose claims are not all known, and continue under a new one. Raises
        Unavailable."""
        log.warning("an answer of the queue was lost; the relay continues under a new id")
        former = self.identity
        self._confirmed.clear()
        self.identity = RelayIdentity(self._new_id())
        self._former.append(former)
        await self._give_up(former)
        if await self._queue.heartbeat(self.identity.id):
            self._confirmed_at = time.monotonic()
            self._confirmed.set()

    async def _drop(self, identity: RelayIdentity) -> None:
        log.error(
            "this relay was reaped; other relays have what it had claimed",
            workers=len(identity.tasks),
        )
        identity.is_retired = True
        for task in list(identity.tasks):
            task.cancel()
        self._recorder.forget(identity.id)
        if identity.tasks:
            await asyncio.wait(identity.tasks, timeout=FLUSH_SECONDS)
        self._on_change()

    async def _give_up(self, former: RelayIdentity) -> None:
        """Release what a retired id has claimed once nothing is in progress under it; until then
        keep it alive."""
        try:
            async with asyncio.timeout(RENEW_SECONDS):
                if not (former.tasks or self._recorder.holds(former.id)):
                    await self._queue.leave(former.id)
                elif await self._queue.heartbeat(former.id):
                    return
                else:
                    await self._drop(former)
            if former in self._former:  # the scheduler may have done the same
                self._former.remove(former)
        except (Unavailable, TimeoutError) as fault:
            log.warning("a former id is not given up yet", fault=fault)
