"""Retention: mail that its domain keeps no longer is deleted, and deleted mail whose time is over is dropped.

One process does it at a time, under a lease that it renews from batch to batch; losing it ends the round. The collector then takes
away the octets that nothing refers to any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from prometheus_client import Counter

from posthorn.ports.faults import Unavailable
from posthorn.ports.retention import Retention, Step
from posthorn_delivery.collector_settings import CollectorSettings

log = structlog.get_logger()

_expired = Counter("posthorn_delivery_retention_expired_total", "Mailbox entries deleted as their domain says")
_purged = Counter("posthorn_delivery_retention_purged_total", "Deleted entries whose time to be brought back was over")
_faults = Counter("posthorn_delivery_retention_faults_total", "Rounds that a fault cut short, by part", ["part"])

_LEASE_SECONDS = 120.0


class Keeper:
    """Does the rounds."""

    def __init__(self, retention: Retention, settings: CollectorSettings) -> None:
        self._retention = retention
        self._settings = settings

    async def run(self) -> None:
        """Keep for ever what is to be kept, and nothing else; run as a supervised task."""
        while True:
            try:
                expired, purged = await self.round()
                if expired or purged:
                    log.info("retention", expired=expired, purged=purged)
            except Unavailable as fault:
                _faults.labels(fault.part).inc()
                log.warning("retention stopped early", part=fault.part, detail=str(fault))
            await asyncio.sleep(self._settings.retention_interval)

    async def round(self) -> tuple[int, int]:
        """Do one round, if this process leads; gives the entries that expired and those that were purged. Raises Unavailable."""
        expired = await self._all(self._retention.expire, _expired)
        return expired, await self._all(self._retention.purge, _purged)

    async def _all(self, step: Callable[[int], Awaitable[Step]], counter: Counter) -> int:
        gone = 0
        while await self._retention.lead(self._settings.retention_interval + _LEASE_SECONDS):
            done = await step(self._settings.retention_batch)
            gone += done.entries
            counter.inc(done.entries)
            if done.is_over:
                break
        return gone
