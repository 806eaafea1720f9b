"""A worker: claims what is due at one destination and sends it, until nothing is due any more.

Rules:

- A worker whose claim will take it a while calls for another one.
- A worker that has sent everything lingers for a moment with its slot and connection, so that the
  next message finds it there. Of a destination's workers one lingers, the others end; none lingers
  while other destinations wait for room.
- A claim is as large as the worker can send within about a second.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID

import structlog

from posthorn.ports.errors import Unavailable
from posthorn.ports.queue import TRANSACTION_RECIPIENTS, Claim, Due
from posthorn_relay.claim_sender import ClaimSender
from posthorn_relay.context import WorkerContext
from posthorn_relay.liveness import RelayIdentity
from posthorn_relay.next_hop import NextHop
from posthorn_relay.settings import RelaySettings

log = structlog.get_logger()

FIRST_CLAIM = 5
"""Recipients of a worker's first claim, beside the others of their messages: a few messages to a
slow host are shared among several connections."""
TURN_SECONDS = 30.0
"""How long a worker continues before the destination's route is looked up again."""
BUSY_SECONDS = 0.1
"""How long due recipients wait for a worker that is busy before another one starts."""
LINGER_SECONDS = 0.2
_AIM_SECONDS = 1.0


def connections_for(due: Due, settings: RelaySettings) -> int:
    """Return the limit of connections to the next hop of a destination."""
    return (due.route and due.route.connections) or settings.relay_destination_connections


@dataclass(eq=False, slots=True)
class Destination:
    """A destination that is being worked on."""

    due: Due
    next_hop: NextHop
    workers: int = 0
    free_at: dict[Worker, float] = field(default_factory=dict)
    """When workers that are sending should be done, by the monotonic clock."""
    pace: float = 0.0
    """Recipients per second that one worker sends; 0: not known yet."""
    is_lingering: bool = False
    """One of the workers waits for more."""
    due_again: asyncio.Event = field(default_factory=asyncio.Event)
    """It was found due since the last claim."""
    wanted: asyncio.Event = field(default_factory=asyncio.Event)
    """There is more to send, or other destinations want its place: the lingering worker goes on."""

    def call(self) -> None:
        """Note that it is due again."""
        self.due_again.set()
        self.wanted.set()

    def seconds_for(self, recipients: int) -> float:
        """Return how long a worker is likely to need for so many recipients."""
        return recipients / self.pace if self.pace else math.inf

    def is_soon_free(self, now: float) -> bool:
        """Return whether a worker is about to claim."""
        return (
            len(self.free_at) < self.workers
            or abs(min(self.free_at.values()) - now) <= BUSY_SECONDS
        )


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a worker asks of the scheduler."""

    begin_another: Callable[[Destination, RelayIdentity], None]
    """Start another worker for the destination, if there is room."""
    is_wanted: Callable[[], bool]
    """Whether other destinations wait for room."""


class Worker:
    """Works on one destination under one id of the relay."""

    def __init__(
        self,
        context: WorkerContext,
        destination: Destination,
        identity: RelayIdentity,
        capacity: Capacity,
        handed: Claim | None = None,
    ) -> None:
        """``handed``: a claim to begin with, made by delivery."""
        self._context = context
        self._destination = destination
        self._identity = identity
        self._capacity = capacity
        self.slot: UUID | None = handed.slot if handed is not None else None
        """The slot that it holds."""
        self._handed = handed
        self._sender = ClaimSender(context, destination.due, destination.next_hop, identity.id)

    @property
    def is_sending(self) -> bool:
        """Whether a transaction is in progress."""
        return self._sender.is_sending

    async def run(self) -> bool:
        """Claim and send until nothing is due; return whether there was something."""
        context, destination, identity = self._context, self._destination, self._identity
        claim_limit = context.settings.relay_claim
        limit = 1 if destination.next_hop.failures else min(FIRST_CLAIM, claim_limit)
        until, has_sent = time.monotonic() + TURN_SECONDS, False
        try:
            while not (identity.is_retired or context.liveness.is_stopping):
                if time.monotonic() > until:
                    destination.call()
                    break
                await context.recorder.room()
                claim, self._handed = self._handed or await self._claim(limit), None
                if not (size := len(claim.jobs)):
                    break
                has_sent = True
                if not await self._send(claim, limit):
                    break
                if size < limit and not await self._linger():
                    break
                if not destination.next_hop.failures:
                    limit = max(1, min(claim_limit, round(destination.pace * _AIM_SECONDS)))
            await self._sender.close_for_want_of_tls()
        except Unavailable as fault:
            log.warning(
                "a claim is uncertain",
                destination=destination.due.destination,
                fault=fault,
            )
            identity.is_retired = True
        finally:
            self._sender.done()
            await self._free_slot()
        return has_sent

    async def _claim(self, limit: int) -> Claim:
        context, destination = self._context, self._destination
        due, settings = destination.due, context.settings
        per_minute = (
            due.route and due.route.messages_per_minute
        ) or settings.relay_destination_per_minute
        destination.due_again.clear()
        destination.wanted.clear()
        claim = await context.ports.queue.claim(
            self._identity.id,
            due,
            self.slot,
            connections_for(due, settings),
            per_minute,
            limit,
            TRANSACTION_RECIPIENTS,
        )
        self.slot = claim.slot
        return claim

    async def _send(self, claim: Claim, limit: int) -> bool:
        """Send what a claim took, and measure the pace; return whether to go on."""
        destination, size = self._destination, len(claim.jobs)
        is_slow = size * 2 >= limit and destination.seconds_for(size) > BUSY_SECONDS
        if is_slow and not destination.next_hop.failures and not self._identity.is_retired:
            self._capacity.begin_another(destination, self._identity)
        began = time.monotonic()
        destination.free_at[self] = began + destination.seconds_for(size)
        try:
            goes_on = await self._sender.send(claim.jobs)
        finally:
            del destination.free_at[self]
        if goes_on:
            destination.pace = size / max(0.001, time.monotonic() - began)
        return goes_on

    async def _linger(self) -> bool:
        """Wait a moment until more is due; return False when another worker does so already.

        A worker that waited in vain claims once more, by which the destination learns that nothing
        is due.
        """
        destination = self._destination
        if destination.due_again.is_set() or self._capacity.is_wanted():
            return True
        if destination.is_lingering:
            return False
        destination.is_lingering = True
        try:
            async with asyncio.timeout(LINGER_SECONDS):
                await destination.wanted.wait()
        except TimeoutError:
            pass
        finally:
            destination.is_lingering = False
        return True

    async def _free_slot(self) -> None:
        if self.slot is not None and self._context.liveness.is_held(self._identity):
            try:
                await self._context.ports.queue.free_slot(self._identity.id, self.slot)
            except Unavailable:
                # nobody else would ever free this slot: it goes with the id
                self._identity.is_retired = True
