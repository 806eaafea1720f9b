"""Contents of messages in memory: as they came with a question, or from the blob store within a
budget of bytes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext

from posthorn.ports.blobs import Blobs
from posthorn.ports.errors import Unavailable
from posthorn.ports.scan import MessageQuestion


class Contents:
    """Reads contents. ``most_bytes``: of all that were read from the blob store, at a time."""

    def __init__(self, blobs: Blobs, most_bytes: int) -> None:
        self._blobs = blobs
        self._most_bytes = most_bytes
        self._held = 0
        self._changed = asyncio.Condition()

    def of(self, question: MessageQuestion) -> AbstractAsyncContextManager[bytes]:
        """Return the content that a question is about, as a context. Waits for room. Raises
        Unavailable."""
        if question.content is not None:
            return nullcontext(question.content)
        if question.blob is None or question.size <= 0:
            raise Unavailable("blobs", "the question has no content")
        return self.blob(question.blob, question.skip_bytes, question.size)

    @asynccontextmanager
    async def blob(self, key: str, offset: int, length: int) -> AsyncGenerator[bytes]:
        """Yield bytes of a blob. Waits for room. Raises Unavailable."""
        if length > self._most_bytes:
            raise Unavailable("scan", "the message is larger than the memory for messages")
        async with self._changed:
            await self._changed.wait_for(lambda: self._held + length <= self._most_bytes)
            self._held += length
        try:
            yield await self._blobs.read(key, offset, length)
        finally:
            async with self._changed:
                self._held -= length
                self._changed.notify_all()
