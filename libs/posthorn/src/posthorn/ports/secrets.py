"""Secrets at rest; ``runtime.secret_box`` encrypts them."""

from __future__ import annotations

from typing import Protocol


class Encrypter(Protocol):
    """Encrypts secrets for the store."""

    def encrypt(self, secret: bytes, context: str) -> bytes:
        """Return the secret as it is stored. It can be decrypted only with the same ``context``
        (``dkim:<id>``)."""
        ...


class Decrypter(Protocol):
    """Decrypts secrets of the store."""

    def decrypt(self, encrypted: bytes, context: str) -> bytes:
        """Return the secret. Raises DecryptionFailed."""
        ...


class SecretStore(Encrypter, Decrypter, Protocol):
    """Encrypts and decrypts."""
