"""Secrets at rest: sealed with AES-256-GCM under the key from the environment (``runtime.settings.SecretSettings``).

A sealed secret opens only with the context it was sealed for (``dkim:<id>``, ``route:<domain>``): a row that is copied into
another's place is of no use. The first octet is the version, then follow the nonce and the ciphertext with its tag.
"""

from __future__ import annotations

import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from posthorn.runtime.derived_keys import derive
from posthorn.runtime.settings import SecretSettings, key_list

_VERSION = b"\x01"
_NONCE = 12


class DecryptionFailed(Exception):  # noqa: N818 - it names the state
    """No key opens the secret: it was sealed under another key, or for another context."""


class SecretBox:
    """Seals under the first key, opens under any."""

    def __init__(self, keys: list[bytes]) -> None:
        self._keys = keys

    @classmethod
    def of(cls, settings: SecretSettings) -> SecretBox:
        """Take the keys from the settings."""
        return cls(key_list(settings.secret_key))

    def seal(self, secret: bytes, context: str) -> bytes:
        """Give the secret's form at rest."""
        nonce = secrets.token_bytes(_NONCE)
        return _VERSION + nonce + AESGCM(self._keys[0]).encrypt(nonce, secret, context.encode())

    def open(self, sealed: bytes, context: str) -> bytes:
        """Give the secret. Raises DecryptionFailed."""
        if sealed[:1] == _VERSION:
            nonce, rest = sealed[1 : 1 + _NONCE], sealed[1 + _NONCE :]
            for key in self._keys:
                try:
                    return AESGCM(key).decrypt(nonce, rest, context.encode())
                except (InvalidTag, ValueError):
                    continue
        raise DecryptionFailed("no key of POSTHORN_SECRET_KEY opens it")

    def derived(self, purpose: str) -> list[bytes]:
        """Keys of 32 octets for another purpose, one from each key, the current one first: the same in every process."""
        return [derive(key, purpose) for key in self._keys]
