"""Where the body of a message lies in the blob store."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True)
class BlobRange:
    """A range of a blob."""

    offset: int
    length: int
    """Bytes as stored, after encoding."""
    encoding: str = "identity"
    """``identity`` or ``zstd``."""


@dataclass(frozen=True, slots=True)
class BodyLocation:
    """Where the body of a stored message lies, and what POP3 needs to know of it before it is
    read."""

    message: UUID
    key: str
    offset: int
    length: int
    encoding: str
    size: int
    has_dot_lines: bool
