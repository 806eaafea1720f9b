"""What this relay knows of a lane: how many work on it, whether its host is down, which addresses failed lately.

The truth that all relays share is in the queue (``close_lane``, slots); this here spares questions to it.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence

from posthorn_relay.transport import Hop

BAD_HOP_SECONDS = 120.0
"""How long a hop that failed is tried after the others."""
CAP_SECONDS = 60.0
"""How long no more connections are opened than the host put up with."""
CLOSED_SECONDS = 1.0
"""How long this relay minds by itself that it closed a lane, while the queue comes to know; after that the queue says so."""
OPENED_SECONDS = 30.0
"""How often the queue is told at most that a lane works that nobody here knew to be down."""
_MOST = 20_000


class Lane:
    """One lane. Moments are of the monotonic clock."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.workers = 0
        self.connected = 0
        """Workers that hold an open connection."""
        self.failures = 0
        """Times in a row that it was closed, as far as known."""
        self._closed_until = 0.0
        self._opened_at = -OPENED_SECONDS
        self._cap = 0
        self._cap_until = 0.0
        self._bad: dict[tuple[str, int], float] = {}

    @property
    def is_closed(self) -> bool:
        """Whether this relay has just closed it."""
        return time.monotonic() < self._closed_until

    def closed(self, failures: int) -> None:
        """It is being closed in the queue."""
        self._closed_until = time.monotonic() + CLOSED_SECONDS
        self.failures = failures

    def opened(self) -> bool:
        """A connection was made; gives whether the queue is to be told."""
        now = time.monotonic()
        tell = self.failures > 0 or now - self._opened_at >= OPENED_SECONDS
        if tell:
            self._opened_at = now
        self.failures, self._closed_until = 0, 0.0
        return tell

    def cap(self) -> None:
        """The host takes no further connection beside those it has."""
        self._cap, self._cap_until = max(1, self.connected), time.monotonic() + CAP_SECONDS

    def room(self, connections: int) -> bool:
        """Whether another worker may begin."""
        most = min(connections, self._cap) if time.monotonic() < self._cap_until else connections
        return self.workers < most and not self.is_closed

    def failed(self, hop: Hop) -> None:
        """A hop failed."""
        self._bad[hop.address, hop.port] = time.monotonic() + BAD_HOP_SECONDS

    def worked(self, hop: Hop) -> None:
        """A hop worked."""
        self._bad.pop((hop.address, hop.port), None)

    def order(self, hops: Sequence[Hop]) -> list[Hop]:
        """Put hops that failed lately behind the others."""
        now = time.monotonic()
        self._bad = {key: until for key, until in self._bad.items() if until > now}
        return sorted(hops, key=lambda hop: (hop.address, hop.port) in self._bad)


class Lanes:
    """Lanes by key, those used last; the others are forgotten."""

    def __init__(self) -> None:
        self._lanes: OrderedDict[str, Lane] = OrderedDict()

    def of(self, key: str) -> Lane:
        """Give a lane."""
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = Lane(key)
            while len(self._lanes) > _MOST and not next(iter(self._lanes.values())).workers:
                self._lanes.popitem(last=False)
        self._lanes.move_to_end(key)
        return lane
