"""How full the storage of JetStream is: an alarm must come before publishing fails.

A client sees what its account uses and what it may use. What the disk holds it does not see, so an account without a limit is
measured against ``nats_storage_bytes``, or against the limits of the streams together.
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
"""Bytes for the directory bucket and what files take beyond their messages."""

_used = Gauge("posthorn_nats_storage_bytes", "Bytes of file storage that JetStream uses for our account")
_limit = Gauge("posthorn_nats_storage_limit_bytes", "Bytes of file storage that our account may use, or has room for")


async def storage(connection: Connection, settings: NatsSettings) -> tuple[int, int]:
    """Return the bytes used and the bytes there may be. Raises Unavailable."""
    account = await connection.api("INFO")
    allowed = int(account.get("limits", {}).get("max_storage", -1))
    streams = settings.ingest_max_bytes + settings.dead_max_bytes + settings.events_max_bytes + _BESIDE
    return int(account["storage"]), allowed if allowed > 0 else settings.nats_storage_bytes or streams


async def measure_storage(connection: Connection, settings: NatsSettings) -> None:
    """Keep the gauges until cancelled."""
    while True:
        with suppress(Unavailable):
            used, limit = await storage(connection, settings)
            _used.set(used)
            _limit.set(limit)
        await asyncio.sleep(MEASURE_SECONDS)
