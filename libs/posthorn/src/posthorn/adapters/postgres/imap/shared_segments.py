"""Bodies of callers that come together share a segment, one PUT (ADR 33).

Theory:

- The first body goes at once. What comes while ``PUTS_AT_ONCE`` segments are being written gathers,
  and goes as one when a PUT ends: so a body waits for one PUT at most before its own.
- A caller that leaves does not stop a PUT that others wait for. A segment that fails fails for all
  in it.
- A segment of which no transaction makes a row is an orphan, which the collector removes (ADR 10).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from prometheus_client import Counter

from posthorn.model.blob_range import BlobRange
from posthorn.model.segment import pack
from posthorn.ports.blobs import SEGMENTS, Blobs
from posthorn.runtime.ids import new_id

SEGMENT_BYTES = 4 * 1024 * 1024
"""Bytes of bodies from which a segment takes no more callers."""
PUTS_AT_ONCE = 2
_OFF_LOOP = 256 * 1024

_puts = Counter("posthorn_imap_puts_total", "Segments written for messages that clients append")
_put_bytes = Counter("posthorn_imap_put_bytes_total", "Bytes written in those segments")


@dataclass(frozen=True, slots=True)
class Written:
    """Where the bodies of a caller are."""

    segment: UUID
    key: str
    octets: int
    """Bytes of the whole segment."""
    ranges: Sequence[BlobRange]


@dataclass(frozen=True, slots=True)
class _Waiting:
    bodies: Sequence[bytes]
    size: int
    written: asyncio.Future[Written]


class SharedSegments:
    """Writes bodies into segments. ``compress`` makes a zstd frame, or is None."""

    def __init__(self, blobs: Blobs, compress: Callable[[bytes], bytes] | None = None) -> None:
        self._blobs = blobs
        self._compress = compress
        self._waiting: list[_Waiting] = []
        self._puts: set[asyncio.Task[None]] = set()

    async def write(self, bodies: Sequence[bytes]) -> Written:
        """Write bodies; on return they are durable. Raises Unavailable."""
        written: asyncio.Future[Written] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(bodies, sum(map(len, bodies)), written))
        self._start()
        return await written

    def _start(self) -> None:
        while self._waiting and len(self._puts) < PUTS_AT_ONCE:
            batch: list[_Waiting] = []
            size = 0
            while self._waiting and size < SEGMENT_BYTES:
                size += self._waiting[0].size
                batch.append(self._waiting.pop(0))
            put = asyncio.create_task(self._put(batch, size))
            self._puts.add(put)
            put.add_done_callback(self._ended)

    def _ended(self, put: asyncio.Task[None]) -> None:
        self._puts.discard(put)
        self._start()

    async def _put(self, batch: Sequence[_Waiting], size: int) -> None:
        try:
            bodies = [body for each in batch for body in each.bodies]
            if self._compress is not None and size > _OFF_LOOP:
                packed = await asyncio.to_thread(pack, bodies, self._compress)
            else:
                packed = pack(bodies, self._compress)
            number = new_id()
            key = f"{SEGMENTS}{number}"
            await self._blobs.put(key, packed.parts)
        except BaseException as error:
            for each in batch:
                if not each.written.done():
                    each.written.set_exception(error)
            if not isinstance(error, Exception):
                raise
            return
        _puts.inc()
        _put_bytes.inc(packed.octets)
        start = 0
        for each in batch:
            ranges = packed.ranges[start : start + len(each.bodies)]
            start += len(each.bodies)
            if not each.written.done():
                each.written.set_result(Written(number, key, packed.octets, ranges))
