"""Packing of bodies into segments of the blob store, each written once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from uuid import UUID

import structlog
from prometheus_client import Counter

from posthorn.model.blob_range import BlobRange
from posthorn.model.segment import Packed, pack
from posthorn.model.stored_header import kept_header
from posthorn.ports.blobs import SEGMENTS, TRASH, BlobMissing, Blobs
from posthorn.ports.segments import Segment, SegmentMessage
from posthorn.runtime import traces
from posthorn_delivery.in_flight import Item, Packing

log = structlog.get_logger()

_puts = Counter("posthorn_delivery_puts_total", "Segments written")
_put_octets = Counter("posthorn_delivery_put_bytes_total", "Bytes written in segments")

SEGMENT_HOLDS_SECONDS = 900.0
"""Seconds for which a written segment may wait for its rows. The collector removes blobs without
rows after an hour."""
FRESH_SECONDS = 1800.0
"""Age of a message up to which its own blob is known to be there: the least age of an orphan."""
_OFF_LOOP = 1024**2


class Packer:
    """Stores bodies in blobs. ``compress`` makes a zstd frame, or is None; ``frame`` does it for
    headers, or is None: they are not kept; ``new_id`` makes UUIDv7s."""

    def __init__(
        self,
        blobs: Blobs,
        *,
        new_id: Callable[[], UUID],
        compress: Callable[[bytes], bytes] | None = None,
        frame: Callable[[bytes], bytes] | None = None,
    ) -> None:
        self._blobs = blobs
        self._new_id = new_id
        self._compress = compress
        self._frame = frame

    async def store(self, items: list[Item]) -> None:
        """Write the bodies that are in no blob yet as one segment, and make the headers to keep.
        Bodies written before stay where they are."""
        await self._store(items, with_headers=True)
        if self._frame is not None:
            for item in items:  # stored before they were routed
                if item.packing is not None and item.header is None and _is_listed(item):
                    item.header = kept_header(item.record.body or b"", self._frame)

    def holds(self, items: Iterable[Item]) -> bool:
        """Return whether rows may still be written for the segments of stored items."""
        now = time.monotonic()
        return not any(_is_late(item, now) for item in items)

    async def store_bodies(self, items: list[Item]) -> None:
        """Write the bodies alone, of items that are not routed yet."""
        await self._store(items, with_headers=False)

    async def _store(self, items: list[Item], *, with_headers: bool) -> None:
        now = time.monotonic()
        fresh: list[Item] = []
        for item in items:
            if item.envelope.blob is not None:
                if item.blob_range is None:  # else found when it was stored before it was routed
                    await self._find(item.envelope.blob, item.envelope.received_at)
                    item.blob_range = BlobRange(0, item.envelope.body.size)
            elif item.packing is None or _is_late(item, now):
                fresh.append(item)
        if fresh:
            await self._pack(fresh, with_headers=with_headers)
        for packing in {item.packing: None for item in items if item.packing is not None}:
            if packing.written_at is None:
                tracer = traces.tracer
                began = 0 if tracer is None else time.time_ns()
                await self._blobs.put(packing.key, packing.parts)
                if tracer is not None:
                    _trace(tracer, packing, items, began)
                packing.written_at = time.monotonic()
                packing.parts = []
                _puts.inc()
                _put_octets.inc(packing.octets)

    async def _find(self, key: str, received_at: float) -> None:
        """Check that the body of a message that waited long is there; bring it back from the trash.
        The collector may have moved it while no stream held the message: one of a restored backup,
        or one that was delivered, deleted and forgotten. Raises BlobMissing."""
        if time.time() - received_at < FRESH_SECONDS:
            return
        try:
            await self._blobs.read(key, 0, 1)
        except BlobMissing:
            await self._blobs.move(f"{TRASH}{key}", key)
            log.warning("a body was moved back from the trash for its message", key=key)

    async def _pack(self, items: list[Item], *, with_headers: bool) -> None:
        bodies = [item.record.body or b"" for item in items]
        listed = [with_headers and _is_listed(item) for item in items]
        if self._compress is not None and sum(map(len, bodies)) > _OFF_LOOP:
            packed, headers = await asyncio.to_thread(self._packed, bodies, listed)
        else:
            packed, headers = self._packed(bodies, listed)
        identity = self._new_id()
        packing = Packing(identity, f"{SEGMENTS}{identity}", packed.octets, packed.parts)
        for item, place, header in zip(items, packed.ranges, headers, strict=True):
            item.packing, item.blob_range, item.header = packing, place, header

    def _packed(self, bodies: list[bytes], listed: list[bool]) -> tuple[Packed, list[bytes | None]]:
        headers = [
            kept_header(body, self._frame) if wanted and self._frame is not None else None
            for body, wanted in zip(bodies, listed, strict=True)
        ]
        return pack(bodies, self._compress), headers


def _is_late(item: Item, now: float) -> bool:
    written = item.packing.written_at if item.packing else None
    return written is not None and now - written > SEGMENT_HOLDS_SECONDS


def _trace(tracer: traces.Tracer, packing: Packing, items: list[Item], began: int) -> None:
    for item in items:
        if item.packing is packing and tracer.samples(item.envelope.id):
            about = {traces.SIZE: item.envelope.body.size}
            tracer.span(traces.PUT, item.envelope.id, began, about)


def _is_listed(item: Item) -> bool:
    """Return whether a mailbox may list it: mail that goes elsewhere alone is never listed, but a
    wide alias may lead to mailboxes."""
    routes = item.routes
    return bool(routes.accounts or routes.wide or item.filing.withheld or item.sent is not None)


def segments(items: Iterable[Item]) -> list[Segment]:
    """Return the segments that hold the items, with the items to deliver from each."""
    messages: dict[Packing, list[SegmentMessage]] = {}
    found: list[Segment] = []
    for item in items:
        assert item.blob_range is not None
        routes = item.routes
        message = SegmentMessage(
            item.envelope,
            item.blob_range,
            routes.accounts,
            routes.outbound,
            routes.tenant,
            item.signature or "",
            item.filing.filed,
            item.filing.withheld,
            item.header,
            item.sent,
        )
        if item.packing is not None:
            messages.setdefault(item.packing, []).append(message)
        else:
            assert item.envelope.blob is not None
            found.append(
                Segment(item.envelope.id, item.envelope.blob, item.envelope.body.size, (message,))
            )
    return found + [Segment(p.id, p.key, p.octets, tuple(inside)) for p, inside in messages.items()]
