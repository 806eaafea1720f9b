"""Files of mail written as a stream: mbox, an archive of Maildirs, an archive of messages."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from posthorn.ports.transfers import Contents, Exported
from posthorn.wire.archive import maildir
from posthorn.wire.archive.mbox import MboxWriter, from_line, status_lines
from posthorn.wire.archive.tar import file_header, padding
from posthorn.wire.message.header import SCAN_LIMIT, header_end
from posthorn_api.transfers.archives import Format

_PIECES_OCTETS = 65_536


async def written(
    form: Format, contents: Contents, entry: Exported, pieces: AsyncIterator[bytes]
) -> AsyncIterator[bytes]:
    """Yield a message as the file holds it; nothing when there are no pieces."""
    first = await anext(pieces, None)
    if first is None:
        return
    at, size = entry.received_at.timestamp(), entry.location.size
    if form is Format.MBOX:
        head = first[: header_end(first)] if header_end(first) >= 0 else first[:SCAN_LIMIT]
        yield from_line(entry.reverse_path, at) + status_lines(entry.flags, head)
        writer = MboxWriter()
        yield writer.feed(first)
        async for piece in pieces:
            yield writer.feed(piece)
        yield writer.end()
        return
    number = f"U{entry.uid}.{entry.location.message.hex}"
    folder = contents.mailboxes[entry.mailbox]
    if form is Format.MAILDIR:
        path = f"{folder}/cur/{maildir.file_name(number, at, entry.flags)}"
    else:
        path = f"{folder}/{entry.uid:010}-{entry.location.message}.eml"
    yield file_header(path, size, at, entry.keywords if form is Format.MAILDIR else ())
    yield first
    async for piece in pieces:
        yield piece
    yield padding(size)


async def gathered(pieces: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    """Yield the same bytes in larger pieces: small ones cost a system call each."""
    held: list[bytes] = []
    size = 0
    async with aclosing(pieces):
        async for piece in pieces:
            held.append(piece)
            size += len(piece)
            if size >= _PIECES_OCTETS:
                yield b"".join(held)
                held.clear()
                size = 0
    if held:
        yield b"".join(held)
