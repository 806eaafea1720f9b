"""Bearer tokens of an OpenID Connect issuer, beside API keys (RFC 7519, RFC 8725, RFC 9068).

Rules:

- A token is a caller like an API key: one role, one tenant. The issuer's word on both is taken as
  the settings say and no further.
- Signature, issuer, audience and times are checked as for every token
  (``posthorn.runtime.oidc.tokens``).
- Of several roles the mightiest counts; who only reads comes before who only sends.
- The whole platform is open to tokens only where the settings say so: to such as name no tenant.
  One that names a tenant is the tenant's, whoever its holder: the role of a platform admin counts
  for nothing in it.
- A tenant is looked up for every token, and what was found is remembered for a moment: a suspension
  takes effect within that.
- The caller's id is made from issuer and subject: what is counted and remembered for it goes on
  when the token is renewed.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import structlog
from prometheus_client import Counter

from posthorn.ports.api_keys import ApiKey, Role
from posthorn.ports.tenants import TenantRef, Tenants, TenantState
from posthorn.runtime.oidc.keys import IssuerKeys
from posthorn.runtime.oidc.tokens import claim_at, verified_claims
from posthorn.runtime.oidc.trust import TokenRefused
from posthorn_api.auth.trust import RANKS, Trust, name_of
from posthorn_api.http.problems import Problem, unauthorized

log = structlog.get_logger()

_SHAPE = re.compile(r"ey[\w-]*\.[\w-]+\.[\w-]*\Z", re.ASCII)
_REMEMBER_SECONDS = 1.5
_REMEMBERED = 1000
_LONGEST_SUBJECT = 255  # OpenID Connect Core §2
_LONGEST_TENANT = 100

_tokens = Counter("posthorn_api_oidc_tokens_total", "Tokens shown", ["outcome"])


class Tokens:
    """Tells who shows a token."""

    def __init__(self, trust: Trust, keys: IssuerKeys, tenants: Tenants, secret: bytes) -> None:
        self._trust = trust
        self._keys = keys
        self._tenants = tenants
        self._secret = secret
        self._remembered: OrderedDict[str, tuple[float, TenantRef]] = OrderedDict()

    def takes(self, shown: str) -> bool:
        """Return whether what is shown has the form of a token (RFC 7515 §7.1); an API key has
        not."""
        return _SHAPE.match(shown) is not None

    def secret_of(self, caller: ApiKey) -> bytes:
        """Return what only we know and what is the same for all tokens of a caller."""
        return hmac.digest(self._secret, caller.id.bytes, hashlib.sha256)

    async def caller(self, token: str) -> ApiKey:
        """Return who it is. Raises 401 for a token that is not good, 403 for one that opens
        nothing, Unavailable."""
        try:
            claims = await self._claims(token)
            caller = await self._judged(claims)
        except Problem as problem:
            _tokens.labels("refused" if problem.status == 401 else "forbidden").inc()
            raise
        _tokens.labels("taken").inc()
        return caller

    async def identify(self, token: str, audience: str, nonce: str) -> ApiKey:
        """Return whose ID token it is, issued to the client ``audience`` (OpenID Connect Core
        §3.1.3.7). Raises as ``caller``, and 401 for another client or nonce."""
        trust = self._trust
        try:
            claims = await verified_claims(
                token,
                self._keys,
                issuer=trust.issuer,
                audiences=(audience,),
                leeway_seconds=trust.leeway_seconds,
            )
        except TokenRefused as refused:
            raise unauthorized(str(refused), shown=True) from None
        if claims.get("azp", audience) != audience:
            raise unauthorized("this token was issued to another client", shown=True)
        if not hmac.compare_digest(str(claims.get("nonce", "")).encode(), nonce.encode()):
            raise unauthorized("this token is of another sign-in", shown=True)
        return await self._judged(claims)

    async def _claims(self, token: str) -> Mapping[str, Any]:
        """Return what a token says that is the issuer's, meant for us, and in force."""
        trust = self._trust
        try:
            return await verified_claims(
                token,
                self._keys,
                issuer=trust.issuer,
                audiences=trust.audiences,
                leeway_seconds=trust.leeway_seconds,
            )
        except TokenRefused as refused:
            raise unauthorized(str(refused), shown=True) from None

    async def _judged(self, claims: Mapping[str, Any]) -> ApiKey:
        trust, subject = self._trust, claims["sub"]
        if not _is_line(subject, _LONGEST_SUBJECT):
            raise unauthorized("this token names no subject", shown=True)
        named = claim_at(claims, trust.tenant_claim)
        granted = _roles(claim_at(claims, trust.role_claim), trust.roles)
        if named in (None, ""):
            if not trust.platform:
                raise _forbidden("this token names no tenant")
            standing = None
            granted.discard(Role.TENANT_ADMIN)  # it would administer everybody
        else:
            standing = await self._standing(named)
            granted.discard(Role.PLATFORM_ADMIN)
        role = next((each for each in RANKS if each in granted), None)
        if role is None:
            raise _forbidden("this token names no role that counts here")
        return ApiKey(
            uuid5(NAMESPACE_URL, f"{trust.issuer}\n{subject}"),
            name_of(subject),
            role,
            None if standing is None else standing.id,
            tenant_name=None if standing is None else standing.name,
            message_content=role in (Role.PLATFORM_ADMIN, Role.TENANT_ADMIN),
            is_token=True,
        )

    async def _standing(self, named: object) -> TenantRef:
        """Look the tenant up. Raises 403."""
        if not isinstance(named, str) or not _is_line(named, _LONGEST_TENANT):
            raise _forbidden("this token names no tenant of ours")
        now = time.monotonic()
        until, standing = self._remembered.get(named, (0.0, None))
        if standing is None or until <= now:
            standing = await self._tenants.standing(named)
            if standing is None:
                self._remembered.pop(named, None)
                raise _forbidden("this token names no tenant of ours")
            self._remembered[named] = now + _REMEMBER_SECONDS, standing
            while len(self._remembered) > _REMEMBERED:
                self._remembered.popitem(last=False)
        if standing.state is TenantState.SUSPENDED:
            raise _forbidden("the tenant is suspended")
        return standing


def _roles(claim: object, known: Mapping[str, Role]) -> set[Role]:
    listed = [claim] if isinstance(claim, str) else claim
    return (
        {known[each] for each in listed if isinstance(each, str) and each in known}
        if isinstance(listed, list)
        else set()
    )


def _is_line(text: object, longest: int) -> bool:
    return isinstance(text, str) and 0 < len(text) <= longest and text.isprintable()


def _forbidden(detail: str) -> Problem:
    return Problem(403, "forbidden", detail)
