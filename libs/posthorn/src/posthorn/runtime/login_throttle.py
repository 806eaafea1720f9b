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
- A caller may read the counters together with the account, in its turn: by the statement that it
  makes anyway. If none of them is used up nothing else is read before a right password is
  accepted; else, and when the password is wrong, they are read once more, so that it takes as long
  as for an account that does not exist.
- App passwords are 256 random bits and cannot be guessed. Callers check them first, and a valid one
  is accepted.
- When the counters cannot be read logins continue without them, so that users can still read their
  mail.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace

import structlog

from posthorn.ports.errors import Unavailable
from posthorn.ports.sending import Charge, Throttle, failed_logins
from posthorn.runtime.client_networks import client_networks
from posthorn.runtime.settings import LoginLimitSettings

log = structlog.get_logger()

_LANES = 256
"""Tries that may be judged at the same time at most, told apart by the hash of their client and
account."""


@dataclass(frozen=True, slots=True)
class _Subject:
    """What a try is counted by."""

    account: str
    networks: tuple[str, ...]
    """The client, and where there is one the network around it."""
    familiar: str = ""
    """The client's network, if it is familiar to the account."""


class Attempt:
    """One try to log in, until it is judged."""

    def __init__(
        self,
        throttle: LoginThrottle,
        subject: _Subject,
        wait_seconds: float,
        *,
        was_read: bool = False,
    ) -> None:
        self._throttle = throttle
        self._subject = subject
        self._was_read = was_read
        self.wait_seconds = wait_seconds
        """For how long no password is looked at."""
        self.refused = wait_seconds > 0
        """Too many have failed: refuse it without looking at the password."""

    async def wrong(self) -> None:
        """Count it as failed. Raises nothing."""
        if self._was_read:
            await self._throttle._wait(self._subject)
        await self._throttle._count(self._subject)


type Look = Callable[[], Awaitable[tuple[bool, Mapping[str, float] | None]]]
"""Returns whether the account was lately logged in to from the client's network, and by how many
seconds the counters are ahead that ``LoginThrottle.counters`` names; None: they were not read."""


class LoginThrottle:
    """Throttles the tries to log in of all clients of this process."""

    def __init__(self, throttle: Throttle, limits: LoginLimitSettings) -> None:
        self._throttle = throttle
        self._limits = limits.login_failures_per_address, limits.login_failures_per_account
        self._clients = [asyncio.Lock() for _ in range(_LANES)]
        self._accounts = [asyncio.Lock() for _ in range(_LANES)]

    def counters(self, account: str, client: str) -> tuple[str, ...]:
        """Return the keys of the counters that may decide, familiar or not; as in ``attempt``."""
        subject, known = _subject_of(account, client)
        return tuple(
            {
                charge.key: None
                for each in (subject, replace(subject, familiar=known))
                for charge in self._charges(each, cost=0)
            }
        )

    def attempt(
        self, account: str, client: str, *, familiar: bool = False
    ) -> AbstractAsyncContextManager[Attempt]:
        """Let a try be judged within the block, in its turn. ``account`` is a canonical address,
        or empty when none was named; ``client`` an IP address; ``familiar``: the account was
        lately logged in to from there. Raises nothing of its own."""

        async def look() -> tuple[bool, None]:
            return familiar, None

        return self.attempt_with(account, client, look)

    @asynccontextmanager
    async def attempt_with(self, account: str, client: str, look: Look) -> AsyncIterator[Attempt]:
        """The same, of an account that ``look`` reads in the turn. Raises what ``look`` raises."""
        subject, known = _subject_of(account, client)
        turn, account_turn = (
            self._clients[hash(subject.networks[0]) % _LANES],
            self._accounts[hash(account) % _LANES],
        )
        # where there is somebody to wait for, first without a turn: what is refused must not hold
        # up others
        if turn.locked() or account_turn.locked():
            attempt = await self._begun(subject, known, look)
            if attempt.refused:
                yield attempt
                return
        async with turn, account_turn:
            yield await self._begun(subject, known, look)

    async def _begun(self, subject: _Subject, known: str, look: Look) -> Attempt:
        is_familiar, counters = await look()
        subject = replace(subject, familiar=known if is_familiar else "")
        if counters is not None and not self._seems_used_up(subject, counters):
            return Attempt(self, subject, 0.0, was_read=True)
        return Attempt(self, subject, await self._wait(subject))

    def _seems_used_up(self, subject: _Subject, counters: Mapping[str, float]) -> bool:
        return bool(counters) and any(
            charge.wait(counters.get(charge.key, 0.0)) > 0
            for charge in self._charges(subject, cost=0)
        )

    async def _wait(self, subject: _Subject) -> float:
        """Return the seconds until no counter is used up."""
        try:
            return await self._throttle.take(self._charges(subject, cost=0))
        except Unavailable as fault:
            log.warning("failed logins cannot be read", fault=fault)
            return 0.0

    async def _count(self, subject: _Subject) -> None:
        try:
            for charge in self._charges(subject, cost=1):
                await self._throttle.take([charge])  # one that is used up must not spare the others
        except Unavailable as fault:
            log.warning("a failed login cannot be counted", fault=fault)

    def _charges(self, subject: _Subject, *, cost: int) -> Sequence[Charge]:
        return failed_logins(
            subject.networks, subject.account, self._limits, cost=cost, familiar=subject.familiar
        )


def _subject_of(account: str, client: str) -> tuple[_Subject, str]:
    """Return what a try is counted by, as from a network that is not familiar, and the network."""
    networks = client_networks(client)
    # no network around an IPv4 address
    counted = (networks[0], networks[-1]) if len(networks) > 2 else networks[:1]
    # the /24 of IPv4, the /64 of IPv6
    return _Subject(account, counted), networks[1] if len(networks) == 2 else networks[0]
