"""Retention: deletes mail past its domain's retention, purges deleted mail past its undelete
period, and drops copies past their time in quarantine.

A round deletes, and purges, a bounded share of all mail: more is likely a wrong clock or setting,
and later rounds and an alert leave time to intervene (ADR 18). An operator may release this brake.

One process does it at a time, under a lease that it renews from batch to batch; losing it ends the
round. The collector then removes the bodies without references.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from prometheus_client import Counter, Gauge

from posthorn.ports.errors import Unavailable
from posthorn.ports.retention import Retention, Step
from posthorn.runtime.brakes import Brake
from posthorn_delivery.collector_settings import CollectorSettings

log = structlog.get_logger()

_expired = Counter(
    "posthorn_delivery_retention_expired_total",
    "Mailbox entries deleted by their domain's retention",
)
_purged = Counter(
    "posthorn_delivery_retention_purged_total", "Deleted entries purged after their undelete period"
)
_quarantine_expired = Counter(
    "posthorn_delivery_quarantine_expired_total", "Copies dropped after their time in quarantine"
)
_quarantined = Gauge(
    "posthorn_delivery_quarantined_copies",
    "Copies in quarantine by reason, as the last round found them",
    ["reason"],
)
_faults = Counter(
    "posthorn_delivery_retention_faults_total", "Rounds ended by a fault, by part", ["part"]
)

_LEASE_SECONDS = 120.0
_REASONS = ("virus", "dmarc", "score", "blocked")
"""Reasons that are measured though there is no copy, so that growth from nothing shows."""


class RetentionSweeper:
    """Runs the rounds."""

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
        self._brake = brake or Brake(
            "retention", settings.retention_most_share, settings.retention_most
        )

    async def run(self) -> None:
        """Run a round per interval until cancelled; run as a supervised task."""
        while True:
            try:
                expired, purged = await self.round()
                if expired or purged:
                    log.info("retention", expired=expired, purged=purged)
            except Unavailable as fault:
                _faults.labels(fault.part).inc()
                log.warning("retention round ended early", fault=fault)
            await asyncio.sleep(self._settings.retention_interval_seconds)

    async def round(self) -> tuple[int, int]:
        """Do one round, if this process leads; return the numbers of entries expired and purged.
        Raises Unavailable."""
        if not await self._retention.lead(
            self._settings.retention_interval_seconds + _LEASE_SECONDS
        ):
            _quarantined.clear()  # another process measures
            return 0, 0
        total = await self._retention.entries()
        expired, more = await self._all(self._retention.expire, _expired, total)
        purged, still_more = await self._all(self._retention.purge, _purged, total)
        _, withheld = await self._all(self._retention.expire_quarantine, _quarantine_expired, total)
        copies = dict.fromkeys(_REASONS, 0) | dict(await self._retention.quarantined())
        for reason, number in copies.items():
            _quarantined.labels(reason).set(number)
        is_held = more or still_more or withheld
        self._brake.holds(self._brake.most(total) + 1 if is_held else 0, total)
        return expired, purged

    async def _all(
        self, step: Callable[[int], Awaitable[Step]], counter: Counter, total: int
    ) -> tuple[int, bool]:
        """Run one step, as far as the brake allows; return the number of entries, and whether
        there are more."""
        gone, most = 0, self._brake.most(total)
        while await self._retention.lead(
            self._settings.retention_interval_seconds + _LEASE_SECONDS
        ):
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
