"""What operators do with dead letters."""

from __future__ import annotations

from collections.abc import Sequence

from posthorn.ports.errors import NotFound
from posthorn.ports.ingest import DeadLetters, Parked
from posthorn_api.pending import Pending


class DeadLetterService:
    """The messages that were accepted and could not be delivered. Raises Unavailable."""

    def __init__(self, dead: Pending[DeadLetters]) -> None:
        self._dead = dead

    async def parked(self, after: int, limit: int) -> Sequence[Parked]:
        """List them, oldest first, from the sequence number behind ``after``."""
        return await self._dead.get().parked(after, limit)

    async def retry(self, sequence: int) -> None:
        """Have one delivered again. Raises NotFound."""
        if not await self._dead.get().retry(sequence):
            raise NotFound(f"there is no parked message {sequence}")

    async def discard(self, sequence: int) -> None:
        """Delete one. Raises NotFound."""
        if not await self._dead.get().discard(sequence):
            raise NotFound(f"there is no parked message {sequence}")
