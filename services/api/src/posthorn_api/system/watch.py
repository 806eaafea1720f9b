"""Metrics of what the API does in the background, measured by every process of it."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog
from prometheus_client import Gauge

from posthorn.ports.errors import Unavailable
from posthorn.ports.system import StoredLags, StreamState
from posthorn_api.pending import Pending
from posthorn_api.system.events_lag import events_lag_seconds

log = structlog.get_logger()

EVERY_SECONDS: Final = 15.0

_directory = Gauge(
    "posthorn_api_directory_lag_seconds", "Age of the oldest change that smtp-in cannot see yet"
)
_webhooks = Gauge(
    "posthorn_api_webhooks_lag_seconds", "How long the oldest due delivery of a webhook has waited"
)
_events = Gauge(
    "posthorn_api_events_lag_seconds",
    "Age of the oldest event that statistics, search and webhooks have not read",
)


class LagWatch:
    """Measures the lags that Postgres and the stream of events know."""

    def __init__(self, lags: StoredLags, streams: Pending[StreamState]) -> None:
        self._lags = lags
        self._streams = streams

    async def run(self) -> None:
        """Measure for ever; a supervised task."""
        while True:
            await self.look()
            await asyncio.sleep(EVERY_SECONDS)

    async def look(self) -> None:
        """Measure once."""
        try:
            lags = await self._lags.lags()
            _directory.set(lags.directory_seconds)
            _webhooks.set(lags.webhooks_seconds)
            _events.set(await events_lag_seconds(self._streams.get(), self._lags))
        except Unavailable as fault:
            log.debug("lags are not known", part=fault.part)
