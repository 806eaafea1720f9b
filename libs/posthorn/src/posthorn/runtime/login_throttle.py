"""Throttle of failed logins, shared by all protocols with passwords.

Rules:

- Failures are counted over all processes and protocols, by where the client comes from, by the IPv6
  /48 around it, and by the account it names. Once a limit is reached no password is looked at, so
  that a guesser learns nothing; as the count falls, tries are let in again.
- Within a process the tries from one client, and those for one account, are judged one after
  another: guesses made at the same time see each other counted. Those that meet in several
  processes can go beyond a limit by one for each further process. Charging all tries beforehand
  would be exact, but would turn away people who log in at the same time with the right password.
- An account has a count of its own, and a larger one, at each familiar network
  (``posthorn.runtime.familiar_networks``); all other networks share one. So guesses from elsewhere
  never close a familiar network, and those of a neighbour there hardly ever.
- App passwords are 256 random bits and cannot be guessed. Callers check them first, and a valid one
  is accepted.
- When the counters cannot be read logins continue without them, so that users can still read their
  mail.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from posthorn.ports.errors import Unavailable
from posthorn.ports.sending import Throttle, failed_logins
from posthorn.runtime.client_networks import client_networks
from posthorn.runtime.settings import LoginLimitSettings

log = structlog.get_logger()

_LANES = 256
"""Tries that may be judged at the same time at most, told apart by the hash of their client and
account."""


class Attempt:
    """One try to log in, until it is judged."""

    def __init__(
        self, throttle: LoginThrottle, about: tuple[str, tuple[str, ...], str], *, refused: bool
    ) -> None:
        self._throttle = throttle
        self._about = about
        self.refused = refused
        """Too many have failed: refuse it without looking at the password."""

    async def wrong(self) -> None:
        """Count it as failed. Raises nothing."""
        await self._throttle._count(*self._about)


class LoginThrottle:
    """Throttles the tries to log in of all clients of this process."""

    def __init__(self, throttle: Throttle, limits: LoginLimitSettings) -> None:
        self._throttle = throttle
        self._limits = limits.login_failures_per_address, limits.login_failures_per_account
        self._clients = [asyncio.Lock() for _ in range(_LANES)]
        self._accounts = [asyncio.Lock() for _ in range(_LANES)]

    @asynccontextmanager
    async def attempt(
        self, account: str, client: str, *, familiar: bool = False
    ) -> AsyncIterator[Attempt]:
        """Let a try be judged within the block, in its turn. ``account`` is a canonical address,
        or empty when none was named; ``client`` an IP address; ``familiar``: the account was
        lately logged in to from there. Raises nothing of its own."""
        networks = client_networks(client)
        # no network around an IPv4 address
        counted = (networks[0], networks[-1]) if len(networks) > 2 else networks[:1]
        # the /24 of IPv4, the /64 of IPv6
        known = networks[1] if len(networks) == 2 else networks[0]
        about = account, counted, known if familiar else ""
        turn, account_turn = (
            self._clients[hash(counted[0]) % _LANES],
            self._accounts[hash(account) % _LANES],
        )
        # where there is somebody to wait for, first without a turn: what is refused must not hold
        # up others
        if (turn.locked() or account_turn.locked()) and await self._is_used_up(*about):
            yield Attempt(self, about, refused=True)
            return
        async with turn, account_turn:
            yield Attempt(self, about, refused=await self._is_used_up(*about))

    async def _is_used_up(self, account: str, networks: tuple[str, ...], familiar: str) -> bool:
        try:
            asked = failed_logins(networks, account, self._limits, cost=0, familiar=familiar)
            return await self._throttle.take(asked) > 0
        except Unavailable as fault:
            log.warning("failed logins cannot be read", detail=str(fault))
            return False

    async def _count(self, account: str, networks: tuple[str, ...], familiar: str) -> None:
        try:
            for charge in failed_logins(networks, account, self._limits, cost=1, familiar=familiar):
                await self._throttle.take([charge])  # one that is used up must not spare the others
        except Unavailable as fault:
            log.warning("a failed login cannot be counted", detail=str(fault))
