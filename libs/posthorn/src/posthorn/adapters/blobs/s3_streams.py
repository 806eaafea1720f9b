"""What is sent to S3 and read from it, piece by piece: sources of uploads, and downloads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO

from urllib3.response import BaseHTTPResponse

from posthorn.ports.errors import Unavailable


class Download:
    """The bytes of a response, piece by piece; its connection is reused when all of them were
    read."""

    def __init__(self, response: BaseHTTPResponse | None, length: int) -> None:
        self._response = response
        self._left = length

    def next(self, most: int) -> bytes:
        """Return the next bytes, at most so many. Raises Unavailable when some are missing."""
        wanted = min(most, self._left)
        if not wanted or self._response is None:
            return b""
        piece = self._response.read(wanted)
        if len(piece) != wanted:
            raise Unavailable("blobs", "the blob is shorter than expected")
        self._left -= wanted
        if not self._left:
            # the end of the response, so that the connection goes back to the pool
            self._response.read()
        return piece

    def close(self) -> None:
        """Return the connection to its pool, or close it when bytes are left."""
        if self._response is None:
            return
        if self._left:
            self._response.close()
        self._response.release_conn()


class PartsSource:
    """Bytes in several pieces, read as one file; sent to the store without being joined."""

    def __init__(self, parts: Sequence[bytes]) -> None:
        self._parts = parts
        self._part = 0
        self._offset = 0
        self.size = sum(len(part) for part in parts)

    def read(self, most: int) -> bytes:
        """Return the next bytes, at most so many; none at the end."""
        while self._part < len(self._parts):
            part = self._parts[self._part]
            piece = (
                part
                if not self._offset and len(part) <= most
                else part[self._offset : self._offset + most]
            )
            self._offset += len(piece)
            if self._offset >= len(part):
                self._part, self._offset = self._part + 1, 0
            if piece:
                return piece
        return b""

    def tell(self) -> int:
        """Return the position."""
        return sum(len(part) for part in self._parts[: self._part]) + self._offset

    def seek(self, position: int) -> None:
        """Move to a position."""
        self._part = 0
        while self._part < len(self._parts) and position >= len(self._parts[self._part]):
            position -= len(self._parts[self._part])
            self._part += 1
        self._offset = position


class FileSource:
    """The next ``size`` bytes of a file, read as a file of its own."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._start = file.tell()
        self._at = 0
        self.size = size

    def read(self, most: int) -> bytes:
        """Return the next bytes, at most so many; none at the end."""
        wanted = min(most, self.size - self._at)
        piece = self._file.read(wanted) if wanted else b""
        if wanted and not piece:
            raise ValueError("the file ends before the size given")
        self._at += len(piece)
        return piece

    def tell(self) -> int:
        """Return the position."""
        return self._at

    def seek(self, position: int) -> None:
        """Move to a position."""
        self._file.seek(self._start + position)
        self._at = position


type UploadSource = PartsSource | FileSource
