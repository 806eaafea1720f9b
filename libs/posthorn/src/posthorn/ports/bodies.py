"""Reading of stored bodies by location; implemented by ``adapters.blobs.segments``."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from typing import Protocol

from posthorn.model.blob_range import BodyLocation

MOST_RANGE_BYTES = 4 * 1024 * 1024
"""Most bytes of one ``range``."""


class BodyReader(Protocol):
    """Reads bodies through a cache of recent ones. Every method that reads raises BlobMissing or
    Unavailable."""

    def whole(self, location: BodyLocation) -> bool:
        """Return whether the body is small enough to be handled whole."""
        ...

    def cached(self, location: BodyLocation) -> bytes | None:
        """Return the body if it is in the cache."""
        ...

    async def read(self, location: BodyLocation, ahead: Sequence[BodyLocation] = ()) -> bytes:
        """Return a small body. ``ahead``: those that will be read next."""
        ...

    def stream(self, location: BodyLocation, chunk: int = 262_144) -> AsyncGenerator[bytes]:
        """Yield the body in pieces of at most ``chunk`` bytes."""
        ...

    async def range(self, location: BodyLocation, start: int, end: int) -> bytes:
        """Return the bytes from ``start`` up to ``end``, at most ``MOST_RANGE_BYTES``; less where
        the body ends. Of a large body what was read last is kept for a while, so that reading it
        in pieces reads each byte once."""
        ...

    def remember(self, location: BodyLocation, body: bytes) -> None:
        """Cache a body that the caller got otherwise; one of another size is ignored."""
        ...

    def prefetch(self, locations: Iterable[BodyLocation]) -> None:
        """Begin to read small bodies into the cache."""
        ...
