"""What is taken of an issuer's tokens, without the libraries that verify them: processes that take
none do not load those."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from posthorn.model.ip_addresses import is_this_machine


class TokenRefused(Exception):
    """The token is not good; the message says why."""


@dataclass(frozen=True, slots=True)
class MailTrust:
    """What is taken of an issuer's tokens, as the settings say."""

    issuer: str
    audiences: tuple[str, ...]
    address_claim: str = "email"
    """The claim with the account's address; ``a.b`` is ``b`` in the object ``a``, where no claim
    has that very name."""
    domains: frozenset[str] = frozenset()
    """Domains whose accounts the issuer vouches for; empty: all."""
    scope: str = ""
    """A scope that the token must have; empty: none."""
    leeway_seconds: float = 30.0
    refresh_seconds: float = 600.0


def is_safe(url: str) -> bool:
    """Return whether what comes from the URL cannot be changed on the way: HTTPS, or this very
    host."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port  # raises for one that is none
    except ValueError:
        return False
    if not host or parts.username is not None or parts.fragment:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and is_this_machine(host))
