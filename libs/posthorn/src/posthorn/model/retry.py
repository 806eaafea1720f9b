"""Retry schedules: exponential backoff up to a limit, with jitter (RFC 5321 §4.5.4.1)."""

from __future__ import annotations

from dataclasses import dataclass

_MOST_DOUBLINGS = 40  # beyond it any bound is reached, and the float stays small


@dataclass(frozen=True, slots=True)
class Schedule:
    """Pauses in seconds. The caller provides the randomness, so that this is a pure function."""

    first: float
    last: float
    """The pause doubles from the first to this one."""
    jitter: float = 0.0
    """Fraction by which a pause may be longer or shorter, 0 to below 1."""

    def pause(self, failures: int, chance: float) -> float:
        """Return the pause after a failure that followed ``failures`` others. ``chance``: from 0
        to 1; 0.5: no jitter."""
        pause = min(self.last, self.first * 2.0 ** min(max(failures, 0), _MOST_DOUBLINGS))
        return pause * (1 + self.jitter * (2 * chance - 1))


NEXT_HOP = Schedule(60.0, 3600.0, 0.2)
"""How long nothing is sent to a host that is down."""
