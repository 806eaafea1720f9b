"""Logins: passwords of accounts and app passwords, and how often a wrong one may be tried.

Rules:

- Failures are counted as ``posthorn.runtime.login_throttle`` says, in counters shared with
  submission and with all pods. A client that has used one up is refused before anything is
  verified: otherwise the answer would tell a right guess from a wrong one. The refusal is
  ``[SYS/TEMP]``: an ``[AUTH]`` would have mail clients ask their owners for a new password.
- A password with the prefix of app passwords is looked up as one first, before the counters are
  asked: nobody guesses one, and guesses at the account's own password do not block it. If it is
  none it may still be the account's own, and is then verified as such, which also takes as long as
  for an account that does not exist.
"""

from __future__ import annotations

import hashlib
from contextlib import AbstractAsyncContextManager

from posthorn.ports.access import FamiliarNetworks, Proof, digest_of
from posthorn.ports.maildrops import AccountLogin
from posthorn.ports.sending import APP_PASSWORD_PREFIX, Senders, Throttle
from posthorn.runtime.familiar_networks import FamiliarNetworkRecorder
from posthorn.runtime.login_throttle import Attempt, LoginThrottle
from posthorn.runtime.passwords import Passwords
from posthorn.runtime.settings import LoginLimitSettings

SCOPE = "pop3"
"""The scope that an app password must have."""


class Authenticator:
    """Verifies passwords and counts failures."""

    def __init__(
        self,
        limits: LoginLimitSettings,
        passwords: Passwords,
        senders: Senders,
        throttle: Throttle,
        networks: FamiliarNetworks,
    ) -> None:
        self._passwords = passwords
        self._senders = senders
        self._login_throttle = LoginThrottle(throttle, limits)
        self._familiar_networks = FamiliarNetworkRecorder(networks)

    def attempt(
        self, address: str | None, client: str, *, familiar: bool
    ) -> AbstractAsyncContextManager[Attempt]:
        """Let a login be judged within the block, in its turn; ``address`` is None where the
        name is no address at all."""
        return self._login_throttle.attempt(address or "", client, familiar=familiar)

    async def by_app_password(self, known: AccountLogin | None, password: str) -> Proof | None:
        """Return the proof if this is an app password of the account, else None. Raises
        Unavailable."""
        if known is None or not password.startswith(APP_PASSWORD_PREFIX):
            return None
        digest = hashlib.sha256(password.encode("utf-8", "surrogatepass")).digest()
        if not await self._senders.app_password(known.account, digest, SCOPE):
            return None
        return Proof(known.account, app_password=digest, scope=SCOPE)

    async def by_password(self, known: AccountLogin | None, password: str) -> Proof | None:
        """Return the proof if this is the account's own password; it takes as long without an
        account. Raises passwords.Busy."""
        right = await self._passwords.verify(known.password_hash if known else None, password)
        return Proof(known.account, digest_of(known.password_hash)) if known and right else None

    def logged_in(self, known: AccountLogin, client_network: bytes) -> None:
        """Record that the account was logged in to from there."""
        self._familiar_networks.note(known.account, client_network, known.network_age)
