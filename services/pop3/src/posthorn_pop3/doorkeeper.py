"""Who is let in: passwords of accounts and of programs, and how often a wrong one may be tried.

Rules:

- Failures are counted as ``posthorn.runtime.guesses`` says, in counters shared with submission and with all pods. Who has used one
  up is refused before anything is verified: otherwise the answer would tell a right guess from a wrong one. The refusal is
  ``[SYS/TEMP]``: an ``[AUTH]`` would have mail clients ask their owners for a new password.
- A password that begins as app passwords do is looked for among them first. It may all the same be the account's own, and is then
  verified as such, which also takes as long as for an account that does not exist.
"""

from __future__ import annotations

import hashlib
from contextlib import AbstractAsyncContextManager

from posthorn.ports.sending import APP_PASSWORD_PREFIX, Senders, Throttle
from posthorn.runtime.guesses import Attempt, Guesses
from posthorn.runtime.passwords import Passwords

FAILURES_PER_ADDRESS = 30
FAILURES_PER_ACCOUNT = 10


class Doorkeeper:
    """Verifies passwords and counts failures."""

    def __init__(self, passwords: Passwords, senders: Senders, throttle: Throttle) -> None:
        self._passwords = passwords
        self._senders = senders
        self._guesses = Guesses(throttle, FAILURES_PER_ADDRESS, FAILURES_PER_ACCOUNT)

    def attempt(self, address: str | None, client: str) -> AbstractAsyncContextManager[Attempt]:
        """Let a login be judged within the block, in its turn; ``address`` is None where the name is no address at all."""
        return self._guesses.attempt(address or "", client)

    async def verify(self, account: int | None, stored: str | None, password: str) -> bool:
        """Whether the password opens the account's maildrop. Raises Unavailable and passwords.Busy."""
        if account is not None and password.startswith(APP_PASSWORD_PREFIX):
            digest = hashlib.sha256(password.encode("utf-8", "surrogatepass")).digest()
            if await self._senders.app_password(account, digest, "pop3"):
                return True
        return await self._passwords.verify(stored, password)
