"""zstd compression for segments: one frame per body, with its content size stated."""

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
    """Return the compress function for ``pack``, by the setting's value."""
    return zstd_frame if kind == "zstd" else None
