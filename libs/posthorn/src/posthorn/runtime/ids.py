"""Message and session ids: UUID version 7 (RFC 9562 §5.7), sortable by time."""

from __future__ import annotations

import secrets
import time
from uuid import UUID


def new_id() -> UUID:
    """Return a UUIDv7: milliseconds since the epoch, 12 bits of their fraction (RFC 9562 §6.2,
    method 3), 62 random bits.

    A step of the fraction is a quarter of a microsecond, so that the ids of messages accepted by
    one process are in order.
    """
    milliseconds, fraction = divmod(time.time_ns(), 1_000_000)
    return UUID(
        int=milliseconds << 80
        | 0x7 << 76
        | (fraction * 4096 // 1_000_000) << 64
        | 0b10 << 62
        | secrets.randbits(62)
    )
