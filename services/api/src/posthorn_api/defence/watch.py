"""Watches whether blocklists hold our addresses and domains: a gauge, a log line and an event."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import structlog
from prometheus_client import Gauge

from posthorn.model.events import LISTED, Event
from posthorn.ports.errors import Unavailable
from posthorn.ports.events import Events
from posthorn.runtime.ids import new_id
from posthorn_api.defence.service import DefenceService

log = structlog.get_logger()

_listed = Gauge(
    "posthorn_api_own_listings",
    "1 while a blocklist holds an address or a domain of this system",
    ["subject", "zone"],
)
_EVERY_SECONDS = 1800.0
_AGAIN_SECONDS = 60.0


class ListingWatch:
    """Asks every half an hour, in the one process that ``leads``."""

    def __init__(
        self, service: DefenceService, events: Events, leads: Callable[[], bool] = lambda: True
    ) -> None:
        self._service, self._events, self._leads = service, events, leads
        self._known: set[tuple[str, str]] = set()

    async def run(self) -> None:
        """Watch for ever; a supervised task."""
        while True:
            seconds = await self.look()
            await asyncio.sleep(seconds)

    async def look(self) -> float:
        """Ask once; return after how many seconds to ask again."""
        if not self._leads():
            self._forget(set())
            return _AGAIN_SECONDS
        try:
            found = await self._service.listings()
        except Unavailable as fault:
            log.info("own listings are not known", fault=fault)
            return _AGAIN_SECONDS
        held = {(each.subject, each.zone): each for each in found.listings}
        for pair, listing in held.items():
            _listed.labels(*pair).set(1)
            if pair in self._known:
                continue
            log.error(
                "an address or domain of this system is on a blocklist",
                subject=listing.subject,
                zone=listing.zone,
                reason=listing.reason,
            )
            detail = {
                "subject": listing.subject,
                "zone": listing.zone,
                "code": listing.code,
                "reason": listing.reason,
            }
            self._events.record(Event(new_id(), time.time(), LISTED, detail))
        self._forget(set(held))
        self._known = set(held)
        return _EVERY_SECONDS

    def _forget(self, held: set[tuple[str, str]]) -> None:
        for pair in self._known - held:
            _listed.remove(*pair)
            if held or self._leads():
                log.info("a blocklist holds it no longer", subject=pair[0], zone=pair[1])
        self._known &= held
