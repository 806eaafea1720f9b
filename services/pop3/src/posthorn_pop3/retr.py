"""The replies to RETR and TOP: messages sent to one client (RFC 1939 §5, §7).

Rules:

- A reply that has begun is completed or the connection is cut: a client never takes a broken
  message for a whole one.
- Before it can be known that a reply will succeed, no ``+OK`` is sent.
- A message counts as read once RETR has sent it to its end and the transport is not backed up, once
  in a session. TOP never counts: clients use it to look at headers. Its end may not have left the
  system by then, and nobody can know whether the client has kept it; so nothing follows from it but
  a line in the trace. Deletion waits for more (``session``).
"""

from __future__ import annotations

import time
from collections.abc import Coroutine
from contextlib import aclosing
from typing import Any, Protocol
from uuid import UUID

import structlog

from posthorn.model.blob_range import BodyLocation
from posthorn.ports.errors import Unavailable
from posthorn.runtime import traces
from posthorn.wire.pop3.text import DotStuffer, TopCut, terminated, top
from posthorn_pop3.metrics import TEMPORARY_FAILURES
from posthorn_pop3.open_maildrop import Gone, Opened, OpenMaildrop

log = structlog.get_logger()

type Work = Coroutine[Any, Any, None]
"""A coroutine for what cannot be answered at once."""


class ReplyWriter(Protocol):
    """Sends replies to the client, and controls its connection."""

    def send(self, data: bytes) -> None:
        """Queue bytes."""
        ...

    def flush(self) -> None:
        """Send what is queued."""
        ...

    async def room(self) -> None:
        """Wait until the client has taken enough for more to be sent. Raises ConnectionError
        when it is gone."""
        ...

    async def emptied(self) -> None:
        """Send what is queued and wait until the system has taken all of it. Raises
        ConnectionError when the client goes before."""
        ...

    def close(self) -> None:
        """End the connection after what is queued."""
        ...

    def cut(self) -> None:
        """End the connection now."""
        ...

    def claim(self, account: str, tenant: str) -> bool:
        """Take a place of the share of an account and its tenant; return whether there was one."""
        ...

    def unclaim(self) -> None:
        """Release that place."""
        ...

    def interrupt(self) -> None:
        """End now: the maildrop was closed from outside."""
        ...

    async def start_tls(self) -> None:
        """Send what is queued, shake hands and tell the machine. Raises OSError when it fails."""
        ...


class Retriever:
    """Sends the messages of one session's maildrop."""

    def __init__(self, maildrop: OpenMaildrop, outlet: ReplyWriter, *, no_nuls: bool) -> None:
        self._maildrop = maildrop
        self._out = outlet
        self._no_nuls = no_nuls
        self._read = bytearray(len(maildrop.snapshot))
        self._unrecorded: list[UUID] = []
        self._began = 0  # nanoseconds since the epoch, where messages are traced
        self._is_cached = False
        self.messages = 0
        """Sent whole, repeats included."""
        self.octets = 0
        """Of those."""
        self.is_broken = False
        """A reply was begun that cannot be ended: the connection is cut."""

    def send(self, number: int, lines: int | None) -> Work | None:
        """Send a message that is there, or its header and so many lines; return a coroutine when
        it must be waited for."""
        cached = self._maildrop.cached(number)
        if traces.tracer is not None:
            self._began, self._is_cached = time.time_ns(), cached is not None
        if cached is None:
            return self._fetched(number, lines)
        self._send_whole(number, *cached, lines)
        return None

    def record_read(self) -> None:
        """Record what was sent as read: the transport has taken it."""
        if self._unrecorded:
            self._maildrop.have_read(self._unrecorded)
            self._unrecorded = []

    def _sent(self, number: int, location: BodyLocation) -> None:
        self.messages += 1
        self.octets += location.size
        if not self._read[number - 1]:
            self._read[number - 1] = 1
            self._unrecorded.append(location.message)
        if traces.tracer is not None:
            self._trace(location.message, size=location.size)

    def _trace(self, message: UUID | str, *, size: int = 0, fault: str = "") -> None:
        known = traces.if_sampled(message)
        if traces.tracer is not None and known is not None:
            about: dict[str, traces.Value] = {
                traces.ROLE: "pop3",
                traces.CACHED: self._is_cached,
                traces.SIZE: size,
            }
            traces.tracer.span(traces.READ, known, self._began, about, fault=fault)

    def _send_whole(
        self, number: int, location: BodyLocation, body: bytes, lines: int | None
    ) -> None:
        if self._no_nuls:
            body = body.replace(b"\0", b"\x80")
        send = self._out.send
        if lines is None:
            send(b"+OK %d octets\r\n" % location.size)
            self._sent(number, location)
        else:
            body = top(body, lines)
            send(b"+OK top of message follows\r\n")
        send(terminated(body, stuffing=location.has_dot_lines))

    async def _fetched(self, number: int, lines: int | None) -> None:
        try:
            opened = await self._maildrop.open(number)
        except Gone:
            self._out.send(b"-ERR message %d is not there any more\r\n" % number)
        except Unavailable as error:
            log.warning(
                "message not readable",
                message=self._maildrop.message(number),
                account=self._maildrop.address,
                number=number,
                fault=error,
            )
            TEMPORARY_FAILURES.labels("retr").inc()
            self._trace(self._maildrop.message(number) or "", fault=type(error).__name__)
            self._out.send(
                b"-ERR [SYS/TEMP] the message cannot be read at this moment, try again\r\n"
            )
        else:
            if opened.rest is None:
                self._send_whole(number, opened.location, opened.first, lines)
            else:
                await self._send_pieces(number, opened, lines)

    async def _send_pieces(self, number: int, opened: Opened, lines: int | None) -> None:
        assert opened.rest is not None
        location = opened.location
        async with aclosing(opened.rest) as rest:
            cut = None if lines is None else TopCut(lines)
            stuffer = DotStuffer(stuffing=location.has_dot_lines)
            self._out.send(
                b"+OK %d octets\r\n" % location.size
                if cut is None
                else b"+OK top of message follows\r\n"
            )
            piece: bytes | None = opened.first
            try:
                while piece is not None and not (cut and cut.done):
                    await self._send_piece(piece, cut, stuffer)
                    piece = None if cut and cut.done else await anext(rest, None)
            except Unavailable as error:
                log.error(
                    "connection cut in the middle of a message",
                    message=str(location.message),
                    account=self._maildrop.address,
                    fault=error,
                )
                TEMPORARY_FAILURES.labels("retr").inc()
                self.is_broken = True
                self._out.cut()
                return
            if cut:
                self._out.send(stuffer.feed(cut.end()))
            else:
                self._sent(number, location)
            self._out.send(stuffer.end())

    async def _send_piece(self, piece: bytes, cut: TopCut | None, stuffer: DotStuffer) -> None:
        if cut:
            piece = cut.feed(piece)
        if self._no_nuls:
            piece = piece.replace(b"\0", b"\x80")
        self._out.send(stuffer.feed(piece))
        await self._out.room()
