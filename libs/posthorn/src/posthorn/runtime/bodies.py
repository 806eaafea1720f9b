"""Where the bodies of messages that come in lie until delivery has them.

A small one rides in the stream, in the record of its message. A large one lies in the blob store,
and the record names it: it must be there before the record is published, so that no message is
promised whose body could be missing. A body without a record, left by a crash between the two, is
an orphan that the collector removes. A body whose message is refused is emptied where its writer may
not delete: else anybody could fill the store with what we refuse.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO
from uuid import UUID

from posthorn.ports.blobs import BODIES, Blobs
from posthorn.ports.errors import Unavailable
from posthorn.runtime import traces


@dataclass(frozen=True, slots=True)
class BodyStore:
    """Decides which bodies go to the blob store, and stores them."""

    blobs: Blobs
    inline: int
    """Stored bytes up to which a body is kept in the stream."""
    seconds: float
    """Seconds that the store may take for one body."""

    def blob(self, message: UUID, size: int) -> str | None:
        """Return the blob key for a body of ``size`` bytes, for the envelope; None: it is kept
        in the stream."""
        return f"{BODIES}{message}" if size > self.inline else None

    async def store(self, blob: str, body: bytes | BinaryIO, size: int) -> None:
        """Store a body of ``size`` bytes under this key, before its record is published. Raises
        Unavailable."""
        tracer, fault = traces.tracer, ""
        began = 0 if tracer is None else time.time_ns()
        try:
            async with asyncio.timeout(self.seconds):
                if isinstance(body, bytes):
                    await self.blobs.put(blob, [body])
                else:
                    await self.blobs.put_file(blob, body, size)
        except TimeoutError:
            fault = "TimeoutError"
            raise Unavailable("blobs", "the store took too long") from None
        except Unavailable:
            fault = "Unavailable"
            raise
        finally:
            if tracer is not None and tracer.samples(message := UUID(blob.removeprefix(BODIES))):
                tracer.span(traces.PUT, message, began, {traces.SIZE: size}, fault=fault)

    async def give_up(self, blob: str) -> None:
        """Delete the body of a message that is refused. Where the store does not let this login
        delete, leave an empty blob. What is left after a fault the collector removes."""
        with suppress(Unavailable, TimeoutError):
            async with asyncio.timeout(self.seconds):
                try:
                    await self.blobs.delete(blob)
                except Unavailable:
                    await self.blobs.put(blob, [])
