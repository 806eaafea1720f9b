"""The messages of a batch in flight: what is known of each, and which are finished."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

from prometheus_client import Counter

from posthorn.model.blob_range import BlobRange
from posthorn.model.envelope import Envelope, Record
from posthorn.ports.ingest import Delivery
from posthorn.runtime.tasks import cancel_and_wait
from posthorn_delivery.filing import Filing
from posthorn_delivery.routing import Routes

_messages = Counter(
    "posthorn_delivery_messages_total", "Messages removed from the stream, by result", ["result"]
)

HEARTBEAT_SECONDS = 2.5
"""Interval of progress reports for messages in flight, in seconds; the stream waits four times
as long."""

_NOTHING = Routes((), (), (), None, ())
_NOT_FILED = Filing(_NOTHING)


@dataclass(eq=False, slots=True)
class Packing:
    """A segment that is being packed, or is written already."""

    id: UUID
    key: str
    octets: int
    parts: list[bytes]
    written_at: float | None = None


@dataclass(eq=False, slots=True)
class Item:
    """A message in flight."""

    delivery: Delivery
    record: Record
    packing: Packing | None = None
    blob_range: BlobRange | None = None
    routes: Routes = _NOTHING
    filing: Filing = _NOT_FILED
    originals: Mapping[str, tuple[str, ...]] | None = None
    signature: str | None = None
    sent: int | None = None
    """The submitting account, if it keeps a copy in Sent."""
    header: bytes | None = None

    @property
    def envelope(self) -> Envelope:
        """Its envelope."""
        return self.record.envelope

    @property
    def name(self) -> str:
        """Its id, for the log."""
        return str(self.record.envelope.id)

    @property
    def weight(self) -> int:
        """Rows that a transaction writes: one per recipient, and one for the message."""
        found = self.routes
        saved = self.sent is not None
        return 1 + len(found.accounts) + len(found.outbound) + len(self.filing.withheld) + saved


@dataclass(slots=True)
class Group:
    """Messages that are tried together."""

    items: list[Item]
    tries: int = 0
    """How often a part failed although it answered its probe."""
    resolved: bool = False
    """Whether they are routed and stored, so that only the transaction is to be tried."""

    def halves(self) -> list[Group]:
        """Return both halves, the second one first: groups are taken from the end."""
        middle = len(self.items) // 2
        return [
            Group(half, self.tries, self.resolved)
            for half in (self.items[middle:], self.items[:middle])
        ]


class InFlight:
    """The unfinished messages of a batch, and those that are finished."""

    def __init__(self, batch: Sequence[Delivery]) -> None:
        self.batch = batch
        self.open = dict.fromkeys(batch)  # an ordered set
        self.kept: set[Delivery] = set()

    async def ack(self, delivery: Delivery, result: str) -> None:
        """Acknowledge the message: it is stored elsewhere, or dropped on purpose."""
        self.open.pop(delivery, None)
        self.kept.add(delivery)
        await delivery.ack()
        _messages.labels(result).inc()

    async def nak(self, delivery: Delivery, delay: float) -> None:
        """Return the message to the stream."""
        self.open.pop(delivery, None)
        await delivery.nak(delay)
        _messages.labels("given back").inc()

    async def give_back(self) -> None:
        """Return all unfinished messages to the stream. They may be delivered all the same:
        their ids make a second attempt harmless."""
        for delivery in list(self.open):
            self.open.pop(delivery, None)
            await delivery.nak(0)

    @asynccontextmanager
    async def reported(self) -> AsyncIterator[None]:
        """Report progress of the messages in flight to the stream, while the context lasts."""

        async def report() -> None:
            while True:
                await asyncio.sleep(HEARTBEAT_SECONDS)
                for delivery in list(self.open):
                    await delivery.in_progress()

        task = asyncio.create_task(report(), name="heartbeat")
        try:
            yield
        finally:
            await cancel_and_wait(task)
