"""The last ranges read of large bodies, so that reading one in pieces reads each byte once.

Clients fetch attachments in pieces of 64 to 384 KiB. Blocks of ``BLOCK`` bytes are read, several at
once where the reader goes on from the block before, and are kept for ``KEPT_SECONDS`` within a
bound in bytes, the last used the longest. Two readers of a block share one read.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID

from posthorn.model.blob_range import BodyLocation
from posthorn.ports.bodies import MOST_RANGE_BYTES

BLOCK = 1024 * 1024
"""Bytes of a block; its offset is a multiple of that."""
KEPT_SECONDS = 30.0
_MOST_BLOCKS = MOST_RANGE_BYTES // BLOCK

type ReadRange = Callable[[BodyLocation, int, int], Awaitable[bytes]]
"""Reads bytes of a body, from one offset up to another. Raises Unavailable."""
type _Key = tuple[UUID, int]


@dataclass(slots=True)
class _Block:
    octets: bytes
    used_at: float


class LargeBodies:
    """Reads ranges of large bodies through the blocks read last."""

    def __init__(
        self, read: ReadRange, *, cache_bytes: int, kept_seconds: float = KEPT_SECONDS
    ) -> None:
        self._read = read
        self._most = cache_bytes
        self._kept_seconds = kept_seconds
        self._blocks: OrderedDict[_Key, _Block] = OrderedDict()
        self._bytes = 0
        self._locks: dict[UUID, asyncio.Lock] = {}
        self._expiry: asyncio.TimerHandle | None = None

    @property
    def cached_bytes(self) -> int:
        """Bytes that are kept."""
        return self._bytes

    def close(self) -> None:
        """Forget everything."""
        self._blocks.clear()
        self._bytes = 0
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None

    async def range(self, location: BodyLocation, start: int, end: int) -> bytes:
        """Return these bytes, at most ``MOST_RANGE_BYTES``. Raises Unavailable."""
        end = min(end, location.size)
        if start >= end:
            return b""
        pieces: list[bytes] = []
        for index in range(start // BLOCK, (end - 1) // BLOCK + 1):
            block = self._cached(location.message, index)
            if block is None:
                block = await self._fetched(location, index, (end - 1) // BLOCK)
            first = index * BLOCK
            pieces.append(block[max(start - first, 0) : end - first])
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _cached(self, message: UUID, index: int) -> bytes | None:
        block = self._blocks.get((message, index))
        if block is None:
            return None
        block.used_at = asyncio.get_running_loop().time()
        self._blocks.move_to_end((message, index))
        return block.octets

    async def _fetched(self, location: BodyLocation, index: int, last: int) -> bytes:
        """Read a block, and those after it that are wanted or will be."""
        lock = self._locks.setdefault(location.message, asyncio.Lock())
        try:
            async with lock:
                block = self._cached(location.message, index)
                if block is not None:  # another reader has just read it
                    return block
                is_going_on = (location.message, index - 1) in self._blocks
                count = _MOST_BLOCKS if is_going_on else min(last - index + 1, _MOST_BLOCKS)
                start = index * BLOCK
                octets = await self._read(
                    location, start, min(start + count * BLOCK, location.size)
                )
        finally:
            if not lock.locked():
                self._locks.pop(location.message, None)
        for place in range(0, len(octets), BLOCK):
            self._keep((location.message, index + place // BLOCK), octets[place : place + BLOCK])
        return octets[:BLOCK]

    def _keep(self, key: _Key, octets: bytes) -> None:
        loop = asyncio.get_running_loop()
        replaced = self._blocks.pop(key, None)
        self._bytes += len(octets) - (len(replaced.octets) if replaced else 0)
        self._blocks[key] = _Block(octets, loop.time())
        while self._bytes > self._most and self._blocks:
            self._bytes -= len(self._blocks.popitem(last=False)[1].octets)
        if self._expiry is None and self._blocks:
            self._expiry = loop.call_later(self._kept_seconds, self._expire)

    def _expire(self) -> None:
        self._expiry = None
        loop = asyncio.get_running_loop()
        while self._blocks:
            key, block = next(iter(self._blocks.items()))
            left = block.used_at + self._kept_seconds - loop.time()
            if left > 0:
                self._expiry = loop.call_later(left, self._expire)
                return
            del self._blocks[key]
            self._bytes -= len(block.octets)
