"""Connections to a test's NATS, and messages on INGEST."""

from __future__ import annotations

import asyncio
from typing import Any

from posthorn.adapters.nats.ingest_consumer import NatsIngestSource
from posthorn.ports.ingest import Delivery
from posthorn.runtime.settings import NatsSettings
from posthorn_local.embedded import Nats
from tests.support.polling import BUSY_SECONDS


def nats_settings(nats: Nats, **changes: Any) -> NatsSettings:
    """Settings for a server, read from no environment."""
    return NatsSettings.model_validate({"nats_url": nats.url, **changes})


def restart(nats: Nats) -> None:
    """Start a stopped server on the port it had."""
    nats.start(port=nats.port)


async def take(source: NatsIngestSource, number: int) -> list[Delivery]:
    """Take at least so many messages."""
    taken: list[Delivery] = []
    async with asyncio.timeout(BUSY_SECONDS):
        while len(taken) < number:
            taken += await source.take(512, 1 << 24)
    return taken
