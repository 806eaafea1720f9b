"""Sessions of people who have signed in to the API by a browser, and one-time links to sign in by
(ADR 42)."""

from __future__ import annotations

from typing import Protocol
from uuid import UUID

from posthorn.ports.api_keys import ApiKey

IDLE_SECONDS = 8 * 3600.0
"""Seconds without a request after which a session has ended."""
LONGEST_SECONDS = 24 * 3600.0
"""Seconds after sign-in after which a session has ended."""
LINK_SECONDS = 600.0
"""Seconds for which a link to sign in by can be used."""
MAX_SESSIONS = 50
"""Most sessions of one key, account or holder of tokens; the oldest end first."""
MAX_LINKS = 20
"""Most unused links of one key; those that expire soonest go first."""


class BrowserSessions(Protocol):
    """Tokens are known by their SHA-256: 256 random bits need no slow hash. Every method raises
    Unavailable."""

    async def create(
        self,
        token_hash: bytes,
        caller: ApiKey,
        password: bytes = b"",
        seconds: float = LONGEST_SECONDS,
    ) -> ApiKey:
        """Begin a session of the caller, which ends after so many seconds at the latest, and return
        the caller as ``find`` does. ``password``: for an account, ``ports.access.digest_of`` its
        stored hash. Raises NotFound when the key or the account has been deleted meanwhile."""
        ...

    async def find(self, token_hash: bytes) -> ApiKey | None:
        """Return the caller whose session this is, with ``expires_at`` the session's, and record
        that it is used. None when there is none, when it has ended, when its key was deleted, or
        when the account's password has changed."""
        ...

    async def end(self, token_hash: bytes) -> None:
        """End a session; one that is not there is no error."""
        ...

    async def end_all(self, name: str) -> int:
        """End all sessions of a holder of tokens, by the name of the caller; return how many."""
        ...

    async def create_link(self, token_hash: bytes, api_key: UUID) -> None:
        """Store a link that signs in as a key."""
        ...

    async def use_link(self, token_hash: bytes) -> ApiKey | None:
        """Return the key of a link and delete the link; None when there is none, or it has
        expired."""
        ...

    async def expire(self) -> int:
        """Delete what has ended or expired; return the number of sessions."""
        ...
