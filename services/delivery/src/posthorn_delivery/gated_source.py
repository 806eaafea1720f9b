"""A message source that yields only while mail may be delivered: the stores belong together (ADR
18), commits are durable (ADR 25)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from posthorn.ports.errors import Unavailable
from posthorn.ports.ingest import Backlog, Delivery, IngestSource

_AGAIN_SECONDS = 5.0


class GatedSource:
    """An IngestSource that yields nothing while ``check`` raises; messages taken at that moment
    are returned to the stream."""

    def __init__(self, source: IngestSource, check: Callable[[], None]) -> None:
        self._source = source
        self._check = check

    async def take(self, most: int, octets: int) -> Sequence[Delivery]:
        """See the port."""
        self._check()
        batch = await self._source.take(most, octets)
        try:
            self._check()
        except Unavailable:
            for delivery in batch:
                await delivery.nak(_AGAIN_SECONDS)
            raise
        return batch

    def leave_to_others(self, spacing: float) -> None:
        """See the port."""
        self._source.leave_to_others(spacing)

    async def stop(self) -> None:
        """See the port."""
        await self._source.stop()

    async def backlog(self) -> Backlog:
        """See the port."""
        return await self._source.backlog()
