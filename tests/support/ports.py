"""Ports for tests that do not meet: each worker of pytest-xdist has a share, and goes through it
in turn.

Local mode draws the ports of Postgres and NATS itself, at random, and from others: what it draws
while a test starts a system beside it may be a port that is chosen there and not bound yet.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Sequence
from typing import overload

import pytest

PORTS = range(20_000, 26_000)
"""All shares: below what Linux gives to outgoing connections, and none that local mode draws."""
_STRIDE = 11
"""Between one and the next lie ports for whoever counts upward from its own."""


class PortsInTurn(Sequence[int]):
    """Stands in for the range that ``free_port`` draws from: whatever the index, it gives the port
    whose turn it is.

    A port drawn at random may be one that somebody has chosen a moment ago and not bound yet, or
    means to bind again.
    """

    def __init__(self, worker: int, workers: int) -> None:
        share = len(PORTS) // workers
        self._share = share - 1 if share % _STRIDE == 0 else share  # so that all have a turn
        self._first = PORTS[worker * share]
        self._turn = random.randrange(self._share)

    def __len__(self) -> int:
        return self._share

    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[int]: ...
    def __getitem__(self, index: int | slice) -> int | Sequence[int]:
        if isinstance(index, slice):
            raise TypeError("ports come one by one")
        self._turn = (self._turn + _STRIDE) % self._share
        return self._first + self._turn


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not _has_ipv6(), reason="this machine has no ::1")
"""Marks what connects over IPv6."""
