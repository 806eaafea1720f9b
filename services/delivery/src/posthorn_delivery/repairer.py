"""Repair of INGEST: deliver the messages that the stream holds and no consumer hands out.

A full disk under NATS, or a consumer that was lost and recreated, may leave such messages. Most
were delivered long ago; their ids show it. One process scans at a time, and takes what it finds in
two consecutive scans.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable

import structlog
from prometheus_client import Counter

from posthorn.ports.errors import Unavailable
from posthorn.ports.ingest import Strays
from posthorn_delivery.deliverer import Deliverer

log = structlog.get_logger()

_repaired = Counter(
    "posthorn_delivery_strays_total", "Messages on INGEST that no consumer knew, delivered again"
)

LOOK_EVERY = 10.0
"""Seconds between two scans."""
_AT_ONCE = 100


class Repairer:
    """Finds stray messages and delivers them. ``lead`` takes the lease for so many seconds;
    False: another process holds it."""

    def __init__(
        self, strays: Strays, deliverer: Deliverer, lead: Callable[[float], Awaitable[bool]]
    ) -> None:
        self._strays = strays
        self._deliverer = deliverer
        self._lead = lead
        self._seen: frozenset[bytes] = frozenset()

    async def run(self) -> None:
        """Scan until cancelled; run as a supervised task."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            try:
                await self.look()
            except Unavailable as fault:
                log.warning("INGEST could not be scanned for strays", fault=fault)

    async def look(self) -> int:
        """Deliver what was found by the previous scan too; return how many. Raises Unavailable."""
        if not await self._lead(3 * LOOK_EVERY):
            self._seen = frozenset()
            return 0
        found = await self._strays.find(_AT_ONCE)
        known = {stray: hashlib.sha256(stray.octets).digest() for stray in found}
        again = [stray for stray, digest in known.items() if digest in self._seen]
        self._seen = frozenset(known.values())
        if again:
            log.warning("delivering stray messages", messages=len(again))
            await self._deliverer.deliver(again)
            _repaired.inc(len(again))
        return len(again)
