"""How slowly a message may come in.

What a client may still be waited for is a bucket of seconds: each second that it is waited for
takes one out, and what it sends puts some back, one for as many bytes as it must send in a second,
never beyond the fill it began with. So a burst earns no right to be silent for long afterwards.
"""

from __future__ import annotations


class Pace:
    """The patience with one message."""

    def __init__(self, least_rate: float, seconds: float) -> None:
        """``least_rate`` in bytes a second; ``seconds`` for which it may be slower."""
        self._least_rate = least_rate
        self._most = seconds
        self.left = seconds
        """Seconds for which the client may be waited for."""

    def note(self, waited: float, octets: int) -> None:
        """The client was waited for so many seconds, and sent so many bytes."""
        self.left = min(self._most, self.left - waited + octets / self._least_rate)
