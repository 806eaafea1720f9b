"""The content of a parcel as it is written to a host: by blocks, dots stuffed across them (RFC 5321 §4.5.2)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from posthorn.wire.smtp.data import stuff

BLOCK = 64 * 1024
"""Octets of the content that are put together before they are written."""


class Content:
    """The content of a parcel by blocks."""

    def __init__(self, source: Callable[[], AsyncIterator[bytes]]) -> None:
        self._source = source()
        self.block = b""
        self.ended = False
        """``block`` is the last one."""
        self._piece: bytes | None = None

    async def advance(self) -> None:
        """Put the next block together."""
        pieces, size = ([], 0) if self._piece is None else ([self._piece], len(self._piece))
        self._piece = None
        async for piece in self._source:
            if size >= BLOCK:  # only now is it known that another block follows
                self._piece = piece
                break
            pieces.append(piece)
            size += len(piece)
        else:
            self.ended = True
        self.block = pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def close(self) -> None:
        """Let go of the source."""
        release = getattr(self._source, "aclose", None)
        if release and not self.ended:
            await release()


def stuffed(block: bytes, tail: bytes) -> bytes:
    """Dot-stuff a block that comes after ``tail``, the two octets before it."""
    if tail != b"\r\n":
        if tail.endswith(b"\r") and block.startswith(b"\n."):
            block = b"\n." + block[1:]
        return block.replace(b"\r\n.", b"\r\n..")
    return stuff(block)
