"""Division of a client's bytes into lines and literals (RFC 9051 §4.3, RFC 7888).

A line ends with CRLF; a lone LF is accepted too. Of a line beyond the limit the beginning and the
end are kept: they hold the tag, and the literal that it may announce.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

COMMAND_BYTES = 64 * 1024
"""Most bytes of a command without its literals."""
LITERAL_BYTES = 64 * 1024
"""Most bytes of all literals of a command but messages."""
BEFORE_LOGIN_BYTES = 16 * 1024
"""Instead of both, before login; a response of SASL fits in."""
READ_AHEAD_BYTES = 64 * 1024
"""Bytes in the buffer at which the caller stops reading."""
MOST_LITERALS = 1000
"""Most literals of a command."""
MOST_DRAINED_BYTES = 1 << 40
"""A larger literal that the client sends unasked ends the session."""

_ANNOUNCED = re.compile(rb"(~?)\{([0-9]{1,20})(\+?)\}\Z")
_FIRST = re.compile(
    rb"([^\x00-\x20\x7f-\xff(){%*\"\\+]{1,128}) +(?:(UID) +)?([A-Z0-9]+)(?= |\Z)", re.IGNORECASE
)
_TAG = re.compile(rb"[^\x00-\x20\x7f-\xff(){%*\"\\+]{1,128}(?= |\Z)")
_HEAD_BYTES = 256
_TAIL_BYTES = 64


@dataclass(frozen=True, slots=True)
class Announced:
    """A literal at the end of a line."""

    size: int
    is_synchronising: bool
    """Whether the client waits for a continuation before it sends it."""
    is_binary: bool


@dataclass(frozen=True, slots=True)
class Line:
    """A line without its end and without the literal that it announces."""

    text: bytes
    literal: Announced | None = None
    is_too_long: bool = False
    """Whether ``text`` is only its beginning."""


class Framer:
    """The bytes received and not processed yet."""

    __slots__ = ("_buffer", "_head", "_scanned", "_start")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._start = self._scanned = 0
        self._head = b""  # of a line that is too long

    @property
    def buffered(self) -> int:
        """Bytes received and not processed."""
        return len(self._buffer) - self._start

    def receive(self, octets: bytes | bytearray | memoryview) -> None:
        """Add bytes from the client."""
        self._buffer += octets

    def clear(self) -> bytes:
        """Return the bytes that are not processed, and forget them."""
        rest = bytes(self._buffer[self._start :])
        self._buffer.clear()
        self._start = self._scanned = 0
        self._head = b""
        return rest

    def take(self, most: int) -> bytes:
        """Take up to so many bytes."""
        end = min(self._start + most, len(self._buffer))
        octets = bytes(memoryview(self._buffer)[self._start : end])
        self._start = self._scanned = end
        self._compact()
        return octets

    def line(self, limit: int) -> Line | None:
        """Take a line of at most ``limit`` bytes; None when it is not complete."""
        buffer = self._buffer
        end = buffer.find(b"\n", max(self._scanned, self._start))
        if end < 0:
            if self.buffered > limit + 2:
                self._head = self._head or bytes(buffer[self._start : self._start + _HEAD_BYTES])
                self._start = len(buffer) - _TAIL_BYTES
            self._scanned = len(buffer)
            self._compact(always=True)
            return None
        text = bytes(memoryview(buffer)[self._start : end]).removesuffix(b"\r")
        self._start = self._scanned = end + 1
        self._compact()
        found = _ANNOUNCED.search(text, max(0, len(text) - 24)) if text.endswith(b"}") else None
        literal = (
            Announced(int(found[2]), not found[3], bool(found[1])) if found is not None else None
        )
        if self._head or len(text) > limit:
            head, self._head = self._head or text[:_HEAD_BYTES], b""
            return Line(head, literal, is_too_long=True)
        return Line(text[: found.start()] if found else text, literal)

    def _compact(self, *, always: bool = False) -> None:
        if self._start and (always or self._start == len(self._buffer) or self._start > 1 << 16):
            del self._buffer[: self._start]
            self._scanned -= self._start
            self._start = 0


def read_verb(text: bytes) -> tuple[bytes, str, int]:
    """Return the tag of a command, its verb in upper case (``UID FETCH`` is one), and the place
    after it; what is missing or invalid is empty."""
    found = _FIRST.match(text)
    if found is None:
        tag = _TAG.match(text)
        return tag[0] if tag else b"", "", 0
    verb = found[3].decode().upper()
    return found[1], f"UID {verb}" if found[2] else verb, found.end()
