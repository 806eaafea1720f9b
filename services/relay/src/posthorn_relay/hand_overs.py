"""Hand-overs: lone messages that delivery has claimed for this relay (``ports.hand_over``).

Rules:

- The relay offers itself under its present id while it is known to be alive and has room.
- What is handed over under another id, or while the relay drains, is left alone: it is released
  with that id.
- A slot that the queue holds for this relay and that no worker knows of, at two looks, belongs to a
  hand-over that was lost. The relay then continues under a new id, which releases it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from uuid import UUID

import structlog
from prometheus_client import Counter

from posthorn.ports.bodies import BodyReader
from posthorn.ports.errors import Unavailable
from posthorn.ports.hand_over import OFFER_SECONDS, Handed, HandedClaims, LiveRelay, Offers
from posthorn.ports.queue import RENEW_SECONDS, Claim, Due
from posthorn_relay.liveness import Liveness, RelayIdentity
from posthorn_relay.settings import RelaySettings

log = structlog.get_logger()

LOOK_SECONDS = RENEW_SECONDS
"""Interval between two looks for slots that no worker knows of."""

_taken = Counter("posthorn_relay_handed_over_total", "Claims that delivery handed over")
_lost = Counter(
    "posthorn_relay_lost_hand_overs_total", "Hand-overs that this relay did not hear of"
)

type Begin = Callable[[Due, RelayIdentity, Claim], None]


class HandOvers:
    """Takes hand-overs. ``begin`` starts a worker with a claim; ``slots`` returns those of all
    workers, ``has_room`` whether another worker may start."""

    def __init__(
        self,
        offers: Offers,
        claims: HandedClaims,
        bodies: BodyReader,
        settings: RelaySettings,
        liveness: Liveness,
        *,
        begin: Begin,
        slots: Callable[[], Collection[UUID]],
        has_room: Callable[[], bool],
    ) -> None:
        self._offers = offers
        self._claims = claims
        self._bodies = bodies
        self._settings = settings
        self._liveness = liveness
        self._begin = begin
        self._slots = slots
        self._has_room = has_room
        self._beginning: dict[UUID, asyncio.Task[None]] = {}
        self._unknown: set[UUID] = set()
        offers.listen(self._heard)

    async def run(self) -> None:
        """Offer and look until cancelled."""
        looked_at = time.monotonic()
        try:
            while True:
                if self._liveness.is_confirmed and self._has_room():
                    await self._offer(self._settings.relay_destination_connections)
                if time.monotonic() - looked_at >= LOOK_SECONDS:
                    looked_at = time.monotonic()
                    await self._look()
                await asyncio.sleep(OFFER_SECONDS)
        finally:
            for task in list(self._beginning.values()):
                task.cancel()

    async def withdraw(self) -> None:
        """Take back the offer: the relay drains."""
        await self._offer(0)

    async def _offer(self, connections: int) -> None:
        per_minute = self._settings.relay_destination_per_minute
        await self._offers.offer(LiveRelay(self._liveness.identity.id, connections, per_minute))

    def _heard(self, handed: Handed) -> None:
        identity = self._liveness.identity
        if self._is_ours(handed, identity) and handed.slot not in self._beginning:
            task = asyncio.create_task(self._take(handed, identity), name="hand-over")
            self._beginning[handed.slot] = task
            task.add_done_callback(lambda _: self._beginning.pop(handed.slot))

    def _is_ours(self, handed: Handed, identity: RelayIdentity) -> bool:
        liveness = self._liveness
        return (
            identity is liveness.identity
            and handed.relay == identity.id
            and not identity.is_retired
            and not liveness.is_stopping
        )

    async def _take(self, handed: Handed, identity: RelayIdentity) -> None:
        try:
            due, jobs = await self._claims.claimed(handed)
        except Unavailable as fault:
            log.warning("a hand-over cannot be read", fault=fault)
            self._liveness.retire(identity.id)
            return
        if not self._is_ours(handed, identity):
            return
        for job in jobs:
            if job.message == handed.message and handed.body:
                self._bodies.remember(job.location, handed.body)
        _taken.inc()
        self._begin(due, identity, Claim(handed.slot, jobs))

    async def _look(self) -> None:
        identity = self._liveness.identity
        try:
            held = await self._claims.slots(identity.id)
        except Unavailable:
            return
        unknown = held.difference(self._slots(), self._beginning)
        if lost := unknown & self._unknown:
            _lost.inc(len(lost))
            self._liveness.retire(identity.id)
        self._unknown = unknown
