"""Usage of JetStream's storage, so that an alert is raised before publishing fails.

A client sees the usage and limit of its account, but not the size of the disk. An account without a
limit is measured against the capacity of the volume, where it is known, or against the sum of the streams' limits.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from prometheus_client import Gauge

from posthorn.adapters.nats.connection import Connection
from posthorn.ports.errors import Unavailable
from posthorn.runtime.settings import NatsSettings

MEASURE_SECONDS = 15.0
_BESIDE = 1024**3
"""Bytes allowed for the directory bucket and for files' overhead."""

_used = Gauge("posthorn_nats_storage_bytes", "Bytes of file storage used by our JetStream account")
_limit = Gauge(
    "posthorn_nats_storage_limit_bytes", "Bytes of file storage available to our JetStream account"
)


async def storage(
    connection: Connection, settings: NatsSettings, capacity: int | None = None
) -> tuple[int, int]:
    """Return the bytes used and the bytes available in total: what the account may use, or the
    ``capacity`` of the server's volume in bytes. Raises Unavailable."""
    account = await connection.api("INFO")
    allowed = int(account.get("limits", {}).get("max_storage", -1))
    streams = (
        settings.ingest_max_bytes + settings.dead_max_bytes + settings.events_max_bytes + _BESIDE
    )
    return int(account["storage"]), allowed if allowed > 0 else capacity or streams


async def measure_storage(
    connection: Connection, settings: NatsSettings, capacity: int | None
) -> None:
    """Update the gauges until cancelled."""
    while True:
        with suppress(Unavailable):
            used, limit = await storage(connection, settings, capacity)
            _used.set(used)
            _limit.set(limit)
        await asyncio.sleep(MEASURE_SECONDS)
