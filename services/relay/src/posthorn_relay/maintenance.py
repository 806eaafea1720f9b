"""Periodic maintenance of the queue: reap dead relays, expire, resume, purge, measure.

Every relay does all of it, at intervals of its own: each step is harmless when another relay has
just done it.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

import structlog
from prometheus_client import Counter, Gauge

from posthorn.model.events import BOUNCED, Event
from posthorn.ports.errors import Unavailable
from posthorn.ports.events import Events
from posthorn.ports.queue import EXPIRED, Queue
from posthorn_relay.settings import RelaySettings
from posthorn_relay.smtp.pool import ConnectionPool

log = structlog.get_logger()

REAP_SECONDS = 5.0
SWEEP_SECONDS = 20.0
RESUME_SECONDS = 5.0
PURGE_SECONDS = 60.0
MEASURE_SECONDS = 10.0
_POOL_SECONDS = 1.0
BATCH = 1000

_recipients = Gauge(
    "posthorn_relay_queue_recipients",
    "Recipients in the outbound queue, all relays together",
    ["state"],
)
_oldest = Gauge(
    "posthorn_relay_queue_oldest_seconds",
    "Age of the oldest recipient waiting in the outbound queue",
)
_state_oldest = Gauge(
    "posthorn_relay_queue_state_oldest_seconds",
    "Age of the oldest recipient that is queued, without those deferred, and of the oldest held",
    ["state"],
)
_reaped = Counter(
    "posthorn_relay_reaped_recipients_total",
    "Recipients that dead relays had claimed, queued again",
)


class QueueMaintenance:
    """The periodic work. ``on_dsn_due`` is called when DSNs may have become due."""

    def __init__(
        self,
        queue: Queue,
        events: Events,
        pool: ConnectionPool,
        settings: RelaySettings,
        *,
        on_dsn_due: Callable[[], None],
    ) -> None:
        self._queue = queue
        self._events = events
        self._pool = pool
        self._delay_notices = settings.relay_delay_notice_seconds > 0
        self._keep_seconds = settings.relay_keep_seconds
        self._on_dsn_due = on_dsn_due

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._every(REAP_SECONDS, self.reap))
            group.create_task(self._every(SWEEP_SECONDS, self.sweep))
            group.create_task(self._every(RESUME_SECONDS, self.resume))
            group.create_task(self._every(PURGE_SECONDS, self.purge))
            group.create_task(self._every(MEASURE_SECONDS, self.measure))
            group.create_task(self._every(_POOL_SECONDS, self._close_idle))

    async def reap(self) -> bool:
        """Queue again what dead relays had claimed."""
        count = await self._queue.reap()
        if count:
            _reaped.inc(count)
            log.warning("queued again what a dead relay had claimed", recipients=count)
        return False

    async def sweep(self) -> bool:
        """End expired recipients and mark late ones; return whether there may be more."""
        swept = await self._queue.sweep_overdue(self._delay_notices, BATCH)
        now = time.time()
        for one in swept.expired:
            log.info(
                "bounced", message=str(one.message), host=one.host, reply=one.reply, status=EXPIRED
            )
            detail = {
                "recipient": one.recipient,
                "host": one.host,
                "reply": one.reply,
                "status": EXPIRED,
            }
            if one.original:
                detail["original"] = one.original
            self._events.record(Event(one.message, now, BOUNCED, detail))
        if swept.count:
            self._on_dsn_due()
        return swept.count >= BATCH

    async def resume(self) -> bool:
        """Queue again what a suspension held that is over; return whether there may be more."""
        count = await self._queue.resume(BATCH)
        if count:
            log.info("no longer held by a suspension", recipients=count)
        return count >= BATCH

    async def purge(self) -> bool:
        """Delete what ended long ago; return whether there may be more."""
        return await self._queue.purge(self._keep_seconds, BATCH) >= BATCH

    async def measure(self) -> bool:
        """Set the gauges."""
        figures = await self._queue.measure()
        for state in ("queued", "deferred", "sending", "held"):
            _recipients.labels(state).set(figures.get(state, 0))
        _oldest.set(figures.get("oldest", 0))
        for state in ("queued", "held"):
            _state_oldest.labels(state).set(figures.get(f"oldest_{state}", 0))
        return False

    async def _close_idle(self) -> bool:
        self._pool.sweep()
        return False

    async def _every(self, seconds: float, work: Callable[[], Awaitable[bool]]) -> None:
        while True:
            try:
                if await work():
                    continue
            except Unavailable as fault:
                log.info("maintenance waits", work=work.__name__, fault=fault)
            await asyncio.sleep(seconds * random.uniform(0.8, 1.2))  # noqa: S311 - spreads load, keeps no secret
