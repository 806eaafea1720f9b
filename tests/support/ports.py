"""Ports for tests that do not meet: each worker of pytest-xdist has a share, and goes through it
in turn."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import overload

_FIRST = 20_000
_SHARE = 3_000
_SHARES = 4
"""Workers beyond them share with the first ones. All shares lie below what Linux gives to
outgoing connections."""
_STRIDE = 11
"""Between one and the next lie ports for whoever counts upward from its own; no divisor of the
share, so all have a turn."""


class PortsInTurn(Sequence[int]):
    """Stands in for the range that ``free_port`` draws from: whatever the index, it gives the port
    whose turn it is.

    A port drawn at random may be one that somebody has chosen a moment ago and not bound yet, or
    means to bind again.
    """

    def __init__(self, worker: int) -> None:
        self._first = _FIRST + worker % _SHARES * _SHARE
        self._turn = random.randrange(_SHARE)

    def __len__(self) -> int:
        return _SHARE

    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[int]: ...
    def __getitem__(self, index: int | slice) -> int | Sequence[int]:
        if isinstance(index, slice):
            raise TypeError("ports come one by one")
        self._turn = (self._turn + _STRIDE) % _SHARE
        return self._first + self._turn
