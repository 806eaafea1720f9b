"""Connections to a test's NATS, and messages on INGEST."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from posthorn.adapters.nats.ingest_consumer import NatsIngestSource
from posthorn.ports.ingest import Delivery
from posthorn.runtime.settings import NatsSettings
from posthorn_local.embedded import Nats
from tests.support.polling import BUSY_SECONDS, timers_run


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


async def take_awaited(
    source: NatsIngestSource, publish: Callable[[], Awaitable[object]]
) -> tuple[int, Delivery]:
    """Publish one message while the source waits for it; return how many timers came due until it
    had the message, and the message."""
    taking = asyncio.create_task(source.take(512, 1 << 24))
    await asyncio.sleep(0)
    with timers_run() as run:
        await publish()
        (delivery,) = await taking
    return len(run), delivery
