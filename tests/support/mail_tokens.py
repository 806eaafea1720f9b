"""Tokens at logins to mailboxes, in tests."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from posthorn.adapters.issuer_fetch import fetch
from posthorn.runtime.oidc.mailbox_tokens import MailTokens
from posthorn.runtime.oidc.trust import MailTrust
from tests.support.issuer import AUDIENCE, Issuer


def mail_tokens(issuer: Issuer, **changes: Any) -> MailTokens:
    """What reads the issuer's tokens; ``changes`` are fields of the trust."""
    return MailTokens(MailTrust(issuer.url, (AUDIENCE,), **changes), fetch)


def token_of(issuer: Issuer, address: str, **claims: Any) -> str:
    """Sign a token that opens the mailbox of an address."""
    said: dict[str, Any] = {"email": address, "email_verified": True, "roles": None, "tenant": None}
    return issuer.token(**(said | claims))


def oauthbearer(token: str, name: str = "") -> str:
    """Return the response of OAUTHBEARER in base64."""
    identity = f"a={name}" if name else ""
    return b64encode(f"n,{identity},\1auth=Bearer {token}\1\1".encode()).decode()


def xoauth2(token: str, name: str) -> str:
    """Return the response of XOAUTH2 in base64."""
    return b64encode(f"user={name}\1auth=Bearer {token}\1\1".encode()).decode()
