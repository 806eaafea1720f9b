"""Who may log in, and whether connections may go on.

Rules:

- A fault of ours is never a wrong password (promise 3): it is NO [UNAVAILABLE], since mail clients
  ask their owners for a new password at any other refusal (MailCore/mailcore2#1642).
- Of all connections it is asked in one statement every WATCH_SECONDS whether what they logged in
  with still holds. While the store cannot be asked, none ends for it. A token ends by the clock.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

import structlog
from prometheus_client import Counter

from posthorn.ports.access import Ending, Proof
from posthorn.ports.errors import Unavailable
from posthorn.ports.folders import Folders, ImapAccount
from posthorn.runtime import traces
from posthorn.runtime.ids import new_id
from posthorn.runtime.mail_login import LoginRefused, MailLogin, Refusal, ScramLogin
from posthorn.runtime.passwords import Busy
from posthorn.wire.imap.states import PASSWORD_MECHANISMS
from posthorn.wire.sasl_bearer import BEARER_MECHANISMS, Bearer
from posthorn.wire.sasl_scram import SCRAM, ClientFirst
from posthorn_imap.metrics import UNAVAILABLE

log = structlog.get_logger()

WATCH_SECONDS = 1.0

_logins = Counter("posthorn_imap_logins_total", "Attempts to log in", ["outcome"])
_revoked = Counter(
    "posthorn_imap_revoked_total", "Connections ended because they might not go on", ["reason"]
)

_REFUSALS: Mapping[Refusal, tuple[str, bytes]] = {
    Refusal.WRONG: ("name or password is wrong", b"AUTHENTICATIONFAILED"),
    Refusal.THROTTLED: ("too many failed logins, try again in some minutes", b"UNAVAILABLE"),
    Refusal.SUSPENDED: ("this account is suspended, ask its administrator", b"CONTACTADMIN"),
    Refusal.NETWORK: ("this account may not log in from your network", b"AUTHORIZATIONFAILED"),
}
ENDINGS: Mapping[Ending, tuple[str, str]] = {
    Ending.CLOSED: ("account closed", "this account is suspended, ask its administrator"),
    Ending.CHANGED: ("password changed", "the password was changed or revoked, log in again"),
    Ending.TAKEN: ("taken", "taken by another session"),
    Ending.EXPIRED: ("token expired", "the token has expired, log in again"),
}
"""Reason to the word for the log and the text of BYE."""


class LoginFailed(Exception):
    """No login: NO with ``words`` and a response code."""

    def __init__(self, outcome: str, words: str, code: bytes) -> None:
        super().__init__(outcome)
        self.outcome = outcome
        """A word for metrics and logs."""
        self.words = words
        self.code = code

    @property
    def is_wrong(self) -> bool:
        """Whether name or password were wrong: to be delayed, and counted against the client."""
        return self.outcome == Refusal.WRONG


class LoggedIn(Protocol):
    """A connection that is logged in."""

    @property
    def account(self) -> ImapAccount | None:
        """The account."""
        ...

    @property
    def proof(self) -> Proof | None:
        """What it logged in with."""
        ...

    def revoke(self, ending: Ending) -> None:
        """End, for it may not go on. Must not block."""
        ...


class Logins:
    """Logins of this process, and the connections that are logged in."""

    def __init__(
        self,
        mail_login: MailLogin[ImapAccount],
        folders: Folders,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._mail_login = mail_login
        self._folders = folders
        self._clock = clock
        self._open: set[LoggedIn] = set()

    async def log_in(
        self, name: str, password: str, client: str, *, acts_as: str = ""
    ) -> tuple[ImapAccount, Proof]:
        """Check name and password and make the account ready for IMAP; ``client``: its IP address.
        Raises LoginFailed."""
        return await self._admitted(
            self._mail_login.log_in(name, password, client, acts_as=acts_as)
        )

    async def log_in_by_token(self, bearer: Bearer, client: str) -> tuple[ImapAccount, Proof]:
        """The same with a token. Raises LoginFailed."""
        return await self._admitted(self._mail_login.log_in_by_token(bearer, client))

    async def begin_scram(self, first: ClientFirst, client: str) -> ScramLogin[ImapAccount]:
        """Begin a login by SCRAM. Raises LoginFailed."""
        return await self._tried(self._mail_login.begin_scram(first, client))

    async def finish_scram(
        self, login: ScramLogin[ImapAccount], response: bytes
    ) -> tuple[ImapAccount, Proof]:
        """As ``log_in``, with the client's last message. Raises LoginFailed, SaslError."""
        return await self._admitted(self._mail_login.finish_scram(login, response))

    @property
    def mechanisms(self) -> tuple[str, ...]:
        """SASL mechanisms where passwords may be sent."""
        scram = (SCRAM,) if self._mail_login.scram else ()
        return PASSWORD_MECHANISMS + scram + (BEARER_MECHANISMS if self._mail_login.tokens else ())

    def token_failure(self, mechanism: str) -> bytes:
        """Return the challenge after a token that was refused."""
        tokens = self._mail_login.tokens
        return b"" if tokens is None else tokens.failure(mechanism)

    async def _admitted(
        self, login: Awaitable[tuple[ImapAccount, Proof]]
    ) -> tuple[ImapAccount, Proof]:
        tracer = traces.tracer
        began = 0 if tracer is None else time.time_ns()
        outcome = "accepted"
        try:
            return await self._tried(self._prepared(login))
        except LoginFailed as failed:
            outcome = failed.outcome
            raise
        finally:
            if tracer is not None:
                traces.login(tracer, new_id(), began, "imap", outcome)

    async def _prepared(
        self, login: Awaitable[tuple[ImapAccount, Proof]]
    ) -> tuple[ImapAccount, Proof]:
        account, proof = await login
        if not account.prepared:
            await self._folders.prepare(account.account)
        return account, proof

    async def _tried[T](self, work: Awaitable[T]) -> T:
        try:
            return await work
        except LoginRefused as refused:
            failed = LoginFailed(refused.refusal.value, *_REFUSALS[refused.refusal])
        except Busy:
            words = "too many logins at this moment, try again"
            failed = LoginFailed("busy", words, b"UNAVAILABLE")
        except Unavailable as error:
            log.warning("login not possible", fault=error)
            words = "mailboxes cannot be reached at this moment, try again"
            UNAVAILABLE.labels(error.part).inc()
            failed = LoginFailed("fault", words, b"UNAVAILABLE")
        _logins.labels(failed.outcome).inc()
        raise failed

    def wrong(self) -> LoginFailed:
        """Return the refusal for a connection that has failed too often."""
        _logins.labels(Refusal.WRONG.value).inc()
        return LoginFailed(Refusal.WRONG.value, *_REFUSALS[Refusal.WRONG])

    def too_many(self) -> LoginFailed:
        """Return the refusal for an account with too many connections."""
        _logins.labels("connections").inc()
        words = "too many connections of this account or its tenant, try again later"
        return LoginFailed("connections", words, b"LIMIT")

    def began(self, connection: LoggedIn) -> None:
        """Note that a connection is logged in."""
        _logins.labels("accepted").inc()
        self._open.add(connection)

    def ended(self, connection: LoggedIn) -> None:
        """Note that a connection has ended; one that never logged in is no error."""
        self._open.discard(connection)

    async def keep_watch(self) -> None:
        """End connections that may not go on, forever; run as a supervised task."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            await self.watch()

    async def watch(self) -> None:
        """End connections that may not go on."""
        by_proof: dict[Proof, list[LoggedIn]] = {}
        now = self._clock()
        for connection in list(self._open):
            if connection.proof is not None and connection.proof.has_expired(now):
                self._end(connection, Ending.EXPIRED)
            elif connection.proof is not None:
                by_proof.setdefault(connection.proof, []).append(connection)
        if not by_proof:
            return
        asked = dict(enumerate(by_proof))
        try:
            ended = await self._folders.ended(asked)
        except Unavailable as error:
            log.warning(
                "connections not checked",
                fault=error,
                connections=len(self._open),
            )
            return
        for number, ending in ended.items():
            for connection in by_proof[asked[number]]:
                if connection in self._open:
                    self._end(connection, ending)

    def _end(self, connection: LoggedIn, ending: Ending) -> None:
        self._open.discard(connection)
        _revoked.labels(ending.value).inc()
        connection.revoke(ending)
