"""Hand-over: delivery claims a lone message for a live relay, in the transaction that queues it.

Theory:

- Relays offer themselves once a second. Delivery picks one whose offer is fresh, claims for it under
  the rules of every claim (``ports.queue``), with a slot, and tells it after the commit.
- An offer, and what tells of a hand-over, may be lost. A relay that holds slots it does not know of
  retires its id, which releases them and what was claimed with them.
- What is not handed over is found by a notification or a poll, as ever.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from posthorn.ports.queue import Due, Job

OFFER_SECONDS = 1.0
"""Interval between two offers of a relay."""
FRESH_SECONDS = 2.5
"""How long an offer counts."""
MOST_BODY_BYTES = 64 * 1024
"""Largest body that is sent with a hand-over."""


@dataclass(frozen=True, slots=True)
class LiveRelay:
    """A relay that takes hand-overs, and its limits where a route sets none."""

    id: UUID
    connections: int
    """Connections to one next hop, all relays together; 0: it takes nothing any more."""
    per_minute: int | None = None
    """Messages to one next hop per minute, all relays together."""


@dataclass(slots=True)
class HandOver:
    """A claim for a relay, made by the transaction that queues a message."""

    relay: LiveRelay
    destination: str
    slot: UUID | None = None
    """Filled in by the transaction; None: nothing was claimed."""
    jobs: Sequence[int] = ()
    messages: Collection[UUID] = field(default_factory=set)
    """Whose jobs they are: older ones go first."""


@dataclass(frozen=True, slots=True)
class Handed:
    """What a relay is told of a committed hand-over."""

    relay: UUID
    destination: str
    slot: UUID
    jobs: Sequence[int]
    message: UUID
    """The message that was queued."""
    body: bytes = b""
    """Its content as it is stored; empty: too large to be sent."""


class LiveRelays(Protocol):
    """The side of delivery."""

    def pick(self) -> LiveRelay | None:
        """Return a relay whose offer is fresh; None: there is none."""
        ...

    async def hand(self, handed: Handed) -> None:
        """Tell the relay of a committed hand-over. Never raises; it may be lost."""
        ...


class Offers(Protocol):
    """The side of the relay."""

    async def offer(self, relay: LiveRelay) -> None:
        """Offer to take hand-overs. Never raises; it may be lost."""
        ...

    def listen(self, on_handed: Callable[[Handed], None]) -> None:
        """Call a function for every hand-over to any relay."""
        ...


class HandedClaims(Protocol):
    """What the queue knows of hand-overs. Raises Unavailable."""

    async def claimed(self, handed: Handed) -> tuple[Due, Sequence[Job]]:
        """Return the destination as ``Queue.due`` does, and those of the jobs that the relay
        holds with the slot."""
        ...

    async def slots(self, relay: UUID) -> set[UUID]:
        """Return the slots that the relay holds."""
        ...
