"""Logins of the submission role: who may log in, and whether a login still holds (RFC 4954).

Rules:

- A failed login says nothing of its reason, and takes as long for an account that does not exist.
- Failures are counted as ``posthorn.runtime.login_throttle`` says, in counters shared with POP3 and
  by all processes.
- An app password is looked up before the counters of failures are asked: guesses at the account's
  own do not block it.
- What an account may do is read again after a while. Besides, of all sessions that are logged in it
  is asked in one call a second whether what they logged in with still holds; if not, the session
  ends at once. While Postgres cannot be asked, none does. A token ends by the clock.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING

import structlog
from prometheus_client import Counter

from posthorn.model.ip_addresses import is_loopback
from posthorn.model.networks import is_within
from posthorn.ports.access import Ending, Proof, digest_of, is_same_password
from posthorn.ports.accounts import AccountState
from posthorn.ports.errors import Unavailable
from posthorn.ports.sending import APP_PASSWORD_PREFIX, Credentials, Senders, Throttle
from posthorn.ports.sign_ins import ACCEPTED
from posthorn.runtime.familiar_networks import FamiliarNetworkRecorder, client_network_of
from posthorn.runtime.login_throttle import LoginThrottle
from posthorn.runtime.mail_login import log_refused_login
from posthorn.runtime.oidc.trust import TokenRefused
from posthorn.runtime.passwords import Busy, Passwords
from posthorn.wire.address import Address, AddressError, parse_address
from posthorn.wire.sasl_bearer import BEARER_MECHANISMS, Bearer
from posthorn.wire.smtp import replies as smtp
from posthorn.wire.smtp.replies import Reply
from posthorn.wire.smtp.sasl import Secret
from posthorn.wire.smtp.transitions import PASSWORD_MECHANISMS
from posthorn_smtp_in import account_readings
from posthorn_smtp_in.account_readings import AccountReadings
from posthorn_smtp_in.policy import Revocable
from posthorn_smtp_in.settings import SubmissionSettings
from posthorn_smtp_in.transaction import Client, Login

if TYPE_CHECKING:
    from posthorn.runtime.oidc.mailbox_tokens import MailTokens
    from posthorn.runtime.rehashing import PasswordRehasher
    from posthorn.runtime.sign_ins import SignInRecorder

log = structlog.get_logger()

SCOPE = "smtp"
"""The scope that an app password must have."""
WATCH_SECONDS = 1.0
"""How often it is asked whether sessions that are logged in may go on."""

_logins = Counter("posthorn_smtp_in_logins_total", "Logins tried", ["outcome"])
_revoked = Counter(
    "posthorn_smtp_in_revoked_total", "Sessions ended because they might not go on", ["reason"]
)


class SmtpAuthenticator:
    """Judges logins, and watches the sessions that are logged in."""

    def __init__(
        self,
        settings: SubmissionSettings,
        senders: Senders,
        throttle: Throttle,
        passwords: Passwords,
        tokens: MailTokens | None = None,
        sign_ins: SignInRecorder | None = None,
        rehasher: PasswordRehasher | None = None,
    ) -> None:
        self._sign_ins = sign_ins
        self._rehasher = rehasher
        self.mechanisms = PASSWORD_MECHANISMS + (BEARER_MECHANISMS if tokens else ())
        self._tokens = tokens
        self.login_seconds = settings.submission_login_seconds
        self.attempts = settings.submission_login_attempts
        self.failure_delay_seconds = settings.submission_failure_delay_seconds
        self._cleartext = settings.smtp_cleartext_auth
        self._senders = senders
        self._readings = AccountReadings(senders)
        self._passwords = passwords
        self._familiar_networks = FamiliarNetworkRecorder(senders)
        self._sessions: set[Revocable] = set()
        self._throttle = LoginThrottle(throttle, settings)

    def takes_passwords(self, client: Client) -> bool:
        """Return whether a password may be sent on this connection."""
        if client.tls:
            return True
        if client.via_proxy or self._cleartext != "loopback":
            # the connection to the proxy is not this host's, whatever address it tells
            return False
        return is_loopback(client.address)

    async def log_in(self, secret: Secret, client: Client) -> Reply:
        """Judge a login; one that is right is entered with the client."""
        address = _canonical(secret.name)
        return await self._told(self._log_in(secret, address, client), address, client)

    async def log_in_by_token(self, bearer: Bearer, client: Client) -> Reply:
        """Judge a login by token. Such logins are not counted: nobody guesses a token, and a device
        with an expired one must not shut its owner out."""
        login = self._log_in_by_token(bearer, client)
        return await self._told(login, _canonical(bearer.name), client)

    def token_failure(self, mechanism: str) -> bytes:
        """Return the challenge after a token that was refused."""
        return b"" if self._tokens is None else self._tokens.failure(mechanism)

    async def _told(
        self, login: Awaitable[tuple[Reply, str]], address: str, client: Client
    ) -> Reply:
        try:
            reply, outcome = await login
        except (Busy, Unavailable) as fault:
            reply, outcome = smtp.LOGIN_NOT_NOW, "unavailable"
            log.warning("a login cannot be checked", fault=fault)
        _logins.labels(outcome).inc()
        if reply is smtp.LOGGED_IN:
            log.info("login", account=address, tls=client.tls, client=client.address)
        else:
            log_refused_login(outcome, client.address, account=address, tls=client.tls)
        return reply

    async def _log_in(self, secret: Secret, address: str, client: Client) -> tuple[Reply, str]:
        client_network = client_network_of(address, client.address)
        credentials = await self._senders.credentials(address, client_network) if address else None
        own = not secret.acts_as or _canonical(secret.acts_as) == address
        digest, right = b"", False
        if secret.password.startswith(APP_PASSWORD_PREFIX):
            digest = hashlib.sha256(secret.password.encode("utf-8", "surrogateescape")).digest()
            right = await self._senders.app_password(
                credentials.account if credentials else 0, digest, SCOPE, client.address
            )
            if right and own and credentials is not None:
                verdict = self._verdict(credentials, client)
                if verdict[0] is not smtp.LOGIN_FAILED:
                    return self._entered(
                        Login(credentials, digest, time.monotonic()),
                        client,
                        client_network,
                        *verdict,
                    )
        familiar = credentials is not None and credentials.network_age is not None
        async with self._throttle.attempt(address, client.address, familiar=familiar) as attempt:
            if attempt.refused:
                self._note(credentials, client, "throttled")
                return smtp.LOGIN_THROTTLED, "throttled"
            if not digest:
                right = await self._passwords.verify(
                    credentials.password_hash if credentials else None, secret.password
                )
            if credentials is None or not right or not own:
                verdict = smtp.LOGIN_FAILED, "wrong"
            else:
                verdict = self._verdict(credentials, client)
                if self._rehasher is not None and not digest:
                    self._rehasher.note(
                        credentials.account, credentials.password_hash, secret.password
                    )
            if credentials is None or verdict[0] is smtp.LOGIN_FAILED:
                await attempt.wrong()
                self._note(credentials, client, verdict[1])
                return verdict
            return self._entered(
                Login(credentials, digest, time.monotonic()), client, client_network, *verdict
            )

    async def _log_in_by_token(self, bearer: Bearer, client: Client) -> tuple[Reply, str]:
        if self._tokens is None:
            return smtp.LOGIN_FAILED, "wrong"
        try:
            token = await self._tokens.read(bearer.token)
        except TokenRefused as refused:
            log.info("token refused", reason=str(refused), stranger=client.address)
            return smtp.LOGIN_FAILED, "wrong"
        client_network = client_network_of(token.address, client.address)
        credentials = await self._senders.credentials(token.address, client_network)
        if credentials is None or (bearer.name and _canonical(bearer.name) != token.address):
            return smtp.LOGIN_FAILED, "wrong"
        verdict = self._verdict(credentials, client)
        if verdict[0] is smtp.LOGIN_FAILED:
            self._note(credentials, client, verdict[1])
            return verdict
        login = Login(credentials, b"", time.monotonic(), expires_at=token.expires_at)
        return self._entered(login, client, client_network, *verdict)

    def _verdict(self, credentials: Credentials, client: Client) -> tuple[Reply, str]:
        """Judge who showed the right password."""
        if credentials.state is AccountState.SUSPENDED:
            return smtp.LOGIN_FAILED, "suspended"
        if not is_within(client.address, credentials.networks):
            return smtp.LOGIN_FAILED, "network"
        if credentials.state is AccountState.RECEIVE_ONLY:
            return smtp.RECEIVE_ONLY, "receive-only"
        return smtp.LOGGED_IN, "right"

    def _entered(
        self, login: Login, client: Client, client_network: bytes, reply: Reply, outcome: str
    ) -> tuple[Reply, str]:
        if reply is smtp.LOGGED_IN:
            client.login = login
        result = ACCEPTED if reply is smtp.LOGGED_IN else outcome
        self._note(login.credentials, client, result, login.app_password)
        self._familiar_networks.note(
            login.credentials.account, client_network, login.credentials.network_age
        )
        return reply, outcome

    def _note(
        self, known: Credentials | None, client: Client, result: str, app_password: bytes = b""
    ) -> None:
        if self._sign_ins is not None and known is not None:
            self._sign_ins.note(known.account, SCOPE, client.address, result, app_password)

    def opened(self, session: Revocable) -> None:
        """Watch a session that is logged in, until ``closed``."""
        self._sessions.add(session)

    def closed(self, session: Revocable) -> None:
        """Forget a session; one that was never logged in is no error."""
        self._sessions.discard(session)

    async def keep_watch(self) -> None:
        """End sessions that may not go on, forever."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            try:
                await self.watch()
            except Exception:
                log.exception("sessions could not be checked")

    async def watch(self) -> None:
        """End sessions that may not go on, asked about in one call."""
        asked = {
            session: session.client.login.proof
            for session in self._sessions
            if session.client.login is not None
        }
        now = time.time()
        ended = {proof: Ending.EXPIRED for proof in asked.values() if proof.has_expired(now)}
        self._end(asked, ended)
        asked = {session: proof for session, proof in asked.items() if proof not in ended}
        if not asked:
            return
        try:
            ended = await self._senders.ended(set(asked.values()))
        except Unavailable as fault:
            log.warning("sessions not checked", fault=fault, sessions=len(asked))
            return
        self._end(asked, ended)

    def _end(self, asked: Mapping[Revocable, Proof], ended: Mapping[Proof, Ending]) -> None:
        for session, proof in asked.items():
            login = session.client.login
            if proof in ended and login is not None and login.proof == proof and not login.revoked:
                login.revoked = True
                _revoked.labels(ended[proof].value).inc()
                log.info("session is ended", account=session.client.account, why=ended[proof].value)
                session.revoke()

    async def still_allowed(self, login: Login, client: Client) -> Reply | None:
        """Return the reply that refuses the account, read again when it was read a while ago.
        Raises Unavailable."""
        if time.monotonic() - login.read_at < account_readings.REREAD_SECONDS:
            return None
        old = login.credentials
        reading, new = await self._readings.read(old.address)
        if new is not None and new.state is AccountState.RECEIVE_ONLY:
            return smtp.RECEIVE_ONLY
        if (
            new is None
            or new.state is AccountState.SUSPENDED
            or not is_within(client.address, new.networks)
        ):
            return smtp.NO_SENDING
        if login.expires_at is not None:
            is_same = not login.proof.has_expired(time.time())
        elif login.app_password:
            is_same = await self._readings.has_app_password(
                reading, new.account, login.app_password, SCOPE, client.address
            )
        else:
            is_same = is_same_password(
                digest_of(old.password_hash), new.password_hash, new.rehashed
            )
        if new.account != old.account or not is_same:
            client.login = None
            return smtp.LOGIN_FIRST
        login.renew(new, reading.read_at, reading.owned)
        return None

    async def owns(self, login: Login, address: Address) -> bool:
        """Return whether an address is the account's. Raises Unavailable."""
        name = str(address)
        if name == login.credentials.address or name in login.owned:
            return True
        if not await self._senders.owns(login.credentials.account, address):
            return False
        login.owned.add(name)
        return True


def _canonical(name: str) -> str:
    """Return the address that a login name is, or nothing."""
    try:
        return str(parse_address(name))
    except AddressError:
        return ""
