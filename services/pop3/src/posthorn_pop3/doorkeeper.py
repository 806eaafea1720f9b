"""Who is let in: passwords of accounts and of programs, and how often a wrong one may be tried.

Rules:

- Failures are counted by client address and by account, in counters shared with submission and with all pods. Who has used one up
  is refused before anything is verified: otherwise the answer would tell a right guess from a wrong one. The refusal is
  ``[SYS/TEMP]``: an ``[AUTH]`` would have mail clients ask their owners for a new password.
- A password that begins as app passwords do is looked for among them first. It may all the same be the account's own, and is then
  verified as such, which also takes as long as for an account that does not exist.
- Without the counters people still get their mail: a fault of theirs is logged, and the login goes on.
"""

from __future__ import annotations

import hashlib

import structlog

from posthorn.ports.faults import Unavailable
from posthorn.ports.sending import APP_PASSWORD_PREFIX, Senders, Throttle, failed_logins
from posthorn.runtime.passwords import Passwords

log = structlog.get_logger()

FAILURES_PER_ADDRESS = 30
FAILURES_PER_ACCOUNT = 10


class Doorkeeper:
    """Verifies passwords and counts failures."""

    def __init__(self, passwords: Passwords, senders: Senders, throttle: Throttle) -> None:
        self._passwords = passwords
        self._senders = senders
        self._throttle = throttle

    async def lets_try(self, client: str, address: str | None) -> bool:
        """Whether another password may be tried from this client address for this account. Raises nothing."""
        return await self._take(client, address, cost=0) == 0.0

    async def failed(self, client: str, address: str | None) -> None:
        """Count a wrong name or password. Raises nothing."""
        await self._take(client, address, cost=1)

    async def verify(self, account: int | None, stored: str | None, password: str) -> bool:
        """Whether the password opens the account's maildrop. Raises Unavailable and passwords.Busy."""
        if account is not None and password.startswith(APP_PASSWORD_PREFIX):
            digest = hashlib.sha256(password.encode("utf-8", "surrogatepass")).digest()
            if await self._senders.app_password(account, digest, "pop3"):
                return True
        return await self._passwords.verify(stored, password)

    async def _take(self, client: str, address: str | None, cost: int) -> float:
        limits = FAILURES_PER_ADDRESS, FAILURES_PER_ACCOUNT
        try:
            return await self._throttle.take(failed_logins(client, address or "", limits, cost))
        except Unavailable as fault:
            log.warning("failed logins are not counted at this moment", detail=str(fault))
            return 0.0
