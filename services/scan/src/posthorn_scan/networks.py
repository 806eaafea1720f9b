"""What clients did, counted for all pods together, and the bans that follow.

Rules:

- A client counts by its address and its /24, an IPv6 client by its /64. Addresses that are not
  public are never counted: whole networks of clients may be behind them.
- Counters are of one window of time each. A network is banned when a kind of report reaches the
  limit of the preset; each further ban within a week lasts twice as long.
- Reports are counted by one task; those that it cannot keep up with are dropped. It is a defence,
  not an account.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final

import structlog
from prometheus_client import Counter

from posthorn.ports.bans import Ban, BanList
from posthorn.ports.errors import Unavailable
from posthorn.ports.greylist import NetworkCounts
from posthorn.ports.scan import Report
from posthorn.runtime.client_networks import client_networks, is_own_side
from posthorn_scan.settings import DefenceSettings

log = structlog.get_logger()

_reports = Counter("posthorn_scan_reports_total", "What clients did, by kind", ["kind"])
_dropped = Counter("posthorn_scan_reports_dropped_total", "Reports that were not counted")
_bans = Counter("posthorn_scan_bans_total", "Bans of networks, by kind", ["kind"])

LIMITS: Final[dict[str, dict[str, int]]] = {
    "off": {},
    "moderate": {"unknown-recipient": 60, "protocol": 60},
    "strict": {"unknown-recipient": 20, "protocol": 20, "refused": 20, "connection": 2000},
}
"""Reports of a kind by one client in a window at which it is banned."""
_KINDS: Final = frozenset(LIMITS["strict"])
WIDER: Final = 4
"""A /24 is banned at so many times the limit of an address."""
REMEMBER_SECONDS: Final = 7 * 86_400.0
_MOST_WAITING: Final = 5000
_AGAIN_SECONDS: Final = 1.0


def limits_of(settings: DefenceSettings) -> dict[str, int]:
    """Return the limits by kind: those of the preset, and those that are set."""
    chosen = {
        "unknown-recipient": settings.scan_ban_unknown_recipients,
        "protocol": settings.scan_ban_protocol_errors,
        "refused": settings.scan_ban_refused,
        "connection": settings.scan_ban_connections,
    }
    limits = dict(LIMITS[settings.scan_bans])
    limits |= {kind: limit for kind, limit in chosen.items() if limit is not None}
    return {kind: limit for kind, limit in limits.items() if limit}


class NetworkDefence:
    """Counts reports and bans networks while ``run`` runs."""

    def __init__(
        self,
        counts: NetworkCounts,
        bans: BanList,
        settings: DefenceSettings,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._counts, self._bans = counts, bans
        self._limits = limits_of(settings)
        self._window_seconds = settings.scan_ban_window_seconds
        self._first_seconds = settings.scan_ban_seconds
        self._longest_seconds = settings.scan_ban_longest_seconds
        self._clock = clock
        self._waiting: dict[tuple[str, str], int] = {}
        self._something = asyncio.Event()

    def report(self, reports: Sequence[Report]) -> None:
        """Take reports; neither fail nor wait."""
        for each in reports:
            if each.kind not in _KINDS:
                continue
            _reports.labels(each.kind).inc(each.count)
            if each.kind not in self._limits or is_own_side(each.client):
                continue
            key = each.kind, each.client
            if key not in self._waiting and len(self._waiting) >= _MOST_WAITING:
                _dropped.inc()
                continue
            self._waiting[key] = self._waiting.get(key, 0) + each.count
            self._something.set()

    async def run(self) -> None:
        """Count until cancelled."""
        while True:
            await self._something.wait()
            self._something.clear()
            waiting, self._waiting = self._waiting, {}
            for (kind, client), count in waiting.items():
                try:
                    await self._count(kind, client, count)
                except Unavailable as error:
                    _dropped.inc()
                    log.debug("a report was not counted", fault=error)
                    await asyncio.sleep(_AGAIN_SECONDS)
                except Exception:
                    log.exception("a report was not counted")

    async def _count(self, kind: str, client: str, count: int) -> None:
        window = int(self._clock() // self._window_seconds)
        networks = client_networks(client)
        limits = {networks[0]: self._limits[kind]}
        if ":" not in networks[0] and len(networks) > 1:
            limits[networks[1]] = self._limits[kind] * WIDER
        for network, limit in limits.items():
            total = await self._counts.add(kind, window, network, count)
            # once: whoever crosses the limit sees it
            if total >= limit > total - count:
                await self._ban(network, kind)

    async def _ban(self, network: str, kind: str) -> None:
        last, now = await self._bans.last(network), self._clock()
        times = 1 if last is None else last.times + 1
        seconds = min(self._first_seconds * 2.0 ** min(times - 1, 20), self._longest_seconds)
        if last is not None and last.until > now + seconds:
            return
        await self._bans.ban(network, Ban(now + seconds, times, kind), seconds + REMEMBER_SECONDS)
        _bans.labels(kind).inc()
        log.warning("a network is banned", network=network, kind=kind, seconds=round(seconds))
