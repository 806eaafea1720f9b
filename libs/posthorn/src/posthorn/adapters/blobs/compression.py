"""zstd, as segments use it: quick, one frame for each body, with its content size stated."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Literal

import zstandard

LEVEL = 1
_of_thread = threading.local()  # making a compressor costs more than a small body


def zstd_frame(body: bytes) -> bytes:
    """Compress a body. Any thread may call it."""
    compressor = getattr(_of_thread, "compressor", None)
    if compressor is None:
        compressor = _of_thread.compressor = zstandard.ZstdCompressor(level=LEVEL)
    return compressor.compress(body)


def compressor(kind: Literal["zstd", "none"]) -> Callable[[bytes], bytes] | None:
    """Return what ``pack`` wants, by the setting's word."""
    return zstd_frame if kind == "zstd" else None
