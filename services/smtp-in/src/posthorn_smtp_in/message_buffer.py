"""A message while it comes in: where its bytes lie, and what is counted of them.

Theory:

- What is stored is: trace fields, the content as it came, and the few octets that ADR 2 names. The
  octets pass here once, in order; size, hash, dot lines and the end of the header are found on the
  way.
- A small message stays in memory. A large one, or any when the memory that all sessions share is
  used up, goes to a temporary file that has no name, so that nothing is left of it whatever happens
  to this process. The file's octets are limited too.
- A message that turned out to be refused keeps nothing: its ``fault`` is set, its octets are given
  back, and more are ignored.
- NUL is in no message (RFC 5322 §2.3). A submitted one that has any is refused. A stranger's is
  kept as it came, but not when a line is of NULs and then a dot: a next hop that leaves NULs out
  would take that line for the end of the message.
- The header of a submitted message is completed before it is kept. It is held back until its end
  has come, within a limit.
- A submitted message with lines that no host must take (RFC 5321 §4.5.3.1.6) is stored in another
  form once it is complete, so that what is signed is what travels (ADR 26). One that cannot be
  converted stays as it is.
"""

from __future__ import annotations

import asyncio
import hashlib
import mmap
import re
import time
from collections.abc import Callable, Iterator
from typing import BinaryIO, cast

import structlog

from posthorn.model.envelope import Body
from posthorn.runtime.client_networks import is_own_side, site
from posthorn.wire.message.before_header import HeadTooShort, header_first
from posthorn.wire.message.content_fields import Inconvertible
from posthorn.wire.message.header import SCAN_LIMIT, HeaderScan, Summary, scan_header
from posthorn.wire.message.seven_bit import convert
from posthorn.wire.message.submission import HEADER_LIMIT, HeaderError
from posthorn.wire.message.transfer_encoding import LineWatch
from posthorn.wire.smtp import replies as smtp
from posthorn.wire.smtp.replies import Reply
from posthorn_smtp_in.spool_file import SpoolFile, WithFields
from posthorn_smtp_in.spool_limits import ByteBudget as ByteBudget
from posthorn_smtp_in.spool_limits import SpoolLimits as SpoolLimits

log = structlog.get_logger()

BLOCK = 256 * 1024
"""Octets written to the file at once."""
SCRAP = 4096
"""Octets below which a piece is joined with the next one."""
_HIDDEN_DOT = re.compile(rb"\r\n\0+\.")
_NULS_BEGIN_LINE = re.compile(rb"\r\n\0+\Z")
_NO_HEADER = HeaderScan(Summary(), 0, starts_with_field=False, has_separator=True)


