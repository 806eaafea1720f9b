"""Message content of POP3 multi-line replies (RFC 1939 §3, §7 TOP).

Rules:

- A message arrives in arbitrary pieces; the output does not depend on their boundaries.
- A line ends with CRLF and with nothing else. Messages are stored in that form.
- TOP selects from the original message; only the output is dot-stuffed, so TopCut comes before
  DotStuffer.
"""

from __future__ import annotations


class DotStuffer:
    """Doubles dots at the start of lines and ends the reply."""

    __slots__ = ("_stuffing", "_tail")

    def __init__(self, *, stuffing: bool = True) -> None:
        self._stuffing = stuffing
        """False when the message is known to have no line that begins with a dot."""
        self._tail = b"\r\n"  # the last two bytes; a message begins at the start of a line

    def feed(self, piece: bytes) -> bytes:
        """Return the piece as sent."""
        if not piece:
            return piece
        tail = self._tail
        self._tail = piece[-2:] if len(piece) > 1 else tail[-1:] + piece
        if not self._stuffing:
            return piece
        return (tail + piece).replace(b"\r\n.", b"\r\n..")[len(tail) :]

    def end(self) -> bytes:
        """Return the line that ends the reply, after a line end where the message has none."""
        return b".\r\n" if self._tail == b"\r\n" else b"\r\n.\r\n"


def terminated(message: bytes, *, stuffing: bool) -> bytes:
    """Return a whole message as the rest of a reply, final dot included."""
    if stuffing:
        stuffer = DotStuffer()
        return stuffer.feed(message) + stuffer.end()
    return message + (b".\r\n" if not message or message.endswith(b"\r\n") else b"\r\n.\r\n")


class TopCut:
    """Selects the header, the blank line and the first ``lines`` lines of the body.

    A message without a blank line is all header, and gets one at the end: Outlook Express would
    wait for it without limit.
    """

    __slots__ = ("_after_cr", "_in_body", "_left", "_tail", "done")

    def __init__(self, lines: int) -> None:
        self._left = lines
        self._in_body = False
        # up to three bytes before the piece; a blank line may be the first one
        self._tail = b"\r\n"
        self._after_cr = False
        self.done = False
        """Whether enough has been selected."""

    def feed(self, piece: bytes) -> bytes:
        """Return the selected part of the piece."""
        if self.done or not piece:
            return b""
        if self._in_body:
            return self._lines(piece, 0)
        joined = self._tail + piece
        blank = joined.find(b"\r\n\r\n")
        if blank < 0:
            self._tail = joined[-3:]
            return piece
        self._in_body = True
        return self._lines(piece, blank + 4 - len(self._tail))

    def end(self) -> bytes:
        """Return what is missing at the end of the message."""
        if self._in_body:
            return b""
        return b"\r\n" if self._tail.endswith(b"\r\n") else b"\r\n\r\n"

    def _lines(self, piece: bytes, start: int) -> bytes:
        """Count lines of the body from ``start`` on; return the piece up to the last wanted
        line."""
        position = start
        if self._left and self._after_cr and piece.startswith(b"\n", start):
            self._left -= 1
            position = start + 1
        if self._left:
            count = piece.count(b"\r\n", position)
            if count < self._left:
                self._left -= count
                self._after_cr = piece.endswith(b"\r", start) and len(piece) > start
                return piece
            while self._left:
                position = piece.find(b"\r\n", position) + 2
                self._left -= 1
        self.done = True
        return piece[:position]


def top(message: bytes, lines: int) -> bytes:
    """Return the header, the blank line and the first ``lines`` lines of the body of a whole
    message."""
    cut = TopCut(lines)
    return cut.feed(message) + cut.end()
