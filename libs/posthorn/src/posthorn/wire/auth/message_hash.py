"""The inputs of a signature from a message in pieces.

These are its header block, the hash of its body, and whether every host accepts it as it is. The
body is hashed in relaxed form (RFC 6376 §3.4.4) piece by piece, and never stored.
"""

from __future__ import annotations

from posthorn.wire.auth.canonicalization import BodyHash
from posthorn.wire.message.header import header_end
from posthorn.wire.message.transfer_encoding import LineWatch


class MessageHash:
    """Takes a message in CRLF form, cut anywhere."""

    def __init__(self) -> None:
        self._head = b""
        self._in_body = False
        self._body = BodyHash()
        self._lines = LineWatch()
        self._is_ascii = True

    @property
    def open_header_bytes(self) -> int:
        """Bytes of the header block until its end is found; 0 afterwards."""
        return 0 if self._in_body else len(self._head)

    @property
    def is_fit(self) -> bool:
        """Whether every host accepts the content so far as it is: 7-bit, in lines of at most 998
        bytes (RFC 5321 §4.5.3.1.6)."""
        return self._is_ascii and not self._lines.is_long

    def update(self, piece: bytes) -> None:
        """Add the next bytes."""
        self._is_ascii = self._is_ascii and piece.isascii()
        self._lines.update(piece)
        if self._in_body:
            self._body.update(piece)
            return
        self._head += piece
        end = header_end(self._head)
        if end >= 0:
            self._in_body = True
            self._body.update(self._head[end:])
            self._head = self._head[: end - 2]

    def result(self) -> tuple[bytes, bytes]:
        """Return the header block, without the blank line that ends it, and the hash. Nothing
        more may be taken afterwards."""
        return self._head, self._body.digest()
