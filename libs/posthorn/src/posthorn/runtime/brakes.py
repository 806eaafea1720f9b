"""Brakes: who deletes stops when it would delete unusually much, and says so (ADR 18).

A brake is independent of what is known of the stores: it limits the harm of a fault that nobody foresaw. It is let go by an
operator, for a while: ``posthorn-api release-brakes``.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog
from prometheus_client import Gauge

log = structlog.get_logger()

_holding = Gauge("posthorn_brake_holding", "1 while a brake keeps something from being deleted", ["brake"])


class Brake:
    """One of them. ``share`` of what there is, or ``least`` if that is more, may go without anybody's word."""

    def __init__(self, name: str, share: float, least: int, released: Callable[[], bool] = lambda: False) -> None:
        self._name = name
        self._share = share
        self._least = least
        self._released = released
        _holding.labels(name).set(0)

    def most(self, of: int) -> int:
        """How many of so many may go."""
        return max(self._least, int(self._share * of))

    def holds(self, wanted: int, of: int) -> bool:
        """Return whether so many of so many are too many."""
        held = wanted > self.most(of) and not self._released()
        _holding.labels(self._name).set(held)
        if held:
            log.error(
                "too much would be deleted: stopped", brake=self._name, would_go=wanted, of=of, allowed=self.most(of)
            )
        return held

    @property
    def is_released(self) -> bool:
        """Whether an operator has let it go."""
        return self._released()
