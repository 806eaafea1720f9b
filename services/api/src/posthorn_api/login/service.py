"""Sign-in of browsers (ADR 42).

Rules:

- What is shown once, a key or a password, becomes a session: a random token in a cookie that
  scripts cannot read. The store has its hash.
- A session ends with its key, with a change of the account's password, and with a suspension; the
  guard looks each up every 1.5 seconds.
- What the issuer of a session by OpenID Connect says later is not heard: such sessions are short, and a
  platform admin can end all of a subject.
- A one-time link signs in as the key that made it.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog

from posthorn.ports.api_keys import ApiKey
from posthorn.ports.browser_sessions import LINK_SECONDS, LONGEST_SECONDS, BrowserSessions
from posthorn.ports.errors import NotFound
from posthorn_api.auth.account_logins import AccountLogins
from posthorn_api.auth.trust import name_of
from posthorn_api.http.callers import COOKIE, SESSION_PREFIX
from posthorn_api.http.problems import Problem, unauthorized
from posthorn_api.login.oidc import OidcLogin
from posthorn_api.tenants.service import hash_of_key

log = structlog.get_logger()

_ATTRIBUTES = "Path=/; Secure; HttpOnly; SameSite=Strict"
ENDED_COOKIE = f"{COOKIE}=; {_ATTRIBUTES}; Max-Age=0"
"""The Set-Cookie field that takes the cookie away."""


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A session that has begun."""

    caller: ApiKey
    token: str
    seconds: float = LONGEST_SECONDS

    @property
    def cookie(self) -> str:
        """The Set-Cookie field."""
        return f"{COOKIE}={self.token}; {_ATTRIBUTES}; Max-Age={self.seconds:.0f}"


class LoginService:
    """Begins and ends sessions. Raises Problem for the caller's faults, Unavailable for ours."""

    def __init__(
        self, sessions: BrowserSessions, accounts: AccountLogins, oidc: OidcLogin | None
    ) -> None:
        self.oidc = oidc
        self._sessions = sessions
        self._accounts = accounts

    async def begin(
        self, caller: ApiKey, password: bytes = b"", seconds: float = LONGEST_SECONDS
    ) -> SignedIn:
        """Begin a session of a caller that is known, for so many seconds at most. ``password``: for
        an account, the digest of the stored hash of its password."""
        token = SESSION_PREFIX + secrets.token_urlsafe(32)
        try:
            found = await self._sessions.create(hash_of_key(token), caller, password, seconds)
        except NotFound as error:
            raise unauthorized(str(error), shown=True) from None
        log.info("signed in", caller=str(caller.id), name=caller.name, role=caller.role.value)
        return SignedIn(found, token, seconds)

    async def by_password(self, account: str, password: str, client: str) -> SignedIn:
        """Sign in as an account. Raises 401, 403, 429."""
        try:
            caller, digest = await self._accounts.verify(account, password, client)
        except Problem as problem:
            if problem.status == 401:  # a challenge of Basic would have browsers ask by themselves
                raise unauthorized(problem.detail, shown=False) from None
            raise
        return await self.begin(caller, digest)

    async def by_link(self, link: str) -> SignedIn:
        """Sign in by a link, once. Raises 401."""
        caller = await self._sessions.use_link(hash_of_key(link))
        if caller is None:
            raise unauthorized("this link is not valid any more", shown=True)
        return await self.begin(caller)

    async def create_link(self, caller: ApiKey) -> tuple[str, datetime]:
        """Make a link that signs in as the caller's key; return its token and its end. Raises 409
        when the caller is known by no key."""
        if caller.is_token or caller.account is not None:
            raise Problem(409, "conflict", "a link signs in as a key; call this with one")
        token = secrets.token_urlsafe(32)
        until = datetime.now(UTC) + timedelta(seconds=LINK_SECONDS)
        await self._sessions.create_link(hash_of_key(token), caller.id)
        return token, until

    async def end_all(self, subject: str) -> int:
        """End all sessions of a subject of the issuer; return how many."""
        return await self._sessions.end_all(name_of(subject))

    async def end(self, token: str) -> None:
        """End a session."""
        await self._sessions.end(hash_of_key(token))
