"""A message that APPEND brings, in the form in which every message is stored (ADR 2).

- Line ends are CRLF, and the last line has one.
- A field comes first: the first line of an mbox becomes one, and text without a header gets an
  empty line before it.
- An empty line ends the header.
"""

from __future__ import annotations

from posthorn.wire.message.before_header import HeadTooShort, header_first
from posthorn.wire.smtp.data import LineEnds


class Incoming:
    """Brings one message into that form, piece by piece. Nothing fails but a run of a thousand
    CRs, which is ``broken``."""

    __slots__ = ("_ends", "_lead", "_seam", "_separated")

    def __init__(self) -> None:
        self._ends = LineEnds(bare_cr=True)
        self._lead: bytes | None = b""  # None once it is decided what comes first
        self._separated = False
        self._seam = b""  # the last bytes given out

    @property
    def broken(self) -> bool:
        """Whether the message cannot be stored."""
        return self._ends.broken

    def feed(self, octets: bytes) -> bytes:
        """Take bytes as they came; return those that are certain."""
        return self._out(self._led(self._ends.feed(octets), more=True))

    def end(self) -> bytes:
        """Return what is left."""
        last = self._out(self._led(self._ends.end(), more=False))
        tail = b""
        if not self._seam.endswith(b"\r\n"):
            tail = self._out(b"\r\n")
        if not self._separated:
            tail += b"\r\n"
        return last + tail

    def _led(self, octets: bytes, *, more: bool) -> bytes:
        if self._lead is None:
            return octets
        lead = self._lead + octets
        try:
            head = header_first(lead, more=more)
        except HeadTooShort:
            self._lead = lead
            return b""
        self._lead = None
        if head is not None:
            return head
        self._separated = True
        return lead if lead.startswith(b"\r\n") else b"\r\n" + lead

    def _out(self, octets: bytes) -> bytes:
        if octets:
            if not self._separated:
                self._separated = b"\r\n\r\n" in self._seam + octets
            self._seam = (self._seam + octets)[-3:] if len(octets) < 3 else octets[-3:]
        return octets
