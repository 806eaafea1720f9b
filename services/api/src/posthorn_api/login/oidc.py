"""Sign-in at an OpenID Connect issuer: the code flow (OpenID Connect Core 1.0 §3.1) with PKCE
(RFC 7636), state and nonce.

Rules:

- What a flow must remember, its state, nonce, code verifier and where to go on, is in a cookie of
  its own that is sealed, not on the server. It is SameSite=Lax, since the issuer sends the browser
  back from another site.
- The ID token is judged as every token is (``auth.tokens``): signature, issuer, audience (our client
  id), times, role and tenant; besides, its nonce.
- After sign-in the browser goes to a path of the console, never elsewhere.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import quote_plus, unquote, urlencode

from posthorn.ports.api_keys import ApiKey
from posthorn.ports.errors import Unavailable
from posthorn.runtime.oidc.trust import is_safe
from posthorn.runtime.secret_box import DecryptionFailed, SecretBox
from posthorn_api.http.problems import Problem, unauthorized

CONSOLE = "/console/"
"""What the paths of the console begin with."""
FLOW_SECONDS = 600
"""How long a person may take at the issuer."""
FLOW_COOKIE = "__Host-posthorn-oidc"
"""The cookie that remembers a flow."""
_ATTRIBUTES = "Path=/; Secure; HttpOnly; SameSite=Lax"
ENDED_FLOW = f"{FLOW_COOKIE}=; {_ATTRIBUTES}; Max-Age=0"
"""The Set-Cookie field that takes the cookie of a flow away."""
_CONTEXT = "oidc-login"
_PATH = re.compile(r"/console/[A-Za-z0-9._~!$&'()*+,;=:@/?%-]*\Z")
_LONGEST_PATH = 2000


def _leaves(path: str) -> bool:
    """Return whether a browser would find another place in a path: it takes ``%2e`` for a dot."""
    plain = unquote(path)
    return "//" in plain or ".." in plain or "\\" in plain


class IssuerClient(Protocol):
    """Documents of the issuer, and its token endpoint. Raises Unavailable."""

    async def configuration(self) -> Mapping[str, Any]:
        """Return the issuer's configuration (OpenID Connect Discovery §4)."""
        ...

    async def post(self, url: str, form: Mapping[str, str], basic: str | None) -> Mapping[str, Any]:
        """POST a form, with the credentials of HTTP Basic where there are some; return the JSON
        object of the answer, whatever its status."""
        ...


class IdTokens(Protocol):
    """Judges ID tokens."""

    async def identify(self, token: str, audience: str, nonce: str) -> ApiKey:
        """Return who it is. Raises 401 and 403."""
        ...


@dataclass(frozen=True, slots=True)
class OidcClient:
    """How this API is known at the issuer."""

    client_id: str
    secret: str | None = field(repr=False)
    """None: a public client, which has PKCE alone."""
    redirect_uri: str
    name: str
    """Name of the issuer, for people."""
    scopes: str = "openid profile email"
    session_seconds: float = 8 * 3600.0
    """From sign-in until a session ends."""


class OidcLogin:
    """The flow."""

    def __init__(
        self, client: OidcClient, issuer: IssuerClient, tokens: IdTokens, box: SecretBox
    ) -> None:
        self.name = client.name
        self.session_seconds = client.session_seconds
        self._client = client
        self._issuer = issuer
        self._tokens = tokens
        self._box = box

    async def begin(self, path: str) -> tuple[str, str]:
        """Return the URL at the issuer that the browser goes to, and the Set-Cookie field that
        remembers the flow. ``path``: where to go on afterwards. Raises 422 for one outside
        of the console, Unavailable."""
        if len(path) > _LONGEST_PATH or not _PATH.match(path) or _leaves(path):
            raise Problem(422, "invalid", "next: this is no path of the console")
        endpoint = await self._endpoint("authorization_endpoint")
        flow = {
            "state": secrets.token_urlsafe(24),
            "nonce": secrets.token_urlsafe(24),
            "verifier": secrets.token_urlsafe(48),
            "next": path,
            "until": int(time.time()) + FLOW_SECONDS,
        }
        challenge = hashlib.sha256(str(flow["verifier"]).encode()).digest()
        asked = {
            "response_type": "code",
            "client_id": self._client.client_id,
            "redirect_uri": self._client.redirect_uri,
            "scope": self._client.scopes,
            "state": flow["state"],
            "nonce": flow["nonce"],
            "code_challenge": base64.urlsafe_b64encode(challenge).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        sealed = base64.urlsafe_b64encode(self._box.encrypt(json.dumps(flow).encode(), _CONTEXT))
        target = f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(asked)}"
        return target, f"{FLOW_COOKIE}={sealed.decode()}; {_ATTRIBUTES}; Max-Age={FLOW_SECONDS}"

    async def finish(self, cookie: str | None, query: Mapping[str, str]) -> tuple[ApiKey, str]:
        """Return who has signed in, and where to go on. ``query``: what the issuer sends the
        browser back with. Raises 401, 403, Unavailable."""
        flow = self._flow(cookie)
        if not hmac.compare_digest(query.get("state", "").encode(), str(flow["state"]).encode()):
            raise unauthorized("this sign-in was not begun here; begin again", shown=True)
        if "code" not in query:
            # RFC 6749 §4.1.2.1: the word is from a small set; whatever else comes is not repeated
            why = query.get("error", "")
            said = why if re.fullmatch(r"[a-z_]{1,40}", why) else "no code"
            raise unauthorized(f"the issuer did not sign in: {said}", shown=True)
        answer = await self._redeem(query["code"], str(flow["verifier"]))
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise unauthorized("the issuer did not accept the code; begin again", shown=True)
        caller = await self._tokens.identify(token, self._client.client_id, str(flow["nonce"]))
        return caller, str(flow["next"])

    def _flow(self, cookie: str | None) -> Mapping[str, Any]:
        try:
            sealed = base64.urlsafe_b64decode((cookie or "").encode())
            flow: dict[str, Any] = json.loads(self._box.decrypt(sealed, _CONTEXT))
        except (ValueError, DecryptionFailed):
            raise unauthorized("this sign-in was not begun here; begin again", shown=True) from None
        if flow["until"] < time.time():
            raise unauthorized("this sign-in took too long; begin again", shown=True)
        return flow

    async def _redeem(self, code: str, verifier: str) -> Mapping[str, Any]:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._client.redirect_uri,
            "client_id": self._client.client_id,
            "code_verifier": verifier,
        }
        basic = None
        if self._client.secret is not None:  # RFC 6749 §2.3.1
            pair = f"{quote_plus(self._client.client_id)}:{quote_plus(self._client.secret)}"
            basic = base64.b64encode(pair.encode()).decode()
        return await self._issuer.post(await self._endpoint("token_endpoint"), form, basic)

    async def _endpoint(self, name: str) -> str:
        found = (await self._issuer.configuration()).get(name)
        if not isinstance(found, str) or not is_safe(found):
            raise Unavailable("oidc", f"the configuration names no {name} that is HTTPS")
        return found
