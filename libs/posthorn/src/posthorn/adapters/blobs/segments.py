"""Bodies by location: ranges of blobs, through a cache of recent messages.

Theory:

- A small message (``whole_limit``) is read and cached whole; larger ones are streamed and never
  cached, but for the ranges read last (``large_bodies``).
- The cache is keyed by message id, since a message's content never changes, wherever the collector
  moves it. It is bounded in bytes; the least recently used are evicted first.
- On a miss the same range read also fetches neighbours in the blob that the caller will want next.
  Concurrent readers of a message share one fetch (single flight).
- Bytes in flight are bounded too: a few reads at a time, and reading ahead stops at a budget.
- A returned message has exactly the expected size; anything else is Unavailable, never a wrong
  message.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import aclosing
from functools import partial
from uuid import UUID

import structlog
import zstandard
from prometheus_client import Counter

from posthorn.adapters.blobs.large_bodies import LargeBodies
from posthorn.model.blob_range import BodyLocation
from posthorn.ports.blobs import Blobs
from posthorn.ports.errors import Unavailable

log = structlog.get_logger()

CACHE_OCTETS = 32 * 1024 * 1024
WHOLE_LIMIT = 256 * 1024
"""Messages up to this many bytes are handled whole."""
RANGE_LIMIT = 1024 * 1024
"""Most bytes of one range read that fetches several messages."""
GAP_LIMIT = 32 * 1024
"""Most bytes between two wanted messages that are read over to save a request."""
AHEAD_OCTETS = 4 * 1024 * 1024
"""Most bytes in flight of messages read ahead."""
LARGE_OCTETS = 64 * 1024 * 1024
"""Most bytes of large messages that are kept after a range was read."""
PARALLEL = 16
"""Range reads at a time in this process."""

_ENTRY_COST = 200  # bytes of a cache entry besides the body
# bytes fed to the decoder at once, so that the output stays small even when it expands a
# thousandfold
_SLICE = 256

_hits = Counter("posthorn_segments_cache_hits_total", "Messages found in the cache")
_misses = Counter(
    "posthorn_segments_cache_misses_total", "Messages requested that were not in the cache"
)
_reads = Counter("posthorn_segments_blob_reads_total", "Reads of blobs, by kind", ["kind"])
_read_ranges = _reads.labels("range")
_read_streams = _reads.labels("stream")
_read_octets = Counter("posthorn_segments_blob_bytes_total", "Bytes read from blobs")


class SegmentReader:
    """Reads the content of messages. Create it inside the running loop that uses it; ``close``
    cancels reads in flight."""

    def __init__(
        self,
        blobs: Blobs,
        *,
        cache_octets: int = CACHE_OCTETS,
        whole_limit: int = WHOLE_LIMIT,
        range_limit: int = RANGE_LIMIT,
        ahead_octets: int = AHEAD_OCTETS,
        parallel: int = PARALLEL,
        large_octets: int = LARGE_OCTETS,
    ) -> None:
        self._blobs = blobs
        self._cache_octets = cache_octets
        self._whole_limit = whole_limit
        self._range_limit = range_limit
        self._ahead_octets = ahead_octets
        self._parallel = asyncio.Semaphore(parallel)
        self._cache: OrderedDict[UUID, bytes] = OrderedDict()
        self._cached = 0
        self._flights: dict[UUID, asyncio.Future[bytes]] = {}
        self._ahead = 0
        self._tasks: set[asyncio.Task[None]] = set()
        # for whole frames alone: making one costs as much as a small body
        self._decompressor = zstandard.ZstdDecompressor()
        self._large = LargeBodies(self._read_large, cache_bytes=large_octets)

    async def close(self) -> None:
        """Cancel the reads in flight."""
        self._large.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def whole(self, location: BodyLocation) -> bool:
        """Return whether the message is small enough to be handled whole."""
        return location.size <= self._whole_limit and location.length <= self._whole_limit

    def cached(self, location: BodyLocation) -> bytes | None:
        """Return the message's content if it is cached."""
        body = self._cache.get(location.message)
        if body is not None:
            self._cache.move_to_end(location.message)
            _hits.inc()
        return body

    def remember(self, location: BodyLocation, body: bytes) -> None:
        """See the port."""
        if len(body) == location.size and self.whole(location):
            self._keep(location.message, body)

    async def read(self, location: BodyLocation, ahead: Sequence[BodyLocation] = ()) -> bytes:
        """Return the content of a message that is ``whole``; also cache those of ``ahead`` that are
        close by.

        Raises BlobMissing when there is no such blob (locate the message again), Unavailable for
        any other fault.
        """
        body = self.cached(location)
        if body is not None:
            return body
        _misses.inc()
        flight = self._flights.get(location.message)
        if flight is None:
            wanted = [
                location,
                *(other for other in self._fresh(ahead) if other.key == location.key),
            ]
            run = next(run for run in coalesce(wanted, self._range_limit) if location in run)
            self._start(run)
            flight = self._flights[location.message]
        return await asyncio.shield(flight)

    def prefetch(self, locations: Iterable[BodyLocation]) -> None:
        """Begin to fetch messages into the cache, as far as the budget allows. Faults are raised
        when they are read."""
        for run in coalesce(self._fresh(locations), self._range_limit):
            size = _extent(run)
            if self._ahead + size > self._ahead_octets:
                return
            self._ahead += size
            self._start(run).add_done_callback(partial(self._landed, size))

    async def stream(self, location: BodyLocation, chunk: int = 262_144) -> AsyncGenerator[bytes]:
        """Yield a message's content in pieces, fetched on demand. Close the iterator when leaving
        early.

        Raises as ``read``, possibly after some pieces; when it ends without, exactly
        ``location.size`` bytes were yielded.
        """
        if self.whole(location):
            if body := await self.read(location):
                yield body
            return
        _read_streams.inc()
        total = 0
        async with aclosing(self._decoded(location, chunk)) as pieces:
            async for piece in pieces:
                total += len(piece)
                if total > location.size:
                    break
                yield piece
        if total != location.size:
            raise Unavailable(
                "blobs", f"{location.key} does not hold the {location.size} bytes expected"
            )

    async def range(self, location: BodyLocation, start: int, end: int) -> bytes:
        """Return bytes of a message, at most ``MOST_RANGE_BYTES``. Raises as ``read``."""
        if self.whole(location):
            return (await self.read(location))[start:end]
        return await self._large.range(location, start, end)

    async def _read_large(self, location: BodyLocation, start: int, end: int) -> bytes:
        if location.encoding == "identity":
            if location.length != location.size:
                raise Unavailable(
                    "blobs", f"{location.key} has {location.length} bytes of {location.size}"
                )
            return await self._range(location.key, location.offset + start, end - start)
        found = bytearray()  # messages of this size are compressed only where they were imported
        at = 0
        async with aclosing(self.stream(location)) as pieces:
            async for piece in pieces:
                found += piece[max(start - at, 0) : max(end - at, 0)]
                at += len(piece)
                if at >= end:
                    break
        if len(found) != end - start:
            raise Unavailable("blobs", f"{location.key} ends before byte {end} of a message")
        return bytes(found)

    def _landed(self, size: int, _: asyncio.Task[None]) -> None:
        self._ahead -= size

    def _fresh(self, locations: Iterable[BodyLocation]) -> list[BodyLocation]:
        return [
            location
            for location in locations
            if self.whole(location)
            and location.message not in self._cache
            and location.message not in self._flights
        ]

    def _start(self, run: list[BodyLocation]) -> asyncio.Task[None]:
        loop = asyncio.get_running_loop()
        flights: dict[UUID, asyncio.Future[bytes]] = {}
        for location in run:
            flight = flights[location.message] = loop.create_future()
            flight.add_done_callback(_seen)  # a read-ahead may have no waiter
        self._flights |= flights
        task = loop.create_task(self._fetch(run, flights))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _fetch(
        self, run: list[BodyLocation], flights: dict[UUID, asyncio.Future[bytes]]
    ) -> None:
        start = min(location.offset for location in run)
        length = _extent(run)
        try:
            data = await self._range(run[0].key, start, length)
            for location in run:
                at = location.offset - start
                self._land(location, data[at : at + location.length], flights[location.message])
        except Unavailable as error:
            self._fail(flights, error)
        except Exception as error:
            log.exception("a blob could not be read", key=run[0].key)
            self._fail(flights, Unavailable("blobs", type(error).__name__))
        finally:
            self._fail(flights, Unavailable("blobs", "the read was cancelled"))

    def _land(self, location: BodyLocation, stored: bytes, flight: asyncio.Future[bytes]) -> None:
        self._flights.pop(location.message, None)
        try:
            body = self._decode(location, stored)
        except Unavailable as error:
            log.error(
                "a stored message is damaged",
                message=str(location.message),
                key=location.key,
                fault=error,
            )
            flight.set_exception(error)
            return
        self._keep(location.message, body)
        flight.set_result(body)

    def _fail(self, flights: dict[UUID, asyncio.Future[bytes]], error: Unavailable) -> None:
        for message, flight in flights.items():
            if not flight.done():
                self._flights.pop(message, None)
                flight.set_exception(error)

    def _keep(self, message: UUID, body: bytes) -> None:
        replaced = self._cache.pop(message, None)
        if replaced is not None:
            self._cached -= len(replaced) + _ENTRY_COST
        self._cache[message] = body
        self._cached += len(body) + _ENTRY_COST
        while self._cached > self._cache_octets:
            _, dropped = self._cache.popitem(last=False)
            self._cached -= len(dropped) + _ENTRY_COST

    async def _range(self, key: str, start: int, length: int) -> bytes:
        if not length:
            return b""
        async with self._parallel:
            _read_ranges.inc()
            data = await self._blobs.read(key, start, length)
        _read_octets.inc(len(data))
        if len(data) != length:
            raise Unavailable("blobs", f"{key} gave {len(data)} bytes of {length}")
        return data

    def _decode(self, location: BodyLocation, stored: bytes) -> bytes:
        if location.encoding == "identity":
            body = stored
        elif location.encoding == "zstd":
            try:
                # A damaged frame may announce any size; check it before that much memory is
                # allocated.
                announced = zstandard.frame_content_size(stored)
                if announced not in (-1, location.size):
                    raise Unavailable(
                        "blobs", f"a frame of {announced} bytes where {location.size} are expected"
                    )
                body = self._decompressor.decompress(stored, max_output_size=location.size)
            except zstandard.ZstdError as error:
                raise Unavailable("blobs", "a frame cannot be decoded") from error
        else:
            raise Unavailable(
                "blobs", f"the encoding {location.encoding} is not known to this release"
            )
        if len(body) != location.size:
            raise Unavailable("blobs", f"{len(body)} bytes where {location.size} are expected")
        return body

    async def _decoded(self, location: BodyLocation, chunk: int) -> AsyncGenerator[bytes]:
        if location.encoding not in ("identity", "zstd"):
            raise Unavailable(
                "blobs", f"the encoding {location.encoding} is not known to this release"
            )
        # a decompressor of its own: one serves a single stream at a time, and others read between
        # two pieces
        decoder = (
            zstandard.ZstdDecompressor().decompressobj() if location.encoding == "zstd" else None
        )
        async with aclosing(
            _closable(self._blobs.stream(location.key, location.offset, location.length, chunk))
        ) as source:
            async for stored in source:
                _read_octets.inc(len(stored))
                if decoder is None:
                    yield stored
                    continue
                for piece in _decode_slices(decoder, stored, chunk):
                    yield piece


