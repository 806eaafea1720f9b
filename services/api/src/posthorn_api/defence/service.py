"""How the scanning tier is, and which blocklists hold our addresses and domains.

Only the tier asks DNS for blocklists: it has the zones and the resolver. The API says what is ours.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from posthorn.ports.errors import Unavailable
from posthorn.ports.scan import (
    Listing,
    ScanState,
    ScanStates,
    StateQuestion,
    ZoneStatus,
)
from posthorn_api.pending import Pending

MOST_ADDRESSES: Final = 64
MOST_DOMAINS: Final = 200


class SigningDomains(Protocol):
    """Where our domains come from."""

    async def signing_domains(self, limit: int) -> Sequence[str]:
        """Return names of domains that have a DKIM key, at most ``limit``. Raises Unavailable."""
        ...


class UnscannedLane(Protocol):
    """INGEST's lane of messages without a verdict."""

    async def unscanned(self) -> int:
        """Return how many messages wait. Raises Unavailable."""
        ...


@dataclass(frozen=True, slots=True)
class TierView:
    """The tier, or why it is not known."""

    state: ScanState | None
    fault: str
    unscanned: int | None


@dataclass(frozen=True, slots=True)
class Listings:
    """What was asked, and what was found."""

    addresses: Sequence[str]
    domains: Sequence[str]
    zones: Sequence[ZoneStatus]
    listings: Sequence[Listing]


class DefenceService:
    """Asks the tier. ``addresses``: those that mail leaves from; ``names``: our host names."""

    def __init__(
        self,
        states: Pending[ScanStates],
        lane: Pending[UnscannedLane],
        domains: SigningDomains,
        *,
        addresses: Iterable[str] = (),
        names: Iterable[str] = (),
    ) -> None:
        self._states, self._lane, self._domains = states, lane, domains
        self._addresses = tuple(addresses)
        self._names = tuple(names)

    async def state(self) -> TierView:
        """Return the state of the tier; what cannot be found out is part of it."""
        unscanned: int | None
        try:
            unscanned = await self._lane.get().unscanned()
        except Unavailable:
            unscanned = None
        try:
            return TierView(await self._states.get().state(StateQuestion()), "", unscanned)
        except Unavailable as fault:
            return TierView(None, str(fault), unscanned)

    async def listings(self) -> Listings:
        """Return the blocklists that hold our names. Raises Unavailable."""
        domains = await self._domains.signing_domains(MOST_DOMAINS)
        names = tuple(dict.fromkeys((*self._names, *domains)))
        found = await self._states.get().state(StateQuestion(self._addresses, names))
        return Listings(self._addresses, names, found.zones, found.listings)


def single_addresses(networks: Iterable[str]) -> tuple[str, ...]:
    """Return the addresses of networks: all of a small one, none of one with more than 16, since
    nobody sends from all of these."""
    found: dict[str, None] = {}
    for text in networks:
        network = ipaddress.ip_network(text)
        if network.num_addresses <= 16:
            found |= dict.fromkeys(map(str, network))
    return tuple(found)[:MOST_ADDRESSES]
