"""How often a wrong password may be tried: one brake for all protocols that take passwords.

Rules:

- Failures are counted over all processes and protocols, by where the client comes from and by the account it names. Once a count is
  used up nothing is looked at, so that a guesser learns nothing; as it runs off, tries are let in again.
- Within a process the tries from one place, and those for one account, are judged one after another: guesses made at the same time
  see each other counted. Those that meet in several processes can go beyond a limit by one for each further process. Charging all
  tries beforehand would be exact, but would turn away people who log in at the same time with the right password.
- Who logged in from the same place lately is not shut out by guesses from elsewhere.
- The counters are a brake and done without when they cannot be had: people still get at their mail.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from posthorn.ports.faults import Unavailable
from posthorn.ports.sending import Throttle, failed_logins
from posthorn.runtime.listen import subscriber

log = structlog.get_logger()

FAMILIAR_SECONDS = 12 * 3600.0
"""How long it counts that an account was logged in to from a place."""
_MOST_FAMILIAR = 10_000
_LANES = 256
"""Tries that may be judged at the same time at most, told apart by the hash of their place and account."""


class Attempt:
    """One try to log in, until it is judged."""

    def __init__(self, guesses: Guesses, account: str, place: str, *, refused: bool) -> None:
        self._guesses = guesses
        self._account = account
        self._place = place
        self.refused = refused
        """Too many have failed: it is to be refused without a look at the password."""

    async def wrong(self) -> None:
        """Count it as failed. Raises nothing."""
        await self._guesses._count(self._account, self._place)

    def right(self) -> None:
        """Remember that this account was logged in to from here."""
        self._guesses._remember(self._account, self._place)


class Guesses:
    """Tries to log in, of all clients of this process."""

    def __init__(self, throttle: Throttle, per_place: int, per_account: int) -> None:
        """The limits are failures in ten minutes, in all processes together."""
        self._throttle = throttle
        self._limits = per_place, per_account
        self._places = [asyncio.Lock() for _ in range(_LANES)]
        self._accounts = [asyncio.Lock() for _ in range(_LANES)]
        self._familiar: OrderedDict[tuple[str, str], float] = OrderedDict()

    @asynccontextmanager
    async def attempt(self, account: str, client: str) -> AsyncIterator[Attempt]:
        """Let a try be judged within the block, in its turn. ``account`` is a canonical address, or empty when none was named;
        ``client`` an IP address, which is counted as ``listen.subscriber`` says. Raises nothing of its own."""
        place = subscriber(client)
        if await self._is_used_up(account, place):  # without a turn: what is refused must not hold up others
            yield Attempt(self, account, place, refused=True)
            return
        async with self._places[hash(place) % _LANES], self._accounts[hash(account) % _LANES]:
            yield Attempt(self, account, place, refused=await self._is_used_up(account, place))

    async def _is_used_up(self, account: str, place: str) -> bool:
        asked = failed_logins(place, account, self._limits, cost=0)
        if self._familiar.get((account, place), 0.0) > time.monotonic():
            del asked[1:]
        try:
            return await self._throttle.take(asked) > 0
        except Unavailable as fault:
            log.warning("failed logins cannot be looked up", detail=str(fault))
            return False

    async def _count(self, account: str, place: str) -> None:
        try:
            for charge in failed_logins(place, account, self._limits, cost=1):
                await self._throttle.take([charge])  # one that is used up must not spare the other
        except Unavailable as fault:
            log.warning("a failed login cannot be counted", detail=str(fault))

    def _remember(self, account: str, place: str) -> None:
        self._familiar[account, place] = time.monotonic() + FAMILIAR_SECONDS
        self._familiar.move_to_end((account, place))
        if len(self._familiar) > _MOST_FAMILIAR:
            self._familiar.popitem(last=False)
