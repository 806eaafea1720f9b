"""Brakes: deletion stops, with an alert, when it would delete unusually much (ADR 18).

A brake is independent of the comparison of the stores: it limits the harm of unforeseen faults. An
operator releases all brakes for a while with ``posthorn-api release-brakes``.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog
from prometheus_client import Gauge

log = structlog.get_logger()

_holding = Gauge("posthorn_brake_holding", "1 while a brake prevents a deletion", ["brake"])


class Brake:
    """A brake. ``share`` of all objects, or ``least`` if that is more, may be deleted without a
    release."""

    def __init__(
        self, name: str, share: float, least: int, released: Callable[[], bool] = lambda: False
    ) -> None:
        self._name = name
        self._share = share
        self._least = least
        self._released = released
        _holding.labels(name).set(0)

    def most(self, of: int) -> int:
        """Return how many of so many may be deleted."""
        return max(self._least, int(self._share * of))

    def holds(self, wanted: int, of: int) -> bool:
        """Return whether so many of so many are too many."""
        held = wanted > self.most(of) and not self._released()
        _holding.labels(self._name).set(held)
        if held:
            log.error(
                "too much would be deleted; stopped by a brake",
                brake=self._name,
                would_go=wanted,
                of=of,
                allowed=self.most(of),
            )
        return held

    @property
    def is_released(self) -> bool:
        """Whether an operator has released it."""
        return self._released()
