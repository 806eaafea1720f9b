"""Leases on their way back: released together, and tried again where Postgres was unavailable.

Rules:

- What is to be released while a statement is under way shares the next one.
- A login waits for the releases of its account in this process: what a session has left is free.
- A lease that could not be released is released once Postgres is there again; until then its maildrop
  is ``[SYS/TEMP]``, not ``[IN-USE]``: nobody uses it.
"""

from __future__ import annotations

import asyncio
from uuid import UUID

import structlog

from posthorn.ports.errors import Unavailable
from posthorn.ports.maildrops import Maildrops

log = structlog.get_logger()


class LeaseReturns:
    """The leases that sessions of this process no longer need."""

    def __init__(self, maildrops: Maildrops) -> None:
        self._maildrops = maildrops
        self._waiting: dict[UUID, int] = {}  # holder and account, as in the next ones
        self._unreleased: dict[UUID, int] = {}
        self._rounds: dict[int, asyncio.Future[None]] = {}  # by account: the last that concerns it
        self._next: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """Leases that could not be released so far."""
        return len(self._unreleased)

    async def release(self, account: int, holder: UUID) -> None:
        """Release a lease, or remember it. Raises nothing."""
        loop = asyncio.get_running_loop()
        self._waiting[holder] = account
        if self._next is None:
            self._next = loop.create_future()
        done = self._rounds[account] = self._next
        if self._task is None:
            task = asyncio.Task(self._run(), loop=loop, eager_start=True)
            self._task = None if task.done() else task
        await asyncio.shield(done)

    def later(self, account: int, holder: UUID) -> None:
        """Remember a lease that may have been taken, though Postgres did not say so."""
        self._unreleased[holder] = account

    async def freed(self, account: int) -> None:
        """Wait until no session of this process has left a lease of the account. Raises
        Unavailable."""
        if (done := self._rounds.get(account)) is not None:
            await asyncio.shield(done)
        if account in self._unreleased.values():
            await self._try_again({h: a for h, a in self._unreleased.items() if a == account})

    async def try_again(self) -> None:
        """Release what could not be released. Raises Unavailable."""
        if self._unreleased:
            await self._try_again(dict(self._unreleased))

    async def _try_again(self, leases: dict[UUID, int]) -> None:
        await self._release(leases)
        for holder in leases:
            self._unreleased.pop(holder, None)

    async def _run(self) -> None:
        try:
            while self._waiting:
                leases, self._waiting = self._waiting, {}
                done, self._next = self._next, None
                assert done is not None
                try:
                    await self._release(leases)
                except Unavailable as error:
                    self._unreleased |= leases
                    log.warning("leases not released", fault=error)
                except Exception:
                    self._unreleased |= leases
                    log.exception("leases not released")
                finally:
                    for account in leases.values():
                        if self._rounds.get(account) is done:
                            del self._rounds[account]
                    done.set_result(None)
        finally:
            self._task = None

    async def _release(self, leases: dict[UUID, int]) -> None:
        await self._maildrops.release([(account, holder) for holder, account in leases.items()])
