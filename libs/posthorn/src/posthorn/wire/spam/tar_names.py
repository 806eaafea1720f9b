"""Names of files in a tar archive (POSIX ustar), plain or packed with gzip (RFC 1952) or xz.

Of a packed one the first bytes are unpacked, up to a limit: names stand before each file's content.
bzip2 is left out: whatever the limit, it unpacks a block of 900 KB before it gives a byte.
"""

from __future__ import annotations

import lzma
import zlib

_BLOCK = 512
_UNPACKED_BYTES = 256 * 1024
_XZ_MEMORY_BYTES = 32 * 1024**2
_HAS_NAME, _HAS_EXTRA = 0x08, 0x04


def is_tar(octets: bytes) -> bool:
    """Return whether bytes begin as a tar archive does."""
    return octets[257:262] == b"ustar"


def tar_names(head: bytes, _tail: bytes = b"") -> tuple[list[str], bool]:
    """Return the names in the beginning of a tar archive."""
    names: list[str] = []
    at = 0
    while is_tar(head[at : at + _BLOCK]):
        block = head[at : at + _BLOCK]
        size = block[124:136].strip(b"\0 ")
        if block[156:157] in (b"0", b"\0", b"7"):
            names.append(block[:100].partition(b"\0")[0].decode("utf-8", "replace"))
        try:
            at += _BLOCK + -(-int(size or b"0", 8) // _BLOCK) * _BLOCK
        except ValueError:
            break
    return names, False


def gzip_names(head: bytes, _tail: bytes) -> tuple[list[str], bool]:
    """Return the name of a file packed with gzip, or those of the tar archive within."""
    unpacker = zlib.decompressobj(wbits=31)
    try:
        names = tar_names(unpacker.decompress(head, _UNPACKED_BYTES))[0]
    except zlib.error:
        names = []
    if not names and head[3:4] and head[3] & (_HAS_NAME | _HAS_EXTRA) == _HAS_NAME:
        names = [head[10:].partition(b"\0")[0].decode("latin-1")]
    return names, False


def xz_names(head: bytes, _tail: bytes) -> tuple[list[str], bool]:
    """Return the names of the tar archive in a file packed with xz."""
    unpacker = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY_BYTES)
    try:
        return tar_names(unpacker.decompress(head, _UNPACKED_BYTES))
    except (lzma.LZMAError, EOFError):
        return [], False