def coalesce(
    locations: Iterable[BodyLocation], range_limit: int, gap_limit: int = GAP_LIMIT
) -> list[list[BodyLocation]]:
    """Group messages that are close together in a blob into runs, each read as one range.

    A run spans at most ``range_limit`` bytes (one message always fits) with gaps of at most
    ``gap_limit`` bytes. Runs are in the order of their first message in ``locations``.
    """
    order: dict[UUID, int] = {}
    unique: dict[UUID, BodyLocation] = {}
    for place, location in enumerate(locations):
        order.setdefault(location.message, place)
        unique.setdefault(location.message, location)
    runs: list[list[BodyLocation]] = []
    key, start, end = "", 0, 0
    for location in sorted(unique.values(), key=lambda location: (location.key, location.offset)):
        stop = location.offset + location.length
        near = (
            location.key == key
            and location.offset - end <= gap_limit
            and max(stop, end) - start <= range_limit
        )
        if runs and near:
            runs[-1].append(location)
            end = max(stop, end)
        else:
            runs.append([location])
            key, start, end = location.key, location.offset, stop
    runs.sort(key=lambda run: min(order[location.message] for location in run))
    return runs


def _extent(run: list[BodyLocation]) -> int:
    start = min(location.offset for location in run)
    return max(location.offset + location.length for location in run) - start


def _seen(flight: asyncio.Future[bytes]) -> None:
    if not flight.cancelled():
        flight.exception()


def _decode_slices(
    decoder: zstandard.ZstdDecompressionObj, stored: bytes, chunk: int
) -> Iterable[bytes]:
    waiting: list[bytes] = []
    total = 0
    for at in range(0, len(stored), _SLICE):
        try:
            piece = decoder.decompress(stored[at : at + _SLICE])
        except zstandard.ZstdError as error:
            raise Unavailable("blobs", "a frame cannot be decoded") from error
        waiting.append(piece)
        total += len(piece)
        if total >= chunk:
            yield b"".join(waiting)
            waiting.clear()
            total = 0
    if total:
        yield b"".join(waiting)


async def _closable(source: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    """Wrap a port's iterator in a generator that can be closed, and that closes the source with
    it."""
    try:
        async for piece in source:
            yield piece
    finally:
        if isinstance(source, AsyncGenerator):
            await source.aclose()
