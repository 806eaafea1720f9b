"""Input of a connection that was read and not taken yet.

Rules:

- What came in is taken whole, as it came: one piece is never copied.
- After a break of the connection nothing is taken; after the client's orderly end what it has sent
  is.
"""

from __future__ import annotations


class Ended(Exception):
    """Nothing more comes: the client has closed, or broken, the connection."""


class InputQueue:
    """Pieces of input that were read and not taken yet."""

    __slots__ = ("_is_broken", "_pieces", "has_ended", "unread")

    def __init__(self) -> None:
        self.unread = 0
        """Bytes of them."""
        self.has_ended = False
        """The client sends no more."""
        self._pieces: list[bytes] = []
        self._is_broken = False

    def put(self, octets: bytes) -> None:
        """Add a piece."""
        self._pieces.append(octets)
        self.unread += len(octets)

    def end(self, *, broken: bool = False) -> None:
        """Note that nothing more comes; ``broken``: the connection is, and what came before
        counts for nothing."""
        self.has_ended = True
        self._is_broken |= broken

    def clear(self) -> None:
        """Drop what was not taken."""
        self._pieces.clear()
        self.unread = 0

    @property
    def must_wait(self) -> bool:
        """Whether nothing is there and something may come."""
        return not self._pieces and not self.has_ended

    def take(self) -> bytes:
        """Return all that is there. Raises Ended."""
        if self._is_broken or not self._pieces:
            raise Ended
        octets = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self.clear()
        return octets
