"""Hosts that offer an extension and do not follow it, remembered for a while."""

from __future__ import annotations

import time
from collections import OrderedDict

from posthorn_relay.smtp.types import RemoteHost

REMEMBERED_SECONDS = 3600.0
"""How long a host counts as one without what it refused."""
_MOST = 10_000


class HostMemory:
    """Hosts that refused something, each for ``REMEMBERED_SECONDS``."""

    def __init__(self) -> None:
        self._until: OrderedDict[tuple[str, int], float] = OrderedDict()

    def add(self, remote: RemoteHost) -> None:
        """Remember a host from now on; the oldest of too many are forgotten."""
        self._until[remote.key] = time.monotonic() + REMEMBERED_SECONDS
        self._until.move_to_end(remote.key)
        while len(self._until) > _MOST:
            self._until.popitem(last=False)

    def __contains__(self, remote: RemoteHost) -> bool:
        return self._until.get(remote.key, 0.0) > time.monotonic()
