"""Replaces password hashes of other programs by argon2id, at the first login (ADR 45).

Rules:

- It is done in the background, one at a time: no login waits for it, and one that is lost is made
  at the next.
- The store replaces a hash only if it is still the one that was verified, and is no argon2id hash:
  a password that was changed meanwhile stays, and two processes replace it once.
- Sessions that logged in with the hash that is replaced go on (``ports.access.PasswordRehashes``).
"""

from __future__ import annotations

import asyncio

import structlog
from prometheus_client import Counter

from posthorn.ports.access import PasswordRehashes, digest_of
from posthorn.ports.errors import Unavailable
from posthorn.runtime.fair_slots import SlotsTaken
from posthorn.runtime.passwords import Busy, Passwords, is_foreign

log = structlog.get_logger()

MAX_WAITING = 64
"""Accounts that wait at most; others are replaced at their next login."""

_rehashed = Counter(
    "posthorn_foreign_passwords_rehashed_total",
    "Password hashes of other programs that were replaced by argon2id at a login",
)


class PasswordRehasher:
    """Replaces hashes of other programs."""

    def __init__(self, passwords: Passwords, store: PasswordRehashes) -> None:
        self._passwords = passwords
        self._store = store
        self._waiting: dict[int, tuple[str, str]] = {}
        self._task: asyncio.Task[None] | None = None

    def note(self, account: int, stored: str, password: str) -> bool:
        """Replace a stored hash that this password has just been verified against, if it is one of
        another program; return whether it is. Never waits, never raises."""
        if not is_foreign(stored):
            return False
        if account in self._waiting or len(self._waiting) < MAX_WAITING:
            self._waiting[account] = stored, password
            if self._task is None:
                self._task = asyncio.create_task(self._run(), name="rehashing")
        return True

    async def finish(self) -> None:
        """Wait until nothing waits to be replaced."""
        while self._task is not None:
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        try:
            while self._waiting:
                account, (stored, password) = self._waiting.popitem()
                await self._replace(account, stored, password)
        finally:
            self._task = None

    async def _replace(self, account: int, stored: str, password: str) -> None:
        try:
            made = await self._passwords.hash(password)
            if await self._store.replace(account, digest_of(stored), made):
                _rehashed.inc()
                log.info("password hash replaced by argon2id", account=account)
        except (Busy, SlotsTaken, Unavailable) as fault:
            log.warning("a password hash is not replaced yet", account=account, fault=fault)
        except Exception:
            log.exception("a password hash is not replaced", account=account)
