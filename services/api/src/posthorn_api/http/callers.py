"""Who calls: the holder of an API key, of a token, of a session, or an account by its password.

Rules:

- A key is looked up by its SHA-256; what was found is remembered for a moment. No line of any log
  holds a key.
- Where an issuer is configured, what has the form of a token is one (``oidc``), and no key.
- Who shows the password of an account (``account_logins``) is that account, and reaches its own
  address alone.
- Who has signed in by a browser shows a session (``login``), by a cookie, or like a key. Browsers
  send the cookie unasked: a change by cookie is refused unless the browser says that a page of ours
  asks for it (``Sec-Fetch-Site``). They remember a password of HTTP Basic too: a change by it is
  refused when the browser says that another site asks.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from fastapi import Request

from posthorn.model.networks import is_within
from posthorn.ports.api_keys import ApiKey, ApiKeys
from posthorn.ports.browser_sessions import BrowserSessions
from posthorn.wire.address import AddressError, parse_address
from posthorn_api.auth.account_logins import AccountLogins
from posthorn_api.http.permissions import Rule
from posthorn_api.http.problems import Problem, unauthorized
from posthorn_api.http.rate_limit import RateLimit
from posthorn_api.tenants.service import hash_of_key

if TYPE_CHECKING:
    from posthorn_api.auth.tokens import Tokens

_REMEMBER_SECONDS = 1.5
_REMEMBERED = 1000
_SAFE = frozenset({"GET", "HEAD"})
_UNKNOWN_KEY = "this API key is not known: it is mistyped, or has been deleted"
_EXPIRED_KEY = "this API key has expired; create another"
_ENDED = "this session has ended; sign in again"
COOKIE = "__Host-posthorn"
"""The cookie of a session. Browsers take the prefix from its own host only, with Secure, for all
paths (RFC 6265bis §4.1.3.2)."""
SESSION_PREFIX = "phs_"
"""What the token of a session begins with, in the cookie, and where a program shows it as a key."""


class Callers:
    """Tells who makes a request."""

    def __init__(
        self,
        keys: ApiKeys,
        rates: RateLimit,
        tokens: Tokens | None = None,
        logins: AccountLogins | None = None,
        sessions: BrowserSessions | None = None,
    ) -> None:
        self._keys = keys
        self._rates = rates
        self._tokens = tokens
        self._logins = logins
        self._sessions = sessions
        self._remembered: dict[bytes, tuple[float, ApiKey]] = {}

    async def authenticate(self, request: Request, rule: Rule, client: str) -> tuple[ApiKey, bytes]:
        """Return the caller, and a secret that nobody else's requests are hashed with. Raises 401,
        403 and RateLimited."""
        place = address_of(request)
        if (token := session_cookie(request)) is not None:
            if request.method not in _SAFE and not is_same_origin(request):
                raise _cross_site("by cookie")
            return await self._own(await self._in_session(token, client, place), request, rule), (
                token.encode()
            )
        header = request.headers.get("authorization", "")
        is_basic = self._logins is not None and header.lower().startswith("basic ")
        if not (is_basic and (rule.own or rule.me or rule.anyone)):
            caller, secret = await self.of_token(bearer(request), client, place)
            return await self._own(caller, request, rule), secret
        assert self._logins is not None
        is_of_browser = "sec-fetch-site" in request.headers
        if request.method not in _SAFE and is_of_browser and not is_same_origin(request):
            raise _cross_site("by password")
        caller = await self._logins.caller(header[6:].strip(), place)
        return await self._own(caller, request, rule), header.encode()

    async def _own(self, caller: ApiKey, request: Request, rule: Rule) -> ApiKey:
        """Return the caller. Raises 403 for an account that asks about another."""
        if caller.account is not None and rule.own and account_in(request) != caller.account:
            raise Problem(403, "forbidden", "an account may do this for its own address only")
        return caller

    async def check_still(self, request: Request, rule: Rule) -> None:
        """Check that the caller of a request that goes on for long may still make it. Raises what
        ``problem_of`` knows."""
        before: ApiKey = request.state.caller
        shown = session_cookie(request) or bearer(request)
        caller, _ = await self.of_token(shown, "", address_of(request))
        if not rule.admits(caller) or caller.tenant != before.tenant:
            raise Problem(403, "forbidden", refusal(caller, rule))

    async def identify(self, key: str, client: str, address: str) -> ApiKey:
        """Return whose API key this is. Raises 401, 403 and RateLimited as for a request."""
        if key.startswith(SESSION_PREFIX):
            raise unauthorized(_UNKNOWN_KEY, shown=True)
        return await self._holder(key, client, address)

    def forget(self, token: str) -> None:
        """Look a session or key up again at its next use."""
        self._remembered.pop(hash_of_key(token), None)

    async def of_token(self, shown: str, client: str, address: str) -> tuple[ApiKey, bytes]:
        """Return who it is, and a secret that nobody else's requests are hashed with.
        ``address``: of the client; empty where it has been checked already."""
        if self._tokens is not None and self._tokens.takes(shown):
            caller = await self._tokens.caller(shown)
            return caller, self._tokens.secret_of(caller)
        if shown.startswith(SESSION_PREFIX):
            return await self._in_session(shown, client, address), shown.encode()
        return await self._holder(shown, client, address), shown.encode()

    async def _in_session(self, token: str, client: str, address: str) -> ApiKey:
        sessions = self._sessions

        async def find(digest: bytes) -> ApiKey | None:
            return None if sessions is None else await sessions.find(digest)

        return await self._found(token, client, address, find, _ENDED, _ENDED)

    async def _holder(self, shown: str, client: str, address: str) -> ApiKey:
        async def find(digest: bytes) -> ApiKey | None:
            return await self._keys.by_hash(digest, address)

        return await self._found(shown, client, address, find, _UNKNOWN_KEY, _EXPIRED_KEY)

    async def _found(
        self,
        shown: str,
        client: str,
        address: str,
        find: Callable[[bytes], Awaitable[ApiKey | None]],
        unknown: str,
        expired: str,
    ) -> ApiKey:
        digest = hash_of_key(shown)
        now = time.monotonic()
        until, known = self._remembered.get(digest, (0.0, None))
        if known is not None and until > now:
            return _in_force(known, address, expired)
        self._rates.check_unknown(client, digest)
        found = await find(digest)
        if found is None:
            self._rates.bad(client)
            self._remembered.pop(digest, None)
            raise unauthorized(unknown, shown=True)
        self._rates.good(digest)
        if len(self._remembered) >= _REMEMBERED:
            self._remembered.clear()
        self._remembered[digest] = (now + _REMEMBER_SECONDS, found)
        return _in_force(found, address, expired)


def session_cookie(request: Request) -> str | None:
    """Return the session that the browser shows by its cookie; None without one, and where the
    request has an Authorization field, which goes before."""
    if "authorization" in request.headers:
        return None
    return request.cookies.get(COOKIE) or None


def is_same_origin(request: Request) -> bool:
    """Return whether a browser says that a page of ours makes the request (Fetch Metadata)."""
    return request.headers.get("sec-fetch-site") == "same-origin"


def _cross_site(how: str) -> Problem:
    return Problem(403, "cross-site", f"a change {how} must come from our own pages")


def address_of(request: Request) -> str:
    """Return the IP address of the client; empty where it is not known."""
    return request.client.host if request.client else ""


def bearer(request: Request) -> str:
    """Return what the request shows as its API key. Raises 401 without one."""
    header = request.headers.get("authorization")
    if header is None:
        raise unauthorized("an API key is required: Authorization: Bearer <key>", shown=False)
    scheme, _, key = header.partition(" ")
    key = key.strip()
    if scheme.lower() != "bearer" or not key:
        raise unauthorized("the Authorization header must be: Bearer <key>", shown=False)
    return key


def account_in(request: Request) -> str:
    """Return the account in the path, or the owner of the content that the operation showed."""
    try:
        shown: str | None = getattr(request.state, "content_of", None)
        return str(parse_address(shown or request.path_params["address"]))
    except AddressError as error:
        raise Problem(404, "not-found", str(error)) from None


def refusal(caller: ApiKey, rule: Rule) -> str:
    """Return why the rule does not admit the caller."""
    if rule.content and caller.role in rule.roles:
        return "this key may not read the content of mailboxes: it was made without message_content"
    if rule.me and not rule.roles:
        return "only an account may do this, by its address and password, and not an API key"
    if caller.tenant is not None and rule.whole_platform and caller.role in rule.roles:
        return "only a key of the whole platform may do this, and this key belongs to a tenant"
    allowed = " or ".join(sorted(role.value for role in rule.roles))
    return f"the role {caller.role.value} may not do this; it needs {allowed}"


def _in_force(caller: ApiKey, address: str, expired: str) -> ApiKey:
    """Return the caller. Raises 401 for a key or session that has expired, 403 for one of a
    suspended tenant or account, and for a client outside of the key's networks."""
    if caller.expires_at is not None and caller.expires_at <= datetime.now(UTC):
        raise unauthorized(expired, shown=True)
    who = "tenant" if caller.account is None else "account"
    if caller.is_suspended:
        raise Problem(403, "forbidden", f"the {who} is suspended")
    if address and not is_within(address, caller.networks):
        what = "API key" if caller.account is None else "account"
        raise Problem(403, "forbidden", f"this {what} may not be used from your network")
    return caller
