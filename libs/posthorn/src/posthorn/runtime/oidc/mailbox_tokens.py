"""Tokens that open mailboxes: OAUTHBEARER (RFC 7628) and XOAUTH2 in IMAP, POP3 and submission.

Rules:

- What every token needs is checked first (``tokens``): signature, issuer, audience, times.
- The address is a claim that the settings name. ``email`` counts only if the issuer says that it is
  verified, for else whoever registers there with the address of another would read their mail.
- The issuer vouches for accounts of the domains that the settings name, where they name any.
- A login by token holds until the token expires, with the leeway for clocks that differ.
"""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client import Counter

from posthorn.runtime.oidc.keys import Fetch, IssuerKeys
from posthorn.runtime.oidc.tokens import claim_at, verified_claims
from posthorn.runtime.oidc.trust import MailTrust, TokenRefused
from posthorn.wire.address import Address, AddressError, parse_address
from posthorn.wire.sasl_bearer import failure

_tokens = Counter("posthorn_mail_tokens_total", "Tokens shown at logins to mailboxes", ["outcome"])


@dataclass(frozen=True, slots=True)
class MailToken:
    """A token that is good."""

    address: str
    """Canonical address of the account that it names."""
    expires_at: float
    """When the login ends, in Unix seconds."""


class MailTokens:
    """Tells whose mailbox a token opens. ``keys.run`` renews the keys."""

    def __init__(self, trust: MailTrust, fetch: Fetch) -> None:
        self._trust = trust
        self.keys = IssuerKeys(trust.issuer, fetch, refresh_seconds=trust.refresh_seconds)

    async def read(self, token: str) -> MailToken:
        """Return what the token says. Raises TokenRefused, Unavailable."""
        try:
            found = await self._read(token)
        except TokenRefused:
            _tokens.labels("refused").inc()
            raise
        _tokens.labels("taken").inc()
        return found

    async def _read(self, token: str) -> MailToken:
        trust = self._trust
        claims = await verified_claims(
            token,
            self.keys,
            issuer=trust.issuer,
            audiences=trust.audiences,
            leeway_seconds=trust.leeway_seconds,
        )
        if trust.scope and trust.scope not in _scopes(claims.get("scope", claims.get("scp"))):
            raise TokenRefused("this token lacks the scope")
        if trust.address_claim == "email" and claims.get("email_verified") is not True:
            raise TokenRefused("the address of this token is not verified")
        address = _address(claim_at(claims, trust.address_claim))
        if trust.domains and address.domain not in trust.domains:
            raise TokenRefused("the issuer does not vouch for accounts of this domain")
        return MailToken(str(address), float(claims["exp"]) + trust.leeway_seconds)

    def failure(self, mechanism: str) -> bytes:
        """Return the challenge that tells a client that its token was refused."""
        return failure(mechanism, self._trust.issuer, self._trust.scope)


def _scopes(claim: object) -> list[str]:
    """Read a claim with scopes: separated by spaces (RFC 8693 §4.2), or a list."""
    listed = claim.split(" ") if isinstance(claim, str) else claim
    return [each for each in listed if isinstance(each, str)] if isinstance(listed, list) else []


def _address(claim: object) -> Address:
    try:
        if isinstance(claim, str):
            return parse_address(claim)
    except AddressError:
        pass
    raise TokenRefused("this token names no address")
