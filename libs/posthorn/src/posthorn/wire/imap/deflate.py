"""COMPRESS=DEFLATE (RFC 4978): both directions of a connection through raw DEFLATE (RFC 1951).

- What is sent is flushed to a byte each time, or the client would wait for the rest of a reply.
- What comes is inflated in bounded pieces, as the machine takes them: a few bytes may stand for a
  megabyte each (WildDuck c223f429).
- The window and the memory of the sending side are small: some 15 KiB instead of 256.
"""

from __future__ import annotations

import zlib

_LEVEL = 6
_WINDOW_BITS = 13
_MEMORY_LEVEL = 5


class Deflate:
    """The state of both directions."""

    __slots__ = ("_deflate", "_inflate", "_is_full", "_waiting")

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(_LEVEL, zlib.DEFLATED, -_WINDOW_BITS, _MEMORY_LEVEL)
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        self._waiting = bytearray()
        self._is_full = False  # zlib may hold output that went beyond the last piece

    @property
    def waiting(self) -> int:
        """Bytes that came and are not inflated; at least 1 while there may be more to take."""
        return max(len(self._waiting), int(self._is_full))

    def compress(self, octets: bytes) -> bytes:
        """Return what is to be sent for these bytes."""
        return self._deflate.compress(octets) + self._deflate.flush(zlib.Z_SYNC_FLUSH)

    def receive(self, octets: bytes | memoryview) -> None:
        """Add bytes from the client."""
        self._waiting += octets

    def take(self, most: int) -> bytes:
        """Return up to so many inflated bytes; empty when more must come. Raises ValueError when
        the bytes are not DEFLATE, or the client has ended the stream."""
        try:
            octets = self._inflate.decompress(self._waiting, most)
        except zlib.error:
            raise ValueError("the bytes are not DEFLATE") from None
        if self._inflate.eof:
            raise ValueError("the stream of DEFLATE has ended")
        self._waiting = bytearray(self._inflate.unconsumed_tail)
        self._is_full = len(octets) == most
        return octets
