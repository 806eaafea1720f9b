"""Blobs: immutable objects by key. Adapters: an S3 bucket, a local directory."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO, Protocol

from posthorn.model.envelope import BODIES as BODIES_PREFIX
from posthorn.ports.errors import Unavailable

SEGMENTS = "segments/"
"""Key prefix of packed segments, written by delivery."""
BODIES = BODIES_PREFIX
"""Key prefix of single bodies too large for the stream, written before the 250:
``bodies/<message id>``; what the scanning tier wrote anew, with its fields, has a suffix behind a
dot."""
TRASH = "trash/"
"""Key prefix of orphans that wait to be deleted: ``trash/<former key>``."""
MARK = "posthorn.id"
"""Key of the installation's mark (``model.installation``)."""

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(?:/[A-Za-z0-9][A-Za-z0-9._-]*)*\Z")


def check_key(key: str) -> str:
    """Return the key. Raises ValueError unless it consists of names of letters, digits, ``.``,
    ``_`` and ``-``, none of which begins with a sign, joined by slashes: such a key is safe as a
    path and as a URL."""
    if not _KEY.match(key):
        raise ValueError(f"not a blob key: {key[:100]!r}")
    return key


class BlobMissing(Unavailable):
    """There is no blob with this key. Transient all the same: the store may be behind or partly
    restored."""


@dataclass(frozen=True, slots=True)
class BlobInfo:
    """One blob in a listing."""

    key: str
    size: int
    modified_at: datetime


class Blobs(Protocol):
    """Stores objects under keys such as ``segments/0190…``. A key is written once and never
    changed, except MARK, and bodies of messages that no record names yet: these may be written
    again, with what the scanning tier found before them (ADR 31).

    Every method raises Unavailable (or BlobMissing) and nothing else for faults of the store.
    """

    async def put(self, key: str, parts: Sequence[bytes]) -> None:
        """Store the concatenation of ``parts``. On return it survives a crash of this host or of
        the store's node."""
        ...

    async def put_file(self, key: str, file: BinaryIO, size: int) -> None:
        """Store ``size`` bytes read from ``file`` at its position, without holding them in
        memory. Durable like ``put``."""
        ...

    async def read(self, key: str, offset: int, length: int) -> bytes:
        """Return exactly ``length`` bytes from ``offset``; a shorter blob raises Unavailable."""
        ...

    def stream(
        self, key: str, offset: int, length: int, chunk: int = 262_144
    ) -> AsyncIterator[bytes]:
        """Yield the same bytes in pieces of about ``chunk`` bytes, fetched on demand."""
        ...

    async def delete(self, key: str) -> None:
        """Delete the blob; a missing one is no error."""
        ...

    async def move(self, key: str, to: str) -> None:
        """Rename the blob to another key, without transferring its content through this process.
        Its time in a listing is that of the move.

        Raises BlobMissing. When interrupted, it leaves the blob under the old key, or under both; a
        repeat completes it.
        """
        ...

    def list(self, prefix: str) -> AsyncIterator[BlobInfo]:
        """Yield every blob whose key begins with ``prefix``, in key order."""
        ...

    async def probe(self, *, writes: bool = True) -> None:
        """Check the store by a cheap operation, for readiness: with ``writes`` whether it takes new
        blobs, as far as it can be known; else whether it can be read. Raises Unavailable."""
        ...
