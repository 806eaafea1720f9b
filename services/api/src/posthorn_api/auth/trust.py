"""What is taken of the tokens of an OpenID Connect issuer, apart from what reads them, which a process
without an issuer does not load."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from posthorn.ports.api_keys import Role

RANKS = (Role.PLATFORM_ADMIN, Role.TENANT_ADMIN, Role.READ_ONLY, Role.SEND_ONLY)
"""Of several roles the first counts."""


@dataclass(frozen=True, slots=True)
class Trust:
    """What is taken of an issuer's tokens, as the settings say."""

    issuer: str
    audiences: tuple[str, ...]
    role_claim: str = "roles"
    """The claim that holds a role or a list of roles; ``a.b`` is ``b`` in the object ``a``,
    where no claim has that very name."""
    roles: Mapping[str, Role] = field(default_factory=lambda: {role.value: role for role in RANKS})
    """Our roles by what the issuer calls them."""
    tenant_claim: str = "tenant"
    """The claim that holds the tenant's name or id; as ``role_claim``."""
    platform: bool = False
    """Whether a token that names no tenant opens the whole platform."""
    leeway_seconds: float = 30.0
    refresh_seconds: float = 600.0


def name_of(subject: str) -> str:
    """Return the name of the caller that is this subject."""
    return f"oidc:{subject}"
