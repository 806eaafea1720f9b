"""Message and session ids: UUID version 7 (RFC 9562 §5.7), sortable by time."""

from __future__ import annotations

import os
import time
from uuid import UUID

_AT_ONCE = 256
_random: list[int] = []
os.register_at_fork(after_in_child=_random.clear)


def _random_bits() -> int:
    """Return 64 random bits, read from the system many at a time."""
    while True:
        try:
            return _random.pop()  # of several threads each gets its own
        except IndexError:
            _random.extend(memoryview(os.urandom(8 * _AT_ONCE)).cast("Q"))


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
        | _random_bits() >> 2
    )
