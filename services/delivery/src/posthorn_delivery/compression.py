"""zstd, as segments use it: quick, one frame for each body, with its content size stated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import zstandard

LEVEL = 1


def zstd_frame(body: bytes) -> bytes:
    """Compress a body. Any thread may call it."""
    return zstandard.ZstdCompressor(level=LEVEL).compress(body)


def compressor(kind: Literal["zstd", "none"]) -> Callable[[bytes], bytes] | None:
    """Give what ``pack`` wants, by the setting's word."""
    return zstd_frame if kind == "zstd" else None
