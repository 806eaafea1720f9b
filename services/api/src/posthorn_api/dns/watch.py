"""Checks the DNS of all domains in the background, by one process at a time.

Few checks run at a time, and each is bounded (``service.CHECK_SECONDS``): with name servers that do
not answer, checks come later, and nothing else suffers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final
from uuid import UUID

import structlog
from prometheus_client import Gauge

from posthorn.ports.api_keys import ApiKey, Role
from posthorn.ports.dns_checks import DnsChecks
from posthorn.ports.errors import NotFound, Unavailable
from posthorn_api.dns.service import DnsService

log = structlog.get_logger()

AT_ONCE: Final = 4
_BATCH: Final = 20
_LEAD_SECONDS: Final = 180.0
"""Longer than a batch takes: its checks in rows of AT_ONCE, 15 seconds each."""
_LOOK_SECONDS: Final = 30.0
_FAULT_SECONDS: Final = 300.0
_STATES: Final = ("right", "wrong", "unknown", "unchecked")
_CALLER: Final = ApiKey(UUID(int=0), "checks of DNS", Role.PLATFORM_ADMIN, None)

_domains = Gauge(
    "posthorn_api_domains",
    "Domains by the verdict on their DNS records, in the process that checks them",
    ["dns"],
)


class DnsWatch:
    """Checks what is due; ``run`` is a supervised task."""

    def __init__(self, service: DnsService, checks: DnsChecks) -> None:
        self._service = service
        self._checks = checks

    async def run(self) -> None:
        """Check for ever."""
        while True:
            try:
                if not (await self._checks.lead(_LEAD_SECONDS)):
                    _domains.clear()
                elif await self.round():
                    continue
            except Unavailable as fault:
                log.info("DNS is not checked now", fault=fault)
            await asyncio.sleep(_LOOK_SECONDS)

    async def round(self) -> bool:
        """Check some domains that are due; return whether more may be. Raises Unavailable."""
        names = await self._checks.due(_BATCH)
        room = asyncio.Semaphore(AT_ONCE)
        async with asyncio.TaskGroup() as group:
            for name in names:
                group.create_task(self._check(name, room))
        _show(await self._checks.counts())
        return len(names) == _BATCH

    async def _check(self, name: str, room: asyncio.Semaphore) -> None:
        async with room:
            try:
                await self._service.check(_CALLER, name)
            except NotFound:
                pass  # it was deleted meanwhile
            except Exception as error:
                if not isinstance(error, Unavailable):
                    log.exception("a check of DNS failed", domain=name)
                await self._postpone(name)

    async def _postpone(self, name: str) -> None:
        try:
            await self._checks.postpone(name, _FAULT_SECONDS)
        except Unavailable as fault:
            log.info("a check of DNS is not postponed", domain=name, part=fault.part)


def _show(counts: Mapping[str, int]) -> None:
    for state in _STATES:
        _domains.labels(state).set(counts.get(state, 0))
