"""Logins of those who read mail (POP3, IMAP): passwords of accounts, app passwords, tokens of an
issuer, and how often a wrong password may be tried.

Rules:

- Failures are counted as ``posthorn.runtime.login_throttle`` says, in counters shared with
  submission and with all pods. A client that has used one up is refused before anything is
  verified: otherwise the answer would tell a right guess from a wrong one. The refusal is a
  transient one: at a permanent one mail clients ask their owners for a new password.
- A password with the prefix of app passwords is looked up as one first, before the counters are
  asked: nobody guesses one, and guesses at the account's own password do not block it. If it is
  none it may still be the account's own, and is then verified as such, which also takes as long as
  for an account that does not exist.
- Account, app password and counters are read by one statement (``LoginCheck``), which a login by
  password makes in its turn, so that guesses made at the same time see each other counted.
- Tokens are not counted: nobody guesses one, and a device with an expired one must not shut its owner
  out.
- SCRAM proves the account's own password alone, and its failures are counted as those of passwords.
- Only who showed the right password or token learns that the account is suspended, or may not be used from
  this network.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

import structlog

from posthorn.model.networks import is_within
from posthorn.ports.access import FamiliarNetworks, LoginCheck, LoginFindings, Proof, digest_of
from posthorn.ports.sending import APP_PASSWORD_PREFIX, USE_NOTED_SECONDS, Senders, Throttle
from posthorn.ports.sign_ins import ACCEPTED
from posthorn.runtime.familiar_networks import FamiliarNetworkRecorder, client_network_of
from posthorn.runtime.login_throttle import LoginThrottle
from posthorn.runtime.oidc.trust import TokenRefused
from posthorn.runtime.passwords import Passwords
from posthorn.runtime.settings import LoginLimitSettings
from posthorn.wire.address import AddressError, parse_address
from posthorn.wire.sasl_bearer import Bearer
from posthorn.wire.sasl_scram import ClientFirst, Exchange

if TYPE_CHECKING:
    from posthorn.runtime.oidc.mailbox_tokens import MailTokens
    from posthorn.runtime.rehashing import PasswordRehasher
    from posthorn.runtime.scram_verifiers import ScramVerifiers
    from posthorn.runtime.sign_ins import SignInRecorder

log = structlog.get_logger()


class Refusal(StrEnum):
    """Why a login is refused."""

    WRONG = "wrong"
    """Name or password are wrong."""
    THROTTLED = "throttled"
    """Too many logins of the client, or to the account, have failed: transient."""
    SUSPENDED = "suspended"
    """The account or its tenant is suspended."""
    NETWORK = "network"
    """The account may not log in from the client's network."""


def log_refused_login(outcome: str, client: str, **about: object) -> None:
    """Log each login that was judged and refused, and a few of those that were refused unseen."""
    whose = "stranger" if outcome == Refusal.THROTTLED else "client"
    log.info("login refused", outcome=outcome, **{whose: client}, **about)


class LoginRefused(Exception):
    """The login is refused."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.value)
        self.refusal = refusal


class LoginAccount(Protocol):
    """What a login needs of an account."""

    @property
    def account(self) -> int:
        """Its id."""
        ...

    @property
    def address(self) -> str:
        """Its canonical address."""
        ...

    @property
    def password_hash(self) -> str:
        """Of its own password."""
        ...

    @property
    def active(self) -> bool:
        """Whether it may log in."""
        ...

    @property
    def networks(self) -> Collection[str]:
        """CIDR networks that logins may come from; empty: any."""
        ...

    @property
    def network_age(self) -> float | None:
        """Seconds since it last logged in from the client's network; None: not familiar."""
        ...

    @property
    def findings(self) -> LoginFindings | None:
        """Answers to the check; None: the store cannot tell, or was not asked."""
        ...


class Find[A](Protocol):
    """Reads accounts for logins."""

    async def __call__(
        self, address: str, network: bytes = b"", check: LoginCheck | None = None, /
    ) -> A | None:
        """Return the account of a canonical address, whether a network key is familiar to it, and
        the answers to the check. Raises Unavailable."""
        ...


