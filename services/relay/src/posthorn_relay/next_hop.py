"""What this relay knows of a next hop: its workers, whether its host is down, addresses that
failed.

The state that all relays share is in the queue (slots, ``close_next_hop``); this copy only saves
questions to it.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence

from posthorn_relay.smtp.types import RemoteHost

BAD_HOST_SECONDS = 120.0
"""How long a host that failed is tried after the others."""
CAP_SECONDS = 60.0
"""How long no more connections are opened than the host accepted."""
CLOSED_SECONDS = 1.0
"""How long this relay itself honours that it closed a next hop; by then the queue enforces it."""
OPENED_SECONDS = 30.0
"""Minimum interval between two reports to the queue that a next hop works."""
_MAX_REMEMBERED = 20_000


class NextHop:
    """One next hop. Times are of the monotonic clock, in seconds."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.workers = 0
        self.connected = 0
        """Workers that hold an open connection."""
        self.failures = 0
        """Times in a row that it was closed, as far as this relay knows."""
        self._closed_until = 0.0
        self._opened_at = -OPENED_SECONDS
        self._cap = 0
        self._cap_until = 0.0
        self._bad: dict[tuple[str, int], float] = {}

    @property
    def is_closed(self) -> bool:
        """Whether this relay has just closed it."""
        return time.monotonic() < self._closed_until

    def close(self, failures: int) -> None:
        """Note that it is being closed in the queue; ``failures``: how many times in a row, this
        one included."""
        self._closed_until = time.monotonic() + CLOSED_SECONDS
        self.failures = failures

    def open(self) -> bool:
        """Note that a connection was made; return whether to report it to the queue."""
        now = time.monotonic()
        is_report_due = self.failures > 0 or now - self._opened_at >= OPENED_SECONDS
        if is_report_due:
            self._opened_at = now
        self.failures, self._closed_until = 0, 0.0
        return is_report_due

    def cap_connections(self) -> None:
        """Note that the host accepts no connection beyond those it has."""
        self._cap, self._cap_until = max(1, self.connected), time.monotonic() + CAP_SECONDS

    def has_room(self, connections: int) -> bool:
        """Return whether another worker may start, where ``connections`` are allowed."""
        limit = min(connections, self._cap) if time.monotonic() < self._cap_until else connections
        return self.workers < limit and not self.is_closed

    def host_failed(self, remote: RemoteHost) -> None:
        """Try the host after the others for a while."""
        self._bad[remote.key] = time.monotonic() + BAD_HOST_SECONDS

    def host_worked(self, remote: RemoteHost) -> None:
        """Try the host in its usual order again."""
        self._bad.pop(remote.key, None)

    def order(self, remotes: Sequence[RemoteHost]) -> list[RemoteHost]:
        """Return the hosts with those that failed recently at the end."""
        now = time.monotonic()
        self._bad = {key: until for key, until in self._bad.items() if until > now}
        return sorted(remotes, key=lambda remote: remote.key in self._bad)


class NextHops:
    """Next hops by key; only those used last are remembered."""

    def __init__(self) -> None:
        self._next_hops: OrderedDict[str, NextHop] = OrderedDict()

    def get(self, key: str) -> NextHop:
        """Return the next hop of a key, a new one if it is not remembered."""
        next_hop = self._next_hops.get(key)
        if next_hop is None:
            next_hop = self._next_hops[key] = NextHop(key)
            while (
                len(self._next_hops) > _MAX_REMEMBERED
                and not next(iter(self._next_hops.values())).workers
            ):
                self._next_hops.popitem(last=False)
        self._next_hops.move_to_end(key)
        return next_hop
