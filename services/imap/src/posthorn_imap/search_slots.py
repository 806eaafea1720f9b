"""How many searches read messages at once, in a process and of an account.

A search that only asks the store needs no slot. One that reads messages waits for its turn, first
come, first served, but an account that has all its slots is passed over. A queue that is full means
NO [LIMIT].
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from posthorn_imap.answering import No

if TYPE_CHECKING:
    from posthorn_imap.pacing import Pace

SEARCHES = 4
"""Searches that read messages at once in a process."""
SEARCHES_OF_ACCOUNT = 2
WAITING = 200
"""Searches that wait in a process."""
WAITING_OF_ACCOUNT = 20
_LOOK_SECONDS = 1.0


class SearchSlots:
    """The slots of a process."""

    def __init__(
        self,
        most: int = SEARCHES,
        most_of_account: int = SEARCHES_OF_ACCOUNT,
        most_waiting_of_account: int = WAITING_OF_ACCOUNT,
    ) -> None:
        self._most = most
        self._most_of_account = most_of_account
        self._most_waiting_of_account = most_waiting_of_account
        self._running: Counter[int] = Counter()
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []

    @property
    def waiting(self) -> int:
        """Searches that wait."""
        return len(self._waiting)

    @asynccontextmanager
    async def slot(self, account: int, pace: Pace) -> AsyncIterator[None]:
        """Hold a slot. Raises No when too many wait, ConnectionError when the client goes."""
        if not self._take(account):
            await self._wait(account, pace)
        try:
            yield
        finally:
            self._release(account)

    def _take(self, account: int) -> bool:
        if self._running.total() >= self._most or self._running[account] >= self._most_of_account:
            return False
        self._running[account] += 1
        return True

    def _release(self, account: int) -> None:
        self._running[account] -= 1
        if not self._running[account]:
            del self._running[account]
        for place, (other, turn) in enumerate(self._waiting):
            if self._take(other):
                del self._waiting[place]
                turn.set_result(None)
                return

    async def _wait(self, account: int, pace: Pace) -> None:
        of_account = sum(other == account for other, _ in self._waiting)
        if len(self._waiting) >= WAITING or of_account >= self._most_waiting_of_account:
            raise No("too many searches run at this moment, try again", b"LIMIT")
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (account, turn)
        self._waiting.append(entry)
        try:
            while not turn.done():
                await asyncio.wait([turn], timeout=_LOOK_SECONDS)
                await pace.turn()
        except BaseException:
            if turn.done():
                self._release(account)
            else:
                self._waiting.remove(entry)
            raise