@dataclass(slots=True)
class ScramLogin[A: LoginAccount]:
    """A login by SCRAM that has begun."""

    exchange: Exchange
    known: A | None
    address: str | None
    """The name as a canonical address; None: it is none."""
    is_own: bool
    """Whether the client wants to act as the account itself."""
    client: str
    client_network: bytes
    answer: bytes | None = None
    """The server's last message, once the client has shown that it knows the password."""


class MailLogin[A: LoginAccount]:
    """Verifies names and passwords, and counts failures."""

    def __init__(
        self,
        scope: str,
        find: Find[A],
        limits: LoginLimitSettings,
        passwords: Passwords,
        senders: Senders,
        throttle: Throttle,
        networks: FamiliarNetworks,
        tokens: MailTokens | None = None,
        scram: ScramVerifiers[A] | None = None,
        sign_ins: SignInRecorder | None = None,
        rehasher: PasswordRehasher | None = None,
    ) -> None:
        """``scope``: what an app password must be for. ``tokens``: None where no issuer's are taken;
        ``scram``: None where it is not offered; ``sign_ins``: where sign-ins are recorded;
        ``rehasher``: what replaces hashes of other programs."""
        self._rehasher = rehasher
        self._sign_ins = sign_ins
        self.tokens = tokens
        self.scram = scram
        self._scope = scope
        self._find = find
        self._passwords = passwords
        self._senders = senders
        self._login_throttle = LoginThrottle(throttle, limits)
        self._familiar_networks = FamiliarNetworkRecorder(networks)

    async def log_in(
        self, name: str, password: str, client: str, *, acts_as: str = ""
    ) -> tuple[A, Proof]:
        """Return the account, and the proof of what it logged in with. ``client``: an IP address;
        ``acts_as``: the authorization identity, empty for that of the name.

        Raises LoginRefused, Unavailable, passwords.Busy.
        """
        address = _canonical(name)
        client_network = client_network_of(address, client) if address else b""
        check = LoginCheck(self._login_throttle.counters(address or "", client))
        is_own = not acts_as or _canonical(acts_as) == address
        known = proof = None
        if address and is_own and password.startswith(APP_PASSWORD_PREFIX):
            digest = hashlib.sha256(password.encode("utf-8", "surrogatepass")).digest()
            known = await self._find(
                address,
                client_network,
                replace(check, app_password=digest, scope=self._scope, client=client),
            )
            proof = await self._by_app_password(known, digest, client)
        if known is None or proof is None:
            known, proof = await self._by_own_password(
                address, password, client, client_network, check, is_own=is_own
            )
        self._admit(known, client, client_network, proof)
        if proof.password and not self._is_replaced(known, password) and self.scram is not None:
            self.scram.note(known, password)
        return known, proof

    def _is_replaced(self, known: A, password: str) -> bool:
        """Return whether the stored hash is being replaced: a verifier for SCRAM, which is bound to
        it, is then made at the next login."""
        if self._rehasher is None:
            return False
        return self._rehasher.note(known.account, known.password_hash, password)

    async def _by_own_password(
        self,
        address: str | None,
        password: str,
        client: str,
        client_network: bytes,
        check: LoginCheck,
        *,
        is_own: bool,
    ) -> tuple[A, Proof]:
        """Return the account and the proof; it takes as long without an account. Raises
        LoginRefused, Unavailable, passwords.Busy."""
        known: A | None = None

        async def look() -> tuple[bool, Mapping[str, float] | None]:
            nonlocal known
            known = await self._find(address, client_network, check) if address else None
            if known is None:
                return False, None
            findings = known.findings
            return known.network_age is not None, None if findings is None else findings.counters

        async with self._login_throttle.attempt_with(address or "", client, look) as attempt:
            if attempt.refused:
                raise self._refused(known, client, Refusal.THROTTLED)
            right = await self._passwords.verify(known.password_hash if known else None, password)
            if known is None or not right or not is_own:
                await attempt.wrong()
                raise self._refused(known, client, Refusal.WRONG)
        return known, Proof(known.account, digest_of(known.password_hash))

    async def begin_scram(self, first: ClientFirst, client: str) -> ScramLogin[A]:
        """Begin a login by SCRAM; whether there is such an account does not show. Raises
        LoginRefused, Unavailable."""
        if self.scram is None:
            raise LoginRefused(Refusal.WRONG)
        address = _canonical(first.name)
        client_network = client_network_of(address, client) if address else b""
        known = await self._find(address, client_network) if address else None
        verifier = await self.scram.find(known, address or first.name)
        is_own = not first.acts_as or _canonical(first.acts_as) == address
        exchange = Exchange(first, secrets.token_urlsafe(24).encode(), verifier)
        return ScramLogin(exchange, known, address, is_own, client, client_network)

    async def finish_scram(self, login: ScramLogin[A], response: bytes) -> tuple[A, Proof]:
        """Return the account and the proof, and set the answer of ``login``. Raises LoginRefused,
        Unavailable; SaslError for a response that is not valid."""
        known = login.known
        familiar = known is not None and known.network_age is not None
        async with self._login_throttle.attempt(
            login.address or "", login.client, familiar=familiar
        ) as attempt:
            if attempt.refused:
                raise self._refused(known, login.client, Refusal.THROTTLED)
            answer = login.exchange.finish(response)
            if answer is None or known is None or not login.is_own:
                await attempt.wrong()
                raise self._refused(known, login.client, Refusal.WRONG)
        proof = Proof(known.account, digest_of(known.password_hash))
        self._admit(known, login.client, login.client_network, proof)
        login.answer = answer
        return known, proof

    async def log_in_by_token(self, bearer: Bearer, client: str) -> tuple[A, Proof]:
        """Return the account that a token names, and the proof. Raises LoginRefused,
        Unavailable."""
        if self.tokens is None:
            raise LoginRefused(Refusal.WRONG)
        try:
            token = await self.tokens.read(bearer.token)
        except TokenRefused as refused:
            log.info("token refused", reason=str(refused), stranger=client)
            raise LoginRefused(Refusal.WRONG) from None
        client_network = client_network_of(token.address, client)
        known = await self._find(token.address, client_network)
        if known is None or (bearer.name and _canonical(bearer.name) != token.address):
            raise LoginRefused(Refusal.WRONG)
        proof = Proof(known.account, expires_at=token.expires_at)
        self._admit(known, client, client_network, proof)
        return known, proof

    def _admit(self, known: A, client: str, client_network: bytes, proof: Proof) -> None:
        """Admit whoever showed what the account logs in with. Raises LoginRefused."""
        if not known.active:
            raise self._refused(known, client, Refusal.SUSPENDED)
        if not is_within(client, known.networks):
            raise self._refused(known, client, Refusal.NETWORK)
        self._note(known, client, ACCEPTED, proof.app_password)
        self._familiar_networks.note(known.account, client_network, known.network_age)

    def _refused(self, known: A | None, client: str, refusal: Refusal) -> LoginRefused:
        if known is not None:
            self._note(known, client, refusal.value)
        return LoginRefused(refusal)

    def _note(self, known: A, client: str, result: str, app_password: bytes = b"") -> None:
        if self._sign_ins is not None:
            self._sign_ins.note(known.account, self._scope, client, result, app_password)

    async def _by_app_password(self, known: A | None, digest: bytes, client: str) -> Proof | None:
        """Return the proof if the account has this app password, and record its use, which it may
        have been a while ago for the last time."""
        if known is None:
            return None
        if (findings := known.findings) is not None:
            age = findings.app_password_age
            is_known = age is not None and (
                age < USE_NOTED_SECONDS or await self._is_app_password(known, digest, client)
            )
        else:
            is_known = await self._is_app_password(known, digest, client)
        if not is_known:
            return None
        return Proof(known.account, app_password=digest, scope=self._scope)

    async def _is_app_password(self, known: A, digest: bytes, client: str) -> bool:
        return await self._senders.app_password(known.account, digest, self._scope, client)


def _canonical(name: str) -> str | None:
    try:
        return str(parse_address(name))
    except AddressError:
        return None
