"""Files without a name for messages that are too large for memory, and such a message with fields
put behind its first line."""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
from collections.abc import Buffer
from pathlib import Path

_BLOCK = 1 << 20


class SpoolFile(io.FileIO):
    """A file without a name that lives as long as somebody holds it.

    It is dropped, never closed by hand: a thread that still reads or writes for a caller who has
    gone must not find the descriptor to be another file's by then.
    """

    _hash: hashlib._Hash

    @classmethod
    def new(cls, directory: Path | None) -> SpoolFile:
        """Return a new one. Raises OSError."""
        with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
            made = cls(os.dup(file.fileno()), "r+b")
        made._hash = hashlib.sha256(usedforsecurity=False)
        return made

    def append(self, block: bytes) -> None:
        """Write all of a block at the end. Raises OSError."""
        view = memoryview(block)
        while view:
            view = view[self.write(view) :]
        self._hash.update(block)

    def part(self, offset: int, length: int) -> bytes:
        """Return ``length`` bytes from ``offset``, fewer at the end; the position stays."""
        parts = []
        while length > 0 and (part := os.pread(self.fileno(), length, offset)):
            parts.append(part)
            offset += len(part)
            length -= len(part)
        return b"".join(parts)

    def digest(self) -> bytes:
        """Return the SHA-256 of what was appended."""
        return self._hash.digest()

    def __del__(self) -> None:
        self.close()


class WithFields(io.RawIOBase):
    """A spooled message with header fields inserted, read as one file, which is never whole in
    memory. Its bytes are hashed as they are first read."""

    def __init__(self, file: SpoolFile, size: int, fields: bytes, at: int) -> None:
        """``size``: bytes of the file; ``at``: bytes of it before the fields."""
        self.size = size + len(fields)
        self._file = file
        self._fields = fields
        self._from, self._to = at, at + len(fields)
        self._at = 0
        self._hash = hashlib.sha256(usedforsecurity=False)
        self._hashed = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position; return it."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        self._at = max(base + offset, 0)
        return self._at

    def readinto(self, buffer: Buffer) -> int:
        """Read up to the next seam between file and fields, at most as much as fits."""
        view = memoryview(buffer).cast("B")
        piece = self._piece(len(view))
        view[: len(piece)] = piece
        return len(piece)

    def digest(self) -> bytes:
        """Return the SHA-256 of the whole; what was not read yet is read for it."""
        while self._hashed < self.size:
            self._at = self._hashed
            if not self._piece(_BLOCK):
                raise OSError("the spool file is shorter than it was")
        return self._hash.digest()

    def _piece(self, most: int) -> bytes:
        at = self._at
        if self._from <= at < self._to:
            piece = self._fields[at - self._from :][:most]
        elif at < self._from:
            piece = os.pread(self._file.fileno(), min(most, self._from - at), at)
        else:
            piece = os.pread(self._file.fileno(), most, at - len(self._fields))
        self._at += len(piece)
        if at <= self._hashed < self._at:
            self._hash.update(piece[self._hashed - at :])
            self._hashed = self._at
        return piece
