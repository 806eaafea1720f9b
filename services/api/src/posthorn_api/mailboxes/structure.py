"""The parts of a stored message, found and taken out of its bytes as they are read: nothing is
whole in memory.

A message is read twice for a part: once to find where the part lies, once to give it. Pieces are
scanned in threads, since a message that was made for it keeps a processor busy for a while.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from posthorn.wire.message.mime import MimeScanner, Part
from posthorn.wire.message.transfer_decoding import transfer_decoder

_SMALL = 16 * 1024
_STEP = 256 * 1024


@dataclass(frozen=True, slots=True)
class Structure:
    """The MIME structure of a message."""

    root: Part
    size_bytes: int
    is_complete: bool
    "False if the message has more parts, or deeper ones, than are listed."


@dataclass(frozen=True, slots=True)
class PartContent:
    """A part on its way to a caller."""

    part: Part
    length: int | None
    """Bytes that come; None where that is known only once they are decoded."""
    first: bytes
    rest: AsyncGenerator[bytes]


async def scan(first: bytes, rest: AsyncGenerator[bytes], size: int) -> Structure:
    """Return the structure of a message that is being read. Raises as the reading does."""
    scanner = MimeScanner()
    async with aclosing(rest):
        await _feed(scanner, first)
        async for piece in rest:
            await _feed(scanner, piece)
    return Structure(await asyncio.to_thread(scanner.finish), size, scanner.is_complete)


async def _feed(scanner: MimeScanner, piece: bytes) -> None:
    if len(piece) <= _SMALL:
        scanner.feed(piece)
        return
    for at in range(0, len(piece), _STEP):
        await asyncio.to_thread(scanner.feed, piece[at : at + _STEP])


async def content(
    first: bytes, rest: AsyncGenerator[bytes], part: Part, *, raw: bool
) -> PartContent:
    """Return the content of a part of a message that is being read, decoded or as it lies there.
    Raises as the reading does."""
    encoding = "" if raw or part.parts else part.fields.encoding
    pieces = _decoded(
        _between(first, rest, part.body_offset, part.body_offset + part.body_bytes), encoding
    )
    is_same = encoding not in ("base64", "quoted-printable")
    return PartContent(part, part.body_bytes if is_same else None, await anext(pieces, b""), pieces)


async def _between(
    first: bytes, rest: AsyncGenerator[bytes], begin: int, end: int
) -> AsyncGenerator[bytes]:
    """Yield the bytes from one offset to another."""
    async with aclosing(rest):
        at = len(first)
        if wanted := first[begin:end]:
            yield wanted
        if at >= end:
            return
        async for piece in rest:
            if wanted := piece[max(0, begin - at) : max(0, end - at)]:
                yield wanted
            at += len(piece)
            if at >= end:
                return


async def _decoded(pieces: AsyncGenerator[bytes], encoding: str) -> AsyncGenerator[bytes]:
    decoder = transfer_decoder(encoding)
    async with aclosing(pieces):
        async for piece in pieces:
            for at in range(0, len(piece), _STEP):
                step = piece[at : at + _STEP]
                found = (
                    decoder.feed(step)
                    if len(step) <= _SMALL
                    else await asyncio.to_thread(decoder.feed, step)
                )
                if found:
                    yield found
    if found := decoder.finish():
        yield found
