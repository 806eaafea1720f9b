"""Logins with a bearer token: the mechanisms OAUTHBEARER (RFC 7628) and XOAUTH2 of Google and
Microsoft.

Rules:

- After a token that is refused the server sends a challenge with the reason in JSON; the client
  answers with anything, and the exchange fails (RFC 7628 §3.2.3). XOAUTH2 does the same.
- Channel binding is not offered: ``p=`` is refused (RFC 5801 §4). Host and port of the client are
  not looked at.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from posthorn.wire.smtp.sasl import LONGEST_NAME, SaslError

BEARER_MECHANISMS = ("OAUTHBEARER", "XOAUTH2")


@dataclass(frozen=True, slots=True)
class Bearer:
    """A client's token."""

    mechanism: str
    token: str = field(repr=False)
    name: str = ""
    """The account that the client names; empty: that of the token."""


def read_bearer(mechanism: str, response: bytes) -> Bearer:
    """Parse the response of one of BEARER_MECHANISMS. Raises SaslError."""
    head, separator, rest = response.partition(b"\x01")
    if not separator or not rest.endswith(b"\x01\x01"):
        raise SaslError(f"not in the form of {mechanism}")
    name = _user(head) if mechanism == "XOAUTH2" else _authorization_identity(head)
    values = [pair[5:] for pair in rest[:-2].split(b"\x01") if pair[:5].lower() == b"auth="]
    scheme, _, token = (values[0] if len(values) == 1 else b"").partition(b" ")
    if scheme.lower() != b"bearer" or not token.strip(b" ") or not token.isascii():
        raise SaslError("expected one bearer token")
    return Bearer(mechanism, token.strip(b" ").decode(), name)


def _user(head: bytes) -> str:
    key, _, value = head.partition(b"=")
    if key != b"user" or not value:
        raise SaslError("not in the form of XOAUTH2")
    return _text(value)


def _authorization_identity(head: bytes) -> str:
    """Read the GS2 header (RFC 5801 §4): channel binding, and who the client acts as."""
    parts = head.split(b",")
    if len(parts) != 3 or parts[0] not in (b"n", b"y") or parts[2]:
        raise SaslError("not in the form of OAUTHBEARER")
    if not parts[1]:
        return ""
    if not parts[1].startswith(b"a="):
        raise SaslError("not in the form of OAUTHBEARER")
    return _text(parts[1][2:].replace(b"=2C", b",").replace(b"=3D", b"="))


def _text(data: bytes) -> str:
    if len(data) > LONGEST_NAME:
        raise SaslError("the name is too long")
    return data.decode("utf-8", "surrogateescape")


def failure(mechanism: str, issuer: str, scope: str) -> bytes:
    """Return the challenge after a token that was refused (RFC 7628 §3.2.2)."""
    document = {"status": "401", "schemes": "bearer"}
    if mechanism == "OAUTHBEARER":
        place = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
        document = {"status": "invalid_token", "openid-configuration": place}
    if scope:
        document["scope"] = scope
    return json.dumps(document, separators=(",", ":")).encode()
