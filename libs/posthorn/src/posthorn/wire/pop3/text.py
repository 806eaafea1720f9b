"""Message octets on their way into a POP3 multi-line reply (RFC 1939 §3, §7 TOP).

Rules:

- A message comes in pieces, cut anywhere; what goes out is the same however it was cut.
- A line ends with CRLF and with nothing else. Messages are stored in that form.
- TOP selects from the message as it is; only what goes out is dot-stuffed, so TopCut stands before DotStuffer.
"""

from __future__ import annotations


class DotStuffer:
    """Doubles the dot at the start of a line and ends the reply."""

    __slots__ = ("_stuffing", "_tail")

    def __init__(self, *, stuffing: bool = True) -> None:
        self._stuffing = stuffing
        """False when the message is known to have no line that begins with a dot."""
        self._tail = b"\r\n"  # the last two octets; a message begins at the start of a line

    def feed(self, piece: bytes) -> bytes:
        """Return the piece as it must be sent."""
        if not piece:
            return piece
        tail = self._tail
        self._tail = piece[-2:] if len(piece) > 1 else tail[-1:] + piece
        if not self._stuffing:
            return piece
        return (tail + piece).replace(b"\r\n.", b"\r\n..")[len(tail) :]

    def end(self) -> bytes:
        """Return the line that ends the reply, after an end of line where the message has none."""
        return b".\r\n" if self._tail == b"\r\n" else b"\r\n.\r\n"


def terminated(message: bytes, *, stuffing: bool) -> bytes:
    """Return a whole message as the rest of a reply, final dot included."""
    if stuffing:
        stuffer = DotStuffer()
        return stuffer.feed(message) + stuffer.end()
    return message + (b".\r\n" if not message or message.endswith(b"\r\n") else b"\r\n.\r\n")


class TopCut:
    """Takes the header, the blank line and the first ``lines`` lines of the body.

    A message without blank line is all header, and gets one at the end: Outlook Express waits for it for ever.
    """

    __slots__ = ("_after_cr", "_in_body", "_left", "_tail", "done")

    def __init__(self, lines: int) -> None:
        self._left = lines
        self._in_body = False
        self._tail = b"\r\n"  # up to three octets before the piece; a blank line may be the very first
        self._after_cr = False
        self.done = False
        """Nothing more is wanted of the message."""

    def feed(self, piece: bytes) -> bytes:
        """Return what is wanted of the piece."""
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
        """Return what is missing when the message has ended."""
        if self._in_body:
            return b""
        return b"\r\n" if self._tail.endswith(b"\r\n") else b"\r\n\r\n"

    def _lines(self, piece: bytes, start: int) -> bytes:
        """Count lines of the body from ``start`` on; give the piece up to where enough is there."""
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
    """Return the header, the blank line and the first ``lines`` lines of the body of a whole message."""
    cut = TopCut(lines)
    return cut.feed(message) + cut.end()
