"""Secrets at rest: encrypted with AES-256-GCM under the key from the environment
(``runtime.settings.SecretSettings``).

A secret is decrypted only with the context it was encrypted for (``dkim:<id>``,
``route:<domain>``): a row copied to another's place is useless. The first byte is the version, then
follow the nonce and the ciphertext with its tag.
"""

from __future__ import annotations

import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from posthorn.runtime.derived_keys import derive
from posthorn.runtime.settings import SecretSettings, key_list

_VERSION = b"\x01"
_NONCE = 12


class DecryptionFailed(Exception):
    """No key decrypts the secret: it was encrypted with another key, or for another context."""


class SecretBox:
    """Encrypts with the first key, decrypts with any."""

    def __init__(self, keys: list[bytes]) -> None:
        self._keys = keys

    @classmethod
    def from_settings(cls, settings: SecretSettings) -> SecretBox:
        """Take the keys from the settings."""
        return cls(key_list(settings.secret_key))

    def encrypt(self, secret: bytes, context: str) -> bytes:
        """Return the secret as it is stored."""
        nonce = secrets.token_bytes(_NONCE)
        return _VERSION + nonce + AESGCM(self._keys[0]).encrypt(nonce, secret, context.encode())

    def decrypt(self, encrypted: bytes, context: str) -> bytes:
        """Return the secret. Raises DecryptionFailed."""
        if encrypted[:1] == _VERSION:
            nonce, rest = encrypted[1 : 1 + _NONCE], encrypted[1 + _NONCE :]
            for key in self._keys:
                try:
                    return AESGCM(key).decrypt(nonce, rest, context.encode())
                except (InvalidTag, ValueError):
                    continue
        raise DecryptionFailed("no key of POSTHORN_SECRET_KEY decrypts it")

    def derived(self, purpose: str) -> list[bytes]:
        """Return keys of 32 bytes for another purpose, one from each key, the current one first:
        equal in every process."""
        return [derive(key, purpose) for key in self._keys]
