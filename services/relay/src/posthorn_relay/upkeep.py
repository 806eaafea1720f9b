"""What any relay does for the queue now and then: bury dead relays, end what has expired, let go on what was suspended, forget what
is long over, measure.

Every relay does all of it, at times of its own: each step is harmless when another has just done it.
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
from posthorn_relay.pool import Pool
from posthorn_relay.settings import RelaySettings

log = structlog.get_logger()

BURY_SECONDS = 5.0
SWEEP_SECONDS = 20.0
RESUME_SECONDS = 5.0
PURGE_SECONDS = 60.0
MEASURE_SECONDS = 10.0
_POOL_SECONDS = 1.0
AT_ONCE = 1000

_recipients = Gauge("posthorn_relay_queue_recipients", "Recipients in the outbound queue, of all relays", ["state"])
_oldest = Gauge("posthorn_relay_queue_oldest_seconds", "Age of the oldest recipient that waits in the outbound queue")
_buried = Counter("posthorn_relay_buried_recipients_total", "Recipients that dead relays had at hand, queued again")


class Upkeep:
    """The periodic work. ``told``: called when notices may have become due."""

    def __init__(
        self, queue: Queue, events: Events, pool: Pool, settings: RelaySettings, *, told: Callable[[], None]
    ) -> None:
        self._queue = queue
        self._events = events
        self._pool = pool
        self._delay_notices = settings.relay_delay_notice_seconds > 0
        self._keep_seconds = settings.relay_keep_seconds
        self._told = told

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._every(BURY_SECONDS, self.bury))
            group.create_task(self._every(SWEEP_SECONDS, self.sweep))
            group.create_task(self._every(RESUME_SECONDS, self.resume))
            group.create_task(self._every(PURGE_SECONDS, self.purge))
            group.create_task(self._every(MEASURE_SECONDS, self.measure))
            group.create_task(self._every(_POOL_SECONDS, self._close_idle))

    async def bury(self) -> bool:
        """Queue again what dead relays had at hand."""
        count = await self._queue.bury()
        if count:
            _buried.inc(count)
            log.warning("queued again what a dead relay had at hand", recipients=count)
        return False

    async def sweep(self) -> bool:
        """End what has expired, mark what waits long; gives whether there may be more."""
        swept = await self._queue.sweep_overdue(self._delay_notices, AT_ONCE)
        now = time.time()
        for one in swept.expired:
            log.info("bounced", message=str(one.message), host=one.host, reply=one.reply, status=EXPIRED)
            detail = {"recipient": one.recipient, "host": one.host, "reply": one.reply, "status": EXPIRED}
            if one.original:
                detail["original"] = one.original
            self._events.record(Event(one.message, now, BOUNCED, detail))
        if swept.count:
            self._told()
        return swept.count >= AT_ONCE

    async def resume(self) -> bool:
        """Let go on what a suspension held that is over; gives whether there may be more."""
        count = await self._queue.resume(AT_ONCE)
        if count:
            log.info("no longer held by a suspension", recipients=count)
        return count >= AT_ONCE

    async def purge(self) -> bool:
        """Forget what ended long ago; gives whether there may be more."""
        return await self._queue.purge(self._keep_seconds, AT_ONCE) >= AT_ONCE

    async def measure(self) -> bool:
        """Set the gauges."""
        figures = await self._queue.measure()
        for state in ("queued", "deferred", "sending", "held"):
            _recipients.labels(state).set(figures.get(state, 0))
        _oldest.set(figures.get("oldest", 0))
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
                log.info("upkeep waits", work=work.__name__, part=fault.part, detail=str(fault))
            await asyncio.sleep(seconds * random.uniform(0.8, 1.2))  # noqa: S311 - spreads load, keeps no secret
