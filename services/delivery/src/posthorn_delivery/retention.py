"""Retention: mail that its domain keeps no longer is deleted, and deleted mail whose time is over is dropped.

A round deletes a bounded share of all mail, and drops as much: more than that is more likely a wrong clock or setting than what
somebody wants, and the rounds to come, and an alert, leave time to say so (ADR 18). An operator may let this brake go.

One process does it at a time, under a lease that it renews from batch to batch; losing it ends the round. The collector then takes
away the octets that nothing refers to any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from prometheus_client import Counter

from posthorn.ports.errors import Unavailable
from posthorn.ports.retention import Retention, Step
from posthorn.runtime.brakes import Brake
from posthorn_delivery.collector_settings import CollectorSettings

log = structlog.get_logger()

_expired = Counter("posthorn_delivery_retention_expired_total", "Mailbox entries deleted as their domain says")
_purged = Counter("posthorn_delivery_retention_purged_total", "Deleted entries whose time to be brought back was over")
_faults = Counter("posthorn_delivery_retention_faults_total", "Rounds that a fault cut short, by part", ["part"])

_LEASE_SECONDS = 120.0


class RetentionSweeper:
    """Does the rounds."""

    def __init__(
        self,
        retention: Retention,
        settings: CollectorSettings,
        *,
        certain: Callable[[], Awaitable[None]] | None = None,
        brake: Brake | None = None,
    ) -> None:
        """``certain`` raises Unavailable unless the stores are known to belong together."""
        self._retention = retention
        self._settings = settings
        self._certain = certain
        self._brake = brake or Brake("retention", settings.retention_most_share, settings.retention_most)

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
        """Do one round, if this process leads; returns the entries that expired and those that were purged. Raises Unavailable."""
        if not await self._retention.lead(self._settings.retention_interval + _LEASE_SECONDS):
            return 0, 0
        total = await self._retention.entries()
        expired, more = await self._all(self._retention.expire, _expired, total)
        purged, still_more = await self._all(self._retention.purge, _purged, total)
        self._brake.holds(self._brake.most(total) + 1 if more or still_more else 0, total)
        return expired, purged

    async def _all(self, step: Callable[[int], Awaitable[Step]], counter: Counter, total: int) -> tuple[int, bool]:
        """Do one of both, as far as the brake allows; returns how many went, and whether there are more."""
        gone, most = 0, self._brake.most(total)
        while await self._retention.lead(self._settings.retention_interval + _LEASE_SECONDS):
            if self._certain is not None:
                await self._certain()
            left = self._settings.retention_batch if self._brake.is_released else most - gone
            if left <= 0:
                return gone, True
            done = await step(min(self._settings.retention_batch, left))
            gone += done.entries
            counter.inc(done.entries)
            if done.is_over:
                break
        return gone, False
