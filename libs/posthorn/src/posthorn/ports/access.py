"""What a session was let in by, whether that still holds, and from where accounts are known to log in."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

PLACE_DAYS = 30
"""Days for which it counts that an account was logged in to from a place."""
MOST_PLACES = 64
"""Places remembered for one account; the one used longest ago goes first."""
NOTED_SECONDS = 86_400.0
"""Seconds after which a place is noted anew at a login: a client that polls must not write a row each time."""


class Ending(StrEnum):
    """Why a session may not go on."""

    CLOSED = "closed"
    """The account, or its tenant, is suspended or gone."""
    CHANGED = "changed"
    """The password that the session logged in with is another one now, or was taken away."""
    TAKEN = "taken"
    """Another session holds the maildrop (POP3)."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What a session logged in with."""

    account: int
    password: bytes = b""
    """``digest_of`` the stored hash of the account's own password; empty when it was an app password."""
    app_password: bytes = b""
    """SHA-256 of the app password; empty when it was the account's own."""
    scope: str = ""
    """What the app password must be for."""


@dataclass(frozen=True, slots=True)
class Place:
    """An account at a place that it was logged in to from."""

    account: int
    place: bytes
    """As ``posthorn.runtime.familiar_places.client_network_of`` gives it."""


class Places(Protocol):
    """Remembers familiar places, for all processes and protocols."""

    async def remember(self, places: Collection[Place]) -> None:
        """Note that the accounts were just logged in to from the places. Raise Unavailable."""
        ...


def digest_of(password_hash: str) -> bytes:
    """Return what a session keeps of a stored password hash, to see whether it is still the same: its SHA-256."""
    return hashlib.sha256(password_hash.encode()).digest()
