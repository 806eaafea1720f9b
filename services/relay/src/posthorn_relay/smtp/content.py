"""The content of a transaction as it is written: in blocks, dot-stuffed across their borders
(RFC 5321 §4.5.2)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable

from posthorn.wire.smtp.data import stuff

BLOCK = 64 * 1024
"""Bytes of the content that are joined before they are written."""


class Content:
    """The content of a transaction in blocks."""

    def __init__(self, source: Callable[[], AsyncGenerator[bytes]]) -> None:
        self._source = source()
        self.block = b""
        self.ended = False
        """``block`` is the last one."""
        self._piece: bytes | None = None

    async def advance(self) -> None:
        """Read the next block."""
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
        """Close the source."""
        if not self.ended:
            await self._source.aclose()


def stuffed(block: bytes, tail: bytes) -> bytes:
    """Return a block dot-stuffed; ``tail`` are the two bytes before it."""
    if tail != b"\r\n":
        if tail.endswith(b"\r") and block.startswith(b"\n."):
            block = b"\n." + block[1:]
        return block.replace(b"\r\n.", b"\r\n..")
    return stuff(block)
