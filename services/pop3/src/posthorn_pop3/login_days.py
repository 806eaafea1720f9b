"""Records which accounts are read by POP3, once a day each: those get a digest of their Junk, which
POP3 does not show.

No login waits for it, and a fault costs a record that the next login makes.
"""

from __future__ import annotations

import asyncio
import time

import structlog

from posthorn.ports.clock import Clock
from posthorn.ports.digests import Pop3Logins
from posthorn.ports.errors import Unavailable

log = structlog.get_logger()

_DAY_SECONDS = 86_400
_MOST_KNOWN = 200_000
"""Accounts remembered in this process; beyond, some are recorded again."""


class LoginDays:
    """Notes logins of this process."""

    def __init__(self, logins: Pop3Logins, clock: Clock = time.time) -> None:
        self._logins = logins
        self._clock = clock
        self._day = 0
        self._known: set[int] = set()
        self._waiting: set[int] = set()
        self._task: asyncio.Task[None] | None = None

    def note(self, account: int) -> None:
        """Note that an account was logged in to."""
        day = int(self._clock() // _DAY_SECONDS)
        if day != self._day or len(self._known) >= _MOST_KNOWN:
            self._day = day
            self._known.clear()
        if account in self._known:
            return
        self._known.add(account)
        self._waiting.add(account)
        if self._task is None:
            self._task = asyncio.create_task(self._record(), name="pop3 logins")

    async def settled(self) -> None:
        """Wait until what was noted is recorded."""
        if self._task is not None:
            await self._task

    async def _record(self) -> None:
        noted: set[int] = set()
        try:
            while self._waiting:
                noted, self._waiting = self._waiting, set()
                await self._logins.seen(noted)
        except Unavailable as fault:
            self._known -= noted | self._waiting
            self._waiting = set()
            log.warning("logins are not recorded for digests", fault=fault)
        finally:
            self._task = None
