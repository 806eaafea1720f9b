"""Access of sessions: the credential used, whether it is still valid, and familiar networks of
accounts."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

NETWORK_DAYS = 30
"""Days for which a network stays familiar after a login."""
MAX_NETWORKS = 64
"""Most networks stored for one account; the least recently used is dropped first."""
NOTED_SECONDS = 86_400.0
"""Seconds after which a login updates a network again: a polling client must not write a row each
time."""


class Ending(StrEnum):
    """Reason for which a session must end."""

    CLOSED = "closed"
    """The account, or its tenant, is suspended or deleted."""
    CHANGED = "changed"
    """The password that the session logged in with was changed or deleted."""
    TAKEN = "taken"
    """Another session holds the maildrop (POP3)."""
    EXPIRED = "expired"
    """The token that the session logged in with has expired; told by ``Proof``, not by stores."""


@dataclass(frozen=True, slots=True)
class Proof:
    """The credential that a session logged in with."""

    account: int
    password: bytes = b""
    """``digest_of`` the stored hash of the account's own password; empty when it was an app
    password or a token."""
    app_password: bytes = b""
    """SHA-256 of the app password; empty when it was the account's own."""
    scope: str = ""
    """Scope that the app password must have."""
    expires_at: float | None = None
    """When the token that it was expires, in Unix seconds; None: it was none."""

    def has_expired(self, now: float) -> bool:
        """Return whether it was a token that has expired; ``now`` in Unix seconds."""
        return self.expires_at is not None and self.expires_at <= now


@dataclass(frozen=True, slots=True)
class FamiliarNetwork:
    """An account and a network that it logged in from."""

    account: int
    network: bytes
    """As returned by ``posthorn.runtime.familiar_networks.client_network_of``."""


@dataclass(frozen=True, slots=True)
class LoginCheck:
    """What a login asks of the store in the statement that reads the account."""

    counters: tuple[str, ...] = ()
    """Keys of the counters of failed logins, as in ``ports.sending.failed_logins``."""
    app_password: bytes = b""
    """SHA-256 of the password, if it has the form of an app password; else empty."""
    scope: str = ""
    """Scope that the app password must have."""
    client: str = ""
    """IP address that it must be allowed from."""


@dataclass(frozen=True, slots=True)
class LoginFindings:
    """The answers to a LoginCheck."""

    counters: Mapping[str, float]
    """Seconds by which each counter is ahead, as in ``ports.sending.Charge.wait``; a missing one is
    not."""
    app_password_age: float | None
    """Seconds since the app password was last used, infinite if never; None: the account has no such
    app password for the scope."""


class FamiliarNetworks(Protocol):
    """Stores familiar networks, for all processes and protocols."""

    async def remember(self, networks: Collection[FamiliarNetwork]) -> None:
        """Record the networks that accounts have just logged in from. Raises Unavailable."""
        ...


class ScramStore(Protocol):
    """Stores verifiers for SCRAM, which are read with the accounts (ADR 35)."""

    async def salt_key(self) -> bytes:
        """Return the key that salts are derived with, the same for all processes and for good.
        Raises Unavailable."""
        ...

    async def keep(self, account: int, verifier: bytes, password: bytes) -> None:
        """Store the verifier of an account, unless its password has changed; ``password``:
        ``digest_of`` the stored hash. Raises Unavailable."""
        ...


class PasswordRehashes(Protocol):
    """Replaces password hashes of other programs (ADR 45)."""

    async def replace(self, account: int, old: bytes, new: str) -> bool:
        """Replace the stored hash of an account if ``digest_of`` it is ``old`` and it is no
        argon2id hash; ``new`` must be one. Return whether that was done.

        Sessions with the old hash as their proof go on until the password is changed. Raises
        Unavailable.
        """
        ...


def digest_of(password_hash: str) -> bytes:
    """Return the SHA-256 of a stored password hash, by which a session detects a change."""
    return hashlib.sha256(password_hash.encode()).digest()


def is_same_password(proof: bytes, password_hash: str, rehashed: bytes | None) -> bool:
    """Return whether the password whose hash had the digest ``proof`` is still that of the account:
    the stored hash is that one, or has replaced it (``rehashed``: the account's, None: never)."""
    present = digest_of(password_hash)
    return proof == present or rehashed == proof + present
