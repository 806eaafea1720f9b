"""The messages of a batch while they are at hand: what is known of each, and which have come to their end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from uuid import UUID

from prometheus_client import Counter

from posthorn.model.blob_range import BlobRange
from posthorn.model.envelope import Envelope, Record
from posthorn.ports.ingest import Delivery
from posthorn_delivery.routing import Routes

_messages = Counter(
    "posthorn_delivery_messages_total", "Messages that left the stream, by what became of them", ["result"]
)

HEARTBEAT_SECONDS = 2.5
"""How often messages at hand are reported as worked on; the stream waits four times as long."""

_NOTHING = Routes((), (), (), None, ())


@dataclass(eq=False, slots=True)
class Packing:
    """A segment in the making, or written already."""

    id: UUID
    key: str
    octets: int
    parts: list[bytes]
    written_at: float | None = None


@dataclass(eq=False, slots=True)
class Item:
    """A message at hand."""

    delivery: Delivery
    record: Record
    packing: Packing | None = None
    blob_range: BlobRange | None = None
    routes: Routes = _NOTHING
    originals: Mapping[str, tuple[str, ...]] | None = None
    signature: str | None = None

    @property
    def envelope(self) -> Envelope:
        """What is known of it."""
        return self.record.envelope

    @property
    def name(self) -> str:
        """Its id, for the log."""
        return str(self.record.envelope.id)

    @property
    def weight(self) -> int:
        """Rows that a transaction writes for its recipients, and one for itself."""
        return 1 + len(self.routes.accounts) + len(self.routes.outbound)


@dataclass(slots=True)
class Group:
    """Messages that are tried together."""

    items: list[Item]
    tries: int = 0
    """How often a part failed that answered its probe all the same."""
    resolved: bool = False
    """Whether they are sorted and stored, so that only the transaction is to be tried."""

    def halves(self) -> list[Group]:
        """The second half first: groups are taken from the end."""
        middle = len(self.items) // 2
        return [Group(half, self.tries, self.resolved) for half in (self.items[middle:], self.items[:middle])]


class InFlight:
    """The messages of a batch that have come to no end yet, and those that are kept for good."""

    def __init__(self, batch: Sequence[Delivery]) -> None:
        self.open = dict.fromkeys(batch)  # an ordered set
        self.kept: set[Delivery] = set()

    async def ack(self, delivery: Delivery, result: str) -> None:
        """It is kept somewhere else, or nowhere for good."""
        self.open.pop(delivery, None)
        self.kept.add(delivery)
        await delivery.ack()
        _messages.labels(result).inc()

    async def nak(self, delivery: Delivery, delay: float) -> None:
        """It goes back to the stream."""
        self.open.pop(delivery, None)
        await delivery.nak(delay)
        _messages.labels("given back").inc()

    async def give_back(self) -> None:
        """Give back whatever has come to no end. It may be placed all the same: the ids make its return harmless."""
        for delivery in list(self.open):
            self.open.pop(delivery, None)
            await delivery.nak(0)

    @asynccontextmanager
    async def reported(self) -> AsyncIterator[None]:
        """Tell the stream, while this lasts, that the messages at hand are worked on."""

        async def report() -> None:
            while True:
                await asyncio.sleep(HEARTBEAT_SECONDS)
                for delivery in list(self.open):
                    await delivery.in_progress()

        task = asyncio.create_task(report(), name="heartbeat")
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
