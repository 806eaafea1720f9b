"""Tokens of release links: which message of which account may be released, and until when.

A token is 29 bytes and a keyed hash of them (HMAC-SHA-256, 18 bytes), in base64url. Nothing is
stored: whoever has the key can check one, and nobody else can make one. It serves for one message
and one action only.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from uuid import UUID

LIFETIME_SECONDS = 7 * 86_400
_FORM = struct.Struct(">BQ16sI")
_HASH_BYTES = 18
_LENGTH = 4 * -(-(_FORM.size + _HASH_BYTES) // 3)


class Action(IntEnum):
    """What a link does. Numbers are part of tokens: they stay."""

    FROM_JUNK = 1
    """Move a message from Junk to INBOX."""
    FROM_QUARANTINE = 2
    """Release a copy from quarantine."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token permits."""

    action: Action
    account: int
    target: UUID
    """The message, or the copy in quarantine."""
    expires_at: int
    """Seconds since the epoch."""


def make_token(key: bytes, grant: Grant) -> str:
    """Return the token of a grant."""
    packed = _FORM.pack(grant.action, grant.account, grant.target.bytes, grant.expires_at)
    return base64.urlsafe_b64encode(packed + _hash(key, packed)).decode().rstrip("=")


def read_token(keys: Sequence[bytes], token: str, now: float) -> Grant | None:
    """Return what a token permits; None: it is not valid, or has expired."""
    if len(token) > _LENGTH or not token.isascii():
        return None
    try:
        octets = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    packed, given = octets[: _FORM.size], octets[_FORM.size :]
    if len(given) != _HASH_BYTES:
        return None
    if not any(hmac.compare_digest(given, _hash(key, packed)) for key in keys):
        return None
    action, account, target, expires_at = _FORM.unpack(packed)
    if expires_at <= now or action not in Action:
        return None
    return Grant(Action(action), account, UUID(bytes=target), expires_at)


def _hash(key: bytes, packed: bytes) -> bytes:
    return hmac.digest(key, packed, hashlib.sha256)[:_HASH_BYTES]
