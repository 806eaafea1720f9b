"""Which process reads which shares of the events.

Rules:

- One API process reads them all; the others stand by, and one takes over ``LEAD_SECONDS`` after the
  reader died. With ``readers``, so many processes take an equal part of the shares each (ADR 41).
- A process takes more than its part only if nobody takes a share for ``_ABANDONED_SECONDS``.
- Share 0 comes first, and with one reader the others follow it: so a process of a release that
  knows no shares reads, or this one, never both.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from posthorn.model.events import SHARES
from posthorn.ports.errors import Unavailable
from posthorn.ports.statistics import EventCheckpoint

LEAD_SECONDS = 15.0
_ABANDONED_SECONDS = 60.0
"""For which a share without a reader is left to those that have room for it."""


class ShareLeases:
    """The shares that this process has to read, by leases of ``LEAD_SECONDS``."""

    def __init__(self, checkpoint: EventCheckpoint, readers: int) -> None:
        self._checkpoint = checkpoint
        self._most = -(-SHARES // readers)
        self._unled_since: dict[int, float] = {}
        self._has_asked = False  # for leases, whether or not the answer came
        self.shares: frozenset[int] = frozenset()

    async def take(self) -> bool:
        """Keep the shares, and take what there is room for; False: there are none. Raises
        Unavailable."""
        now = time.monotonic()
        unled = await self._checkpoint.unled()
        self._unled_since = {share: self._unled_since.get(share, now) for share in unled}
        wanted = set(self.shares & unled)
        for share in sorted(unled - wanted):
            is_abandoned = now - self._unled_since[share] >= _ABANDONED_SECONDS
            if len(wanted) < self._most or is_abandoned:
                wanted.add(share)
        if self._most == SHARES and 0 not in wanted:
            wanted.clear()
        if not wanted:
            return False
        self._has_asked = True
        self.shares = await self._checkpoint.lead(wanted, LEAD_SECONDS)
        return bool(self.shares)

    async def resign(self) -> None:
        """Leave the shares to others, as far as that can be said."""
        self.shares = frozenset()
        if self._has_asked:
            self._has_asked = False
            with suppress(Unavailable):
                await asyncio.shield(self._checkpoint.resign())
