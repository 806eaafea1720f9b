"""What is checked of every token (RFC 7519, RFC 8725, RFC 9068).

Rules:

- The signature is checked first, by a key of the issuer's for an algorithm of that key's own kind;
  ``none`` and HMAC are never taken. Then issuer, audience and times, with a leeway for clocks that
  differ.
- A refusal tells whoever shows the token why, and nothing of the keys.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import jwt
from jwt.exceptions import (
    ExpiredSignatureError,
    ImmatureSignatureError,
    InvalidAudienceError,
    InvalidIssuerError,
    InvalidSignatureError,
    MissingRequiredClaimError,
    PyJWTError,
)

from posthorn.runtime.oidc.keys import ALGORITHMS, IssuerKeys
from posthorn.runtime.oidc.trust import TokenRefused

_REQUIRED = ("exp", "iat", "iss", "aud", "sub")
_LONGEST_TOKEN = 16 * 1024


async def verified_claims(
    token: str,
    keys: IssuerKeys,
    *,
    issuer: str,
    audiences: Collection[str],
    leeway_seconds: float,
) -> Mapping[str, Any]:
    """Return what a token says that is the issuer's, meant for us, and in force. Raises
    TokenRefused, and Unavailable when the issuer's keys cannot be had."""
    if len(token) > _LONGEST_TOKEN:
        raise TokenRefused("this token is too long")
    try:
        header = jwt.get_unverified_header(token)
    except (PyJWTError, ValueError, RecursionError):
        raise TokenRefused("this token is malformed") from None
    algorithm, kid = header.get("alg"), header.get("kid")
    if (
        not isinstance(algorithm, str) or algorithm not in ALGORITHMS or "crit" in header
    ):  # RFC 7515 §4.1.11: what is critical must be understood
        raise TokenRefused("this token has an unsupported signature algorithm")
    key = await keys.find(kid, algorithm)
    if key is None:
        raise TokenRefused("this token is signed with an unknown key")
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            audience=audiences,
            issuer=issuer,
            leeway=leeway_seconds,
            options={"require": list(_REQUIRED), "strict_aud": False},
        )
    except (PyJWTError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise TokenRefused(_REASONS.get(type(error), "this token is not valid")) from None
    return claims


def claim_at(claims: Mapping[str, Any], path: str) -> object:
    """Return a claim by its name, or else by its way through objects (``a.b``); None without
    one."""
    if path in claims:
        return claims[path]
    found: object = claims
    for name in path.split("."):
        if not isinstance(found, dict) or name not in found:
            return None
        found = found[name]
    return found


_REASONS: Mapping[type[Exception], str] = {
    ExpiredSignatureError: "this token has expired",
    ImmatureSignatureError: "this token is not in force yet",
    InvalidAudienceError: "this token is meant for somebody else",
    InvalidIssuerError: "this token is of another issuer",
    InvalidSignatureError: "the signature of this token is wrong",
    MissingRequiredClaimError: f"this token lacks one of the claims {', '.join(_REQUIRED)}",
}
