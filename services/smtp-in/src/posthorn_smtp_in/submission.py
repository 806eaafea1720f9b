"""The decisions of the submission role: who may log in, in whose name they send, and how much (RFC 6409, RFC 4954).

Rules:

- A failed login says nothing of its reason, and takes as long for an account that is not there.
- Failures are counted as ``posthorn.runtime.login_throttle`` says, in counters shared with POP3 and by all processes.
- An app password is looked for before the counters of failures are asked: guesses at the account's own close nothing for it.
- What an account may do is read again after a while. Besides, of all sessions that are logged in it is asked in one call a second
  whether what they logged in with still holds; if not, the session ends at once. While Postgres cannot be asked, none does.
- The sender and every author in the From field are addresses of the account. Any recipient may follow: ours as the directory says.
- A message is charged when it is here as a whole, before it is kept. Of the counters, those for failed logins are a brake and done
  without when they cannot be had; those for messages are a promise, and the message waits.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import structlog
from prometheus_client import Counter

from posthorn.model.envelope import Envelope
from posthorn.ports.accounts import AccountState
from posthorn.ports.clock import Clock
from posthorn.ports.errors import Unavailable
from posthorn.ports.sending import (
    APP_PASSWORD_PREFIX,
    Credentials,
    RateLimitSubject,
    Senders,
    Throttle,
    most_recipients,
    sent_message,
)
from posthorn.runtime.familiar_places import FamiliarPlaces, place_of
from posthorn.runtime.login_throttle import Guesses
from posthorn.runtime.passwords import Busy, Passwords
from posthorn.runtime.prepaid_throttle import Credit
from posthorn.wire.address import Address, AddressError, parse_address
from posthorn.wire.auth.authentication_results import without_ours
from posthorn.wire.message.header import HeaderScan
from posthorn.wire.message.submission import complete
from posthorn.wire.message.trace import mail_date
from posthorn.wire.smtp import replies as smtp
from posthorn.wire.smtp.commands import Mail, Rcpt
from posthorn.wire.smtp.replies import Reply
from posthorn.wire.smtp.sasl import Secret
from posthorn_smtp_in.letter import Letter
from posthorn_smtp_in.room import Room
from posthorn_smtp_in.service import Backends, Client, Login, Reception, Transaction, dsn_of
from posthorn_smtp_in.settings import SubmissionSettings

log = structlog.get_logger()

SCOPE = "smtp"
"""What an app password must be for."""
REREAD_SECONDS = 1.5
"""How long what was read of an account at its login, or later, is relied upon."""

WATCH_SECONDS = 1.0
"""How often it is asked whether sessions that are logged in may go on."""

_logins = Counter("posthorn_smtp_in_logins_total", "Logins tried", ["outcome"])

_revoked = Counter("posthorn_smtp_in_revoked_total", "Sessions ended because they might not go on", ["reason"])

_MOST_READINGS = 10_000

type _Ip = ipaddress.IPv4Address | ipaddress.IPv6Address


class Revocable(Protocol):
    """A session that is logged in."""

    client: Client

    def revoke(self) -> None:
        """End now: what the session logged in with does not hold any more."""
        ...


class Submission(Reception):
    """Takes mail from people who have an account, for anybody."""

    offers_dsn = True
    _takes_elsewhere = True

    def __init__(
        self,
        settings: SubmissionSettings,
        room: Room,
        backends: Backends,
        senders: Senders,
        throttle: Throttle,
        passwords: Passwords,
        clock: Clock = time.time,
    ) -> None:
        super().__init__(settings, room, backends, clock)
        self.rules = settings
        self._senders = senders
        self._throttle = Credit(throttle)
        self._readings: OrderedDict[str, tuple[float, asyncio.Future[Credentials | None]]] = OrderedDict()
        self._passwords = passwords
        self._places = FamiliarPlaces(senders)
        self._sessions: set[Revocable] = set()
        self._guesses = Guesses(
            throttle, settings.submission_failures_per_address, settings.submission_failures_per_account
        )

    # logins

    def takes_passwords(self, client: Client) -> bool:
        """Whether a password may be sent on this connection."""
        if client.tls:
            return True
        if client.introduced or self.rules.smtp_cleartext_auth != "loopback":
            return False  # the way to the balancer is not this host's, whatever address it tells
        ip = _ip_of(client.address)
        return ip is not None and ip.is_loopback

    async def log_in(self, secret: Secret, client: Client) -> Reply:
        """Judge a login; a right one is entered with the client."""
        address = _canonical(secret.name)
        try:
            reply, outcome = await self._log_in(secret, address, client)
        except (Busy, Unavailable) as fault:
            reply, outcome = smtp.LOGIN_NOT_NOW, "unavailable"
            log.warning("a login cannot be checked", fault=type(fault).__name__, detail=str(fault))
        _logins.labels(outcome).inc()
        log.info("login", outcome=outcome, account=address, client=client.address, tls=client.tls)
        return reply

    async def _log_in(self, secret: Secret, address: str, client: Client) -> tuple[Reply, str]:
        place = place_of(address, client.address)
        credentials = await self._senders.credentials(address, place) if address else None
        own = not secret.acts_as or _canonical(secret.acts_as) == address
        digest, right = b"", False
        if secret.password.startswith(APP_PASSWORD_PREFIX):
            digest = hashlib.sha256(secret.password.encode("utf-8", "surrogateescape")).digest()
            right = await self._senders.app_password(credentials.account if credentials else 0, digest, SCOPE)
            if right and own and credentials is not None:
                verdict = self._verdict(credentials, client)
                if verdict[0] is not smtp.LOGIN_FAILED:
                    return self._entered(Login(credentials, digest, time.monotonic()), client, place, *verdict)
        familiar = credentials is not None and credentials.place_age is not None
        async with self._guesses.attempt(address, client.address, familiar=familiar) as attempt:
            if attempt.refused:
                return smtp.LOGIN_THROTTLED, "throttled"
            if not digest:
                right = await self._passwords.verify(
                    credentials.password_hash if credentials else None, secret.password
                )
            if credentials is None or not right or not own:
                verdict = smtp.LOGIN_FAILED, "wrong"
            else:
                verdict = self._verdict(credentials, client)
            if credentials is None or verdict[0] is smtp.LOGIN_FAILED:
                await attempt.wrong()
                return verdict
            return self._entered(Login(credentials, digest, time.monotonic()), client, place, *verdict)

    def _verdict(self, credentials: Credentials, client: Client) -> tuple[Reply, str]:
        """Judge who showed the right password."""
        if credentials.state is AccountState.SUSPENDED:
            return smtp.LOGIN_FAILED, "suspended"
        if not _is_within(client.address, credentials.networks):
            return smtp.LOGIN_FAILED, "network"
        if credentials.state is AccountState.RECEIVE_ONLY:
            return smtp.RECEIVE_ONLY, "receive-only"
        return smtp.LOGGED_IN, "right"

    def _entered(self, login: Login, client: Client, place: bytes, reply: Reply, outcome: str) -> tuple[Reply, str]:
        if reply is smtp.LOGGED_IN:
            client.login = login
        self._places.note(login.credentials.account, place, login.credentials.place_age)
        return reply, outcome

    # what is open

    def opened(self, session: Revocable) -> None:
        """A session is logged in: it is looked after until ``left``."""
        self._sessions.add(session)

    def left(self, session: Revocable) -> None:
        """It has gone, or was never logged in."""
        self._sessions.discard(session)

    async def keep_watch(self) -> None:
        """End sessions that may not go on, for ever."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            try:
                await self.watch()
            except Exception:
                log.exception("sessions could not be looked at")

    async def watch(self) -> None:
        """End sessions that may not go on, asked about in one call."""
        asked = {session: session.client.login.proof for session in self._sessions if session.client.login is not None}
        if not asked:
            return
        try:
            ended = await self._senders.ended(set(asked.values()))
        except Unavailable as fault:
            log.warning("sessions not looked at", detail=str(fault), sessions=len(asked))
            return
        for session, proof in asked.items():
            login = session.client.login
            if proof in ended and login is not None and login.proof == proof and not login.revoked:
                login.revoked = True
                _revoked.labels(ended[proof].value).inc()
                log.info("session is ended", account=session.client.account, why=ended[proof].value)
                session.revoke()

    # the transaction

    async def sender(self, mail: Mail, client: Client) -> Reply:
        """Judge MAIL: the null reverse-path, or an address of the account."""
        reply = await super().sender(mail, client)
        if reply is not smtp.SENDER_OK:
            return reply
        if client.login is None:
            return smtp.LOGIN_FIRST
        try:
            refusal = await self._reread(client.login, client)
            if refusal is not None:
                return refusal
            if mail.reverse_path is not None and not await self._owns(client.login, mail.reverse_path):
                return smtp.NOT_THE_OWNER
        except Unavailable as fault:
            log.warning("a sender cannot be looked up", account=client.account, detail=str(fault))
            return smtp.FAULT
        return smtp.SENDER_OK

    async def _reread(self, login: Login, client: Client) -> Reply | None:
        """Look again whether the account may send, when it was a while ago."""
        if time.monotonic() - login.read_at < REREAD_SECONDS:
            return None
        old = login.credentials
        read_at, new = await self._reading(old.address)
        if new is not None and new.state is AccountState.RECEIVE_ONLY:
            return smtp.RECEIVE_ONLY
        if new is None or new.state is AccountState.SUSPENDED or not _is_within(client.address, new.networks):
            return smtp.NO_SENDING
        if login.app_password:
            is_same = await self._senders.app_password(new.account, login.app_password, SCOPE)
        else:
            is_same = new.password_hash == old.password_hash
        if new.account != old.account or not is_same:
            client.login = None
            return smtp.LOGIN_FIRST
        login.credentials, login.read_at = new, read_at
        login.owned.clear()
        return None

    async def _reading(self, address: str) -> tuple[float, Credentials | None]:
        """Give what an account may do and when that was read: once for all its sessions that ask at about the same time."""
        now = time.monotonic()
        known = self._readings.get(address)
        if known is None or known[0] < now - REREAD_SECONDS / 2 or (known[1].done() and known[1].exception()):
            known = self._readings[address] = now, asyncio.ensure_future(self._senders.credentials(address))
            known[1].add_done_callback(_seen)
        self._readings.move_to_end(address)
        while len(self._readings) > _MOST_READINGS:
            self._readings.popitem(last=False)
        return known[0], await asyncio.shield(known[1])

    async def _owns(self, login: Login, address: Address) -> bool:
        name = str(address)
        if name == login.credentials.address or name in login.owned:
            return True
        if not await self._senders.owns(login.credentials.account, address):
            return False
        login.owned.add(name)
        return True

    def _most_recipients(self, client: Client) -> int:
        """What a message may cost at most: one that is larger would never go through, and must be split."""
        most, found = super()._most_recipients(client), most_recipients(self._payers(client))
        return most if found is None else min(most, found[0])

    def _elsewhere(self, transaction: Transaction, rcpt: Rcpt) -> Reply:
        transaction.recipients.setdefault(rcpt.written, dsn_of(rcpt))
        return smtp.RECIPIENT_OK

    def letter(self, transaction: Transaction, client: Client) -> Letter:
        """Begin a message, whose header will be completed."""
        assert client.login is not None
        path, trace = self._trace(transaction, client, withheld=not self.rules.submission_trace_client)
        reverse_path = transaction.mail.reverse_path
        domain = reverse_path.domain if reverse_path else client.login.credentials.domain
        date, message_id = mail_date(self._clock()), f"<{transaction.id}@{domain}>"

        def completed(block: bytes) -> bytes:
            block = without_ours(block, self.settings.smtp_hostname)
            transaction.submitted = complete(block, date=date, message_id=message_id)
            return transaction.submitted.block

        return Letter(self.room, path + trace, len(path), completed, client=client.address)

    async def _checked(self, transaction: Transaction, client: Client) -> Reply | None:
        login, submitted = client.login, transaction.submitted
        assert login is not None and submitted is not None
        if login.revoked:
            return smtp.REVOKED
        owned = bool(submitted.authors)
        for author in (*submitted.authors, *submitted.senders):
            owned = owned and await self._owns(login, author)
        if not owned and self.rules.submission_check_from:
            log.info("the author is not the account", message=str(transaction.id), detail=submitted.fault)
            if submitted.is_unquoted:
                return smtp.UNQUOTED_NAME
            return smtp.BAD_FROM if submitted.fault else smtp.NOT_THE_AUTHOR
        transaction.signer = submitted.authors[0].domain if owned else ""
        wait = await self._throttle.take(sent_message(self._payers(client), len(transaction.recipients)))
        return smtp.RATE_REACHED if wait else None

    def _payers(self, client: Client) -> tuple[RateLimitSubject, ...]:
        assert client.login is not None
        known = client.login.credentials
        return (
            RateLimitSubject("account", known.address, known.account_limits.within(self.rules.account_limits)),
            RateLimitSubject("domain", known.domain, known.domain_limits),
            RateLimitSubject("tenant", str(known.tenant), known.tenant_limits),
        )

    def _envelope(
        self, transaction: Transaction, letter: Letter, client: Client, scan: HeaderScan, received_at: float
    ) -> Envelope:
        assert client.login is not None
        known: Credentials = client.login.credentials
        return replace(
            super()._envelope(transaction, letter, client, scan, received_at),
            role="submission",
            submitter=known.address,
            tenant=known.tenant,
            signer=transaction.signer,
        )


def _seen(reading: asyncio.Future[Credentials | None]) -> None:
    """A fault is told to whoever waits; there may be nobody any more."""
    if not reading.cancelled():
        reading.exception()


def _canonical(name: str) -> str:
    """Give the address that a login name is, or nothing."""
    try:
        return str(parse_address(name))
    except AddressError:
        return ""


def _ip_of(address: str) -> _Ip | None:
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None
    return (ip.ipv4_mapped or ip) if isinstance(ip, ipaddress.IPv6Address) else ip


def _is_within(address: str, networks: Sequence[str]) -> bool:
    """Whether a client is in one of the networks, or anybody may come."""
    ip = _ip_of(address)
    return not networks or (ip is not None and any(ip in ipaddress.ip_network(each, strict=False) for each in networks))
