"""Message and session ids: UUID version 7 (RFC 9562 §5.7), sortable by time."""

from __future__ import annotations

import secrets
import time
from uuid import UUID


def new_id() -> UUID:
    """Give a UUIDv7: 48 bits of milliseconds since the epoch, 74 random bits."""
    milliseconds = time.time_ns() // 1_000_000
    rand = secrets.randbits(74)
    return UUID(int=milliseconds << 80 | 0x7 << 76 | (rand >> 62) << 64 | 0b10 << 62 | rand & ((1 << 62) - 1))
