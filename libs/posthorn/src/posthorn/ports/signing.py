"""DKIM keys and signatures (RFC 6376)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

MOST_DKIM_KEYS = 50
"""Keys of a domain."""


@dataclass(frozen=True, slots=True)
class DkimKey:
    """A stored key."""

    id: UUID
    domain: str
    selector: str
    algorithm: str
    """``rsa`` (RFC 6376) or ``ed25519`` (RFC 8463)."""
    public_key: bytes
    """DER SubjectPublicKeyInfo for rsa, the 32 bytes for ed25519: the content of ``p=`` before
    base64."""
    private_key: bytes
    """PKCS #8 DER, encrypted by ``runtime.secret_box`` with the context ``dkim:<id>``."""
    signs_from: datetime
    signs_until: datetime | None
    published_until: datetime | None
    """When its DNS record may be removed; None: not yet."""
    created_at: datetime


class DkimKeys(Protocol):
    """Raises Unavailable."""

    async def signing(self, domains: Collection[str]) -> Mapping[str, Sequence[DkimKey]]:
        """Return the active keys of each domain: the newest of each algorithm."""
        ...

    async def for_domain(self, tenant: UUID | None, domain: str) -> Sequence[DkimKey]:
        """Return all keys of a domain, newest first. Raises NotFound."""
        ...

    async def rotate(
        self, tenant: UUID | None, domain: str, keys: Sequence[DkimKey], overlap: float
    ) -> Sequence[DkimKey]:
        """Add new keys. Active keys stay active until ``signs_from`` of the new ones, and
        published for ``overlap`` seconds longer. Raises NotFound, and Conflict for a domain with
        MOST_DKIM_KEYS that must stay published, or when a selector is taken."""
        ...


class Signer(Protocol):
    """Signs messages in the name of a domain."""

    async def sign(self, domain: str, content: bytes | Callable[[], AsyncIterator[bytes]]) -> str:
        """Return the DKIM-Signature fields, each with its CRLF, to stand before the message; empty
        when the domain has no key.

        ``content`` is the message in CRLF form, or opens it in pieces (again each time). The fields
        cover the message as it is and, where some host may not accept it as it is and it can be
        converted, followed by those over its 7-bit form, marked as such
        (``wire.auth.dkim.by_form``, ADR 26). Does not block the event loop. Raises Unavailable,
        with the part ``keys`` when the domain has keys and none can be decrypted.
        """
        ...
