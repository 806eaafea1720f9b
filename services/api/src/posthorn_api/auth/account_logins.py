"""Holders of accounts at the API: an address and the account's own password, by HTTP Basic (RFC
7617) or at the sign-in of a browser.

Rules:

- App passwords are for programs that read or send mail, and open nothing here.
- Failures are counted with those of IMAP, POP3 and submission (``posthorn.runtime.login_throttle``), and
  so are familiar networks. The networks that an account may log in from hold here too.
- A refusal does not tell whether the account exists, and takes as long either way.
"""

from __future__ import annotations

import base64
from uuid import NAMESPACE_URL, uuid5

from posthorn.model.networks import is_within
from posthorn.ports.access import digest_of
from posthorn.ports.accounts import AccountState
from posthorn.ports.api_keys import ApiKey, Role
from posthorn.ports.sending import Credentials, Senders, Throttle
from posthorn.ports.sign_ins import ACCEPTED
from posthorn.runtime.familiar_networks import FamiliarNetworkRecorder, client_network_of
from posthorn.runtime.login_throttle import LoginThrottle
from posthorn.runtime.passwords import Passwords
from posthorn.runtime.rehashing import PasswordRehasher
from posthorn.runtime.settings import LoginLimitSettings
from posthorn.runtime.sign_ins import SignInRecorder
from posthorn.wire.address import AddressError, parse_address
from posthorn_api.http.problems import Problem, RateLimited

_LONGEST = 1024
_REALM = {"WWW-Authenticate": 'Basic realm="posthorn", charset="UTF-8"'}


class AccountLogins:
    """Verifies the passwords of accounts."""

    def __init__(
        self,
        limits: LoginLimitSettings,
        senders: Senders,
        throttle: Throttle,
        passwords: Passwords,
        sign_ins: SignInRecorder,
        rehasher: PasswordRehasher | None = None,
    ) -> None:
        self._sign_ins = sign_ins
        self._rehasher = rehasher
        self._senders = senders
        self._passwords = passwords
        self._login_throttle = LoginThrottle(throttle, limits)
        self._familiar_networks = FamiliarNetworkRecorder(senders)

    async def caller(self, credentials: str, client: str) -> ApiKey:
        """Return the account whose address and password ``credentials`` holds in base64; ``client``
        is its IP address.

        Raises 401 for wrong ones, 403 for a suspended account, 429 after too many failures,
        Unavailable and passwords.Busy.
        """
        name, password = _read(credentials)
        return (await self.verify(name, password, client))[0]

    async def verify(self, name: str, password: str, client: str) -> tuple[ApiKey, bytes]:
        """Return the account of that address and password, and the digest of the stored hash of
        the password. Raises as ``caller``."""
        try:
            address = str(parse_address(name))
        except AddressError:
            address = ""
        client_network = client_network_of(address, client)
        known = await self._senders.credentials(address, client_network) if address else None
        familiar = known is not None and known.network_age is not None
        async with self._login_throttle.attempt(address, client, familiar=familiar) as attempt:
            if attempt.refused:
                self._note(known, client, "throttled")
                raise RateLimited("too many failed logins", attempt.wait_seconds)
            if (
                not await self._passwords.verify(
                    None if known is None else known.password_hash, password
                )
                or known is None
            ):
                self._note(known, client, "wrong")
                await attempt.wrong()
                raise _wrong()
        if known.state is AccountState.SUSPENDED:
            self._note(known, client, "suspended")
            raise Problem(403, "forbidden", "the account is suspended")
        if not is_within(client, known.networks):
            self._note(known, client, "network")
            raise Problem(403, "forbidden", "the account may not be used from your network")
        self._familiar_networks.note(known.account, client_network, known.network_age)
        self._note(known, client, ACCEPTED)
        if self._rehasher is not None:
            self._rehasher.note(known.account, known.password_hash, password)
        number = uuid5(NAMESPACE_URL, f"account:{known.account}")
        caller = ApiKey(
            number,
            known.address,
            Role.ACCOUNT,
            known.tenant,
            account=known.address,
            account_id=known.account,
        )
        return caller, digest_of(known.password_hash)

    def _note(self, known: Credentials | None, client: str, result: str) -> None:
        if known is not None:
            self._sign_ins.note(known.account, "api", client, result)


def _read(credentials: str) -> tuple[str, str]:
    """Return name and password."""
    try:
        name, separator, password = (
            base64.b64decode(credentials[:_LONGEST], validate=True).decode().partition(":")
        )
    except ValueError:
        raise _wrong() from None
    if not separator or not password:
        raise _wrong()
    return name, password


def _wrong() -> Problem:
    return Problem(
        401, "unauthorized", "the address or the password is wrong", headers=dict(_REALM)
    )