class MessageBuffer:
    """One message. ``add`` its content, ``finish`` it, take ``facts`` and octets, and
    ``discard`` it in any case."""

    def __init__(
        self,
        limits: SpoolLimits,
        trace: bytes,
        return_path_octets: int,
        complete: Callable[[bytes], bytes] | None = None,
        *,
        whole: bool = True,
        client: str = "",
    ) -> None:
        """Begin with the trace fields. ``complete`` returns the stored form of a header block, or
        raises HeaderError.

        ``whole``: whether a header block of more than HEADER_LIMIT is refused; otherwise its
        beginning is completed. ``client`` is the address of whom the octets are counted to; empty:
        of nobody.
        """
        self.network = site(client) if client else ""
        self.is_own_side = is_own_side(client)
        self.began_at = time.monotonic()
        self.fault: Reply | None = None
        """Why the message is refused; None while it is not."""
        self.size = 0
        """Octets stored so far."""
        self.content_octets = 0
        self._limits = limits
        self._trace = trace
        self._return_path_octets = return_path_octets
        self._complete = complete
        self._whole = whole
        self._lead: bytearray | None = bytearray()
        self._content_at = 0
        self._has_header = False
        self._separated = True
        self._lines = LineWatch()
        self._dots = False
        self._nuls_begin_line = False
        self._last = b""
        self._parts: list[bytes] = []
        self._in_memory = 0
        self._in_file = 0
        self._file: SpoolFile | None = None
        self._finished = False
        self._inserted: WithFields | None = None
        limits.unfinished.add(self)

    @property
    def is_spooled(self) -> bool:
        """Whether the octets lie in a file."""
        return self._file is not None

    @property
    def facts(self) -> Body:
        """What was counted, once it is finished."""
        return Body(self.size, self._digest(), self._dots, self._return_path_octets)

    @property
    def trace_octets(self) -> int:
        """Bytes of the trace fields that it began with."""
        return len(self._trace)

    def fail(self, reply: Reply) -> None:
        """Refuse the message, unless it is refused already, and keep nothing of it."""
        if self.fault is None:
            self.fault = reply
            self.discard()

    def held(self, where: ByteBudget) -> int:
        """Return the bytes that it holds there."""
        return self._in_memory if where is self._limits.memory else self._in_file

    def drop(self) -> None:
        """Drop the message to make space for others: it is told 452 at its end."""
        log.info(
            "a message is dropped for want of space",
            network=self.network,
            octets=self.content_octets,
        )
        self.fail(smtp.FULL)

    async def add(self, content: bytes) -> None:
        """Take content: dots taken off, line ends whole."""
        if self.fault is not None:
            return
        self.content_octets += len(content)
        if self.content_octets > self._limits.max_size:
            self.fail(smtp.TOO_BIG)
            return
        if self._lead is not None:
            if not self._leads(content):
                return
            content = self._open()
        await self._append(content)

    async def finish(self) -> None:
        """Bring the complete content into its stored form."""
        self._limits.unfinished.discard(self)
        if self.fault is not None:
            return
        if self._lead is not None:
            await self._append(self._open())
        if not self._last.endswith(b"\r\n"):
            await self._append(b"\r\n")  # only BDAT can leave it out
        if not self._separated:
            await self._append(b"\r\n")
        if self._lines.is_long and self._is_submitted:
            await self._shorten_lines()
        await self._seal()

    @property
    def _is_submitted(self) -> bool:
        return self._complete is not None and self._whole

    async def _shorten_lines(self) -> None:
        """Store the message anew with lines that can travel, where it can be had so."""
        if self._file is not None and self._parts:
            await self._write()
        if self.fault is not None:
            return
        file, memory, spool = self._file, self._in_memory, self._in_file
        source = (
            b"".join(self._parts)
            if file is None
            else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        )
        try:
            conversion = await asyncio.to_thread(convert, source, eight_bit=True)
        except Inconvertible as reason:
            log.info("a message keeps its long lines", network=self.network, detail=str(reason))
            return
        self._parts, self._file, self._in_memory, self._in_file = [], None, 0, 0
        self.size, self._dots, self._last = 0, False, b""
        pieces = conversion.blocks()
        try:
            while piece := await asyncio.to_thread(_joined, pieces):
                await self._append(piece)
        finally:
            self._limits.memory.release(memory, self.network)
            self._limits.spool.release(spool, self.network)

    async def _seal(self) -> None:
        if self.fault is not None:
            return
        if self._file is not None:
            await self._write()
        else:
            self._parts = [b"".join(self._parts)]
        self._finished = True

    def insert(self, fields: bytes) -> None:
        """Put header fields behind the Return-Path line, once the message is finished. They are
        few: they are not counted as held."""
        assert self._finished and self._inserted is None
        at = self._return_path_octets
        if self._file is None:
            whole = self._parts[0]
            self._parts = [b"".join((whole[:at], fields, whole[at:]))]
        else:
            self._inserted = WithFields(self._file, self.size, fields, at)
        self.size += len(fields)

    def _digest(self) -> bytes:
        stored = self._inserted or self._file
        if stored is None:
            return hashlib.sha256(self._parts[0], usedforsecurity=False).digest()
        return stored.digest()

    async def scan(self) -> HeaderScan:
        """Return what the header says, once the message is finished."""
        if not self._has_header:
            return _NO_HEADER
        if self._file is None:
            head = self._parts[0][self._content_at : self._content_at + SCAN_LIMIT]
        else:
            head = await asyncio.to_thread(self._file.part, self._content_at, SCAN_LIMIT)
        return scan_header(head)

    def file(self) -> BinaryIO:
        """Return the file with all bytes, at its beginning, once the message is finished and is
        spooled."""
        file = self._inserted or self._file
        assert file is not None and self._finished
        file.seek(0)
        return cast(BinaryIO, file)

    async def octets(self) -> bytes:
        """Return all bytes, once the message is finished. A spooled one comes back into memory:
        for small ones only."""
        assert self._finished
        if self._file is None:
            return self._parts[0]
        if self._inserted is not None:
            self._inserted.seek(0)
            return await asyncio.to_thread(self._inserted.readall)
        return await asyncio.to_thread(self._file.part, 0, self.size)

    def discard(self) -> None:
        """Release everything. May come more than once."""
        self._limits.unfinished.discard(self)
        self._parts.clear()
        self._lead = None
        self._limits.memory.release(self._in_memory, self.network)
        self._limits.spool.release(self._in_file, self.network)
        self._in_memory = self._in_file = 0
        self._file = None

    def _leads(self, content: bytes) -> bool:
        """Take content of the beginning; tells whether there is enough of it to decide on its
        form."""
        assert self._lead is not None
        seam = max(len(self._lead) - 3, 0)
        self._lead += content
        if not self._has_header:
            try:
                self._put_header_first(more=True)
            except HeadTooShort:
                return False
            seam = 0
        if not self._has_header:
            return True
        if self._complete is None:
            return True
        ended = self._lead.find(b"\r\n\r\n", seam)
        if ended + 2 > HEADER_LIMIT or (ended < 0 and len(self._lead) > HEADER_LIMIT):
            if not self._whole:
                return True
            self.fail(smtp.HEADER_TOO_BIG)
            return False
        if ended >= 0:
            return True
        if not self._limits.take(self._limits.memory, len(content), self):
            self.fail(smtp.FULL)
            return False
        self._in_memory += len(content)
        return False

    def _put_header_first(self, *, more: bool) -> None:
        """Raises HeadTooShort with ``more``."""
        head = header_first(bytes(self._lead or b""), more=more)
        if head is not None:
            self._lead, self._has_header = bytearray(head), True

    def _open(self) -> bytes:
        """Decide what stands between the trace fields and the content (ADR 2); return the first
        stored octets."""
        if not self._has_header:
            self._put_header_first(more=False)
        lead, self._lead = bytes(self._lead or b""), None
        self._limits.memory.release(self._in_memory, self.network)
        self._in_memory = 0
        self._separated = not self._has_header
        gap = b"" if self._has_header or lead.startswith(b"\r\n") else b"\r\n"
        if self._complete is not None:
            end = lead.find(b"\r\n\r\n") if self._has_header else -1
            block, rest = (lead[: end + 2], lead[end + 2 :]) if end >= 0 else (lead, b"")
            if not self._has_header:
                block, rest = b"", gap + lead
            try:
                block = self._complete(block)
            except HeaderError as error:
                log.info("the header does not read", detail=str(error))
                self.fail(smtp.BAD_HEADER)
                return b""
            lead, gap = block + rest, b""
            self._has_header = bool(block)
            self._separated = not self._has_header
        self._content_at = len(self._trace) + len(gap)
        return b"".join((self._trace, gap, lead))

    async def _append(self, octets: bytes) -> None:
        if self.fault is not None:
            return
        if (self._nuls_begin_line or b"\0" in octets) and self._smuggles(octets):
            self.fail(smtp.NUL)
            return
        seam = self._last + octets[:3]
        self._separated = self._separated or b"\r\n\r\n" in octets or b"\r\n\r\n" in seam
        self._dots = self._dots or b"\r\n." in octets or b"\r\n." in seam
        self._last = octets[-3:] if len(octets) >= 3 else seam[-3:]
        self.size += len(octets)
        if self._is_submitted:
            self._lines.update(octets)
        memory = self._limits.memory
        fits = memory.grants(len(octets), self) and memory.take(len(octets), self.network)
        self._in_memory += len(octets) if fits else 0
        if self._parts and len(self._parts[-1]) < SCRAP:
            # a client that sends octet by octet must not make an object of each
            self._parts[-1] += octets
        else:
            self._parts.append(octets)
        if self._file is None:
            if fits and self.size <= self._limits.inline:
                return
        elif fits and self._in_memory < BLOCK:
            return
        await self._write()

    def _smuggles(self, octets: bytes) -> bool:
        """Return whether NULs in the octets, or at the end of those before them, are to be
        refused."""
        if self._is_submitted:
            return True
        window = (b"\r\n\0" if self._nuls_begin_line else self._last) + octets
        self._nuls_begin_line = _NULS_BEGIN_LINE.search(window) is not None
        return _HIDDEN_DOT.search(window) is not None

    async def _write(self) -> None:
        """Move what is in memory to the file."""
        block = b"".join(self._parts)
        self._parts.clear()
        if self._limits.take(self._limits.spool, len(block), self):
            self._in_file += len(block)
            try:
                if self._file is None:
                    self._file = await asyncio.to_thread(SpoolFile.new, self._limits.directory)
                await asyncio.to_thread(self._file.append, block)
            except (OSError, ValueError) as error:
                log.error("the spool does not take octets", fault=error)
                self.fail(smtp.FULL)
        else:
            self.fail(smtp.FULL)
        self._limits.memory.release(self._in_memory, self.network)
        self._in_memory = 0
        if self.fault is not None:
            self._file = None  # it may have been given up while a thread made the file


def _joined(pieces: Iterator[bytes]) -> bytes:
    """Take pieces together, up to about a block; empty at their end."""
    found, size = [], 0
    for piece in pieces:
        found.append(piece)
        size += len(piece)
        if size >= BLOCK:
            break
    return b"".join(found)
