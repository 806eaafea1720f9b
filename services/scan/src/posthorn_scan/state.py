"""What the API asks this process: how the tier is, and whether names of ours are listed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from posthorn.ports.scan import EngineStatus, ScanState, StateQuestion, ZoneStatus
from posthorn.runtime.blocklists import Blocklists
from posthorn_scan.engines.engine import ConfiguredEngine

_CHECK_SECONDS = 3.0


class TierState:
    """The port ScanStates, answered by this process."""

    def __init__(
        self,
        engines: Sequence[ConfiguredEngine],
        blocklists: Blocklists,
        is_dns_away: Callable[[], bool] = lambda: False,
    ) -> None:
        self._engines = tuple(engines)
        self._blocklists = blocklists
        self._is_dns_away = is_dns_away

    async def state(self, question: StateQuestion) -> ScanState:
        """Return the state, with the health of every zone checked at least once."""
        if any(not each.checked_at for each in self._blocklists.states()):
            await asyncio.wait(
                {asyncio.ensure_future(self._blocklists.check())}, timeout=_CHECK_SECONDS
            )
        listings = await self._blocklists.own_listings(question.addresses, question.domains)
        return ScanState(
            tuple(EngineStatus(each.name, each.is_up, each.detail) for each in self._engines),
            tuple(
                ZoneStatus(each.zone, each.is_healthy, each.detail)
                for each in self._blocklists.states()
            ),
            self._is_dns_away(),
            listings,
        )
