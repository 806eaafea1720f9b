"""Compressed and encrypted files, recognised by their first bytes.

Mail stores compress single messages on disk (Dovecot's zlib plugin), and people compress whole
archives.
"""

from __future__ import annotations

import bz2
import lzma
import zlib

_MAGIC = (
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"CRYPTED\x03\x07", "Dovecot's mail-crypt"),
    (b"PK\x03\x04", "zip"),
)


class NotUnpackedError(ValueError):
    """The bytes cannot be unpacked: corrupt, too large, or in an unsupported format."""


def compression_of(data: bytes | bytearray) -> str | None:
    """Return the name of the compression or encryption of the bytes; None if none is recognised."""
    return next((name for magic, name in _MAGIC if data.startswith(magic)), None)


def unpacked(data: bytes, limit: int) -> bytes:
    """Return the content of compressed bytes, at most ``limit`` bytes of it. Raises
    NotUnpackedError."""
    form = compression_of(data)
    try:
        match form:
            case "gzip":
                gzip = zlib.decompressobj(zlib.MAX_WBITS | 16)
                content, is_whole = gzip.decompress(data, limit + 1), gzip.eof
            case "bzip2":
                bzip2 = bz2.BZ2Decompressor()
                content, is_whole = bzip2.decompress(data, limit + 1), bzip2.eof
            case "xz":
                xz = lzma.LZMADecompressor()
                content, is_whole = xz.decompress(data, limit + 1), xz.eof
            case _:
                raise NotUnpackedError(f"it is compressed or encrypted ({form}); unpack it first")
    except (zlib.error, OSError, lzma.LZMAError, EOFError):
        raise NotUnpackedError(f"it is compressed ({form}) and damaged") from None
    if len(content) > limit:
        raise NotUnpackedError(f"it has more than {limit} octets once unpacked")
    if not is_whole:
        raise NotUnpackedError(f"it is compressed ({form}) and breaks off")
    return content
