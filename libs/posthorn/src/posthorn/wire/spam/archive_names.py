"""Names of files in an archive, from its first and last bytes alone.

What an archive is, its first bytes say, not its name. Nothing is unpacked but what is needed to
read names, a bounded number of bytes; damage ends the reading, and what was found before it counts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from posthorn.wire.spam.cab_names import cab_names
from posthorn.wire.spam.rar_names import rar4_names, rar5_names
from posthorn.wire.spam.seven_zip_names import seven_zip_names
from posthorn.wire.spam.tar_names import gzip_names, is_tar, tar_names, xz_names
from posthorn.wire.spam.zip_names import zip_names

READ_BYTES: Final = 64 * 1024
"""Bytes at the beginning and at the end that are read."""
MOST_NAMES: Final = 100
_LONGEST_NAME: Final = 500

type Listing = tuple[list[str], bool]
"""Names, and whether a file within, or the list of names, is encrypted."""

_KINDS: Final[tuple[tuple[bytes, Callable[[bytes, bytes], Listing]], ...]] = (
    (b"PK\x03\x04", zip_names),
    (b"PK\x05\x06", zip_names),
    (b"Rar!\x1a\x07\x00", rar4_names),
    (b"Rar!\x1a\x07\x01\x00", rar5_names),
    (b"7z\xbc\xaf\x27\x1c", seven_zip_names),
    (b"\x1f\x8b\x08", gzip_names),
    (b"\xfd7zXZ\x00", xz_names),
    (b"MSCF\0\0\0\0", cab_names),
)


@dataclass(frozen=True, slots=True)
class ArchiveNames:
    """What an archive holds."""

    names: tuple[str, ...] = ()
    """Without their folders."""
    is_encrypted: bool = False
    """Whether a file within, or the list of names, is encrypted."""


def is_archive(head: bytes) -> bool:
    """Return whether bytes begin as an archive does whose names can be read."""
    return _reader(head) is not None


def archive_names(head: bytes, tail: bytes) -> ArchiveNames:
    """Return the names in an archive, given its first and last bytes, which may overlap. Never
    fails."""
    reader = _reader(head)
    if reader is None:
        return ArchiveNames()
    found, is_encrypted = reader(head[:READ_BYTES], tail[-READ_BYTES:])
    names = (each.replace("\\", "/").rpartition("/")[2] for each in found)
    kept = dict.fromkeys(each for each in names if 0 < len(each) <= _LONGEST_NAME)
    return ArchiveNames(tuple(kept)[:MOST_NAMES], is_encrypted)


def _reader(head: bytes) -> Callable[[bytes, bytes], Listing] | None:
    found = next((reader for begins, reader in _KINDS if head.startswith(begins)), None)
    return tar_names if found is None and is_tar(head) else found
