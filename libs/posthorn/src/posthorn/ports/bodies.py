"""Reading of stored bodies by location; implemented by ``adapters.blobs.segments``."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from typing import Protocol

from posthorn.model.blob_range import BodyLocation


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

    def prefetch(self, locations: Iterable[BodyLocation]) -> None:
        """Begin to read small bodies into the cache."""
        ...
