"""The edge: puts the relay together and runs it as part of the process; on leaving it drains."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from posthorn.ports.ingest import Ingest
from posthorn.runtime.ids import new_id
from posthorn.runtime.process import Process
from posthorn_relay.carriage import Parts
from posthorn_relay.notifier import Notifier
from posthorn_relay.service import Relay
from posthorn_relay.settings import RelaySettings
from posthorn_relay.upkeep import Upkeep


@asynccontextmanager
async def relaying(process: Process, parts: Parts, ingest: Ingest, settings: RelaySettings) -> AsyncIterator[Relay]:
    """Run relay, notifier and upkeep. On leaving, transactions under way are finished and the rest is given back."""
    notifier = Notifier(parts.queue, ingest, parts.bodies, parts.events, settings, throttle=parts.throttle)
    relay = Relay(parts, settings, new_id=new_id, told=notifier.told)
    upkeep = Upkeep(parts.queue, parts.events, relay.pool, settings, told=notifier.told)
    await process.task(notifier.run(), "notifier")
    await process.task(upkeep.run(), "upkeep")
    await process.task(relay.recorder.run(), "recorder")
    await process.task(relay.live(), "life")
    running = await process.task(relay.run(), "relay")
    try:
        yield relay
    finally:
        await relay.drain(settings.grace_seconds)
        with suppress(asyncio.CancelledError):
            await asyncio.wait([running], timeout=1)
