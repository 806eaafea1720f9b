"""The mathematics of signatures (``wire.auth.public_key.SignatureCheck``) on the library
cryptography.

Keys that were read are kept, the least used are forgotten: to read one costs as much as a part of
a check. An RSA exponent that would make a check expensive is refused (RFC 6376 §8.5: the key is the
sender's).
"""

from __future__ import annotations

from functools import lru_cache
from typing import cast

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from posthorn.wire.auth.public_key import MOST_RSA_BITS, BadKey

KEPT_KEYS = 4_000
MOST_EXPONENT_BITS = 64

_PADDING = PKCS1v15()
_HASHED = Prehashed(SHA256())
_ED25519_BITS = 256

type PublicKey = RSAPublicKey | Ed25519PublicKey


class CryptographySignatureCheck:
    """Checks signatures; takes 20 to 500 microseconds of CPU for one."""

    def __init__(self) -> None:
        self._load = lru_cache(KEPT_KEYS)(_with_bits)

    def key_bits(self, key_type: str, key: bytes) -> int:
        """Return the length of a key; see SignatureCheck."""
        return self._load(key_type, key)[1]

    def is_valid(self, key_type: str, key: bytes, digest: bytes, signature: bytes) -> bool:
        """Return whether a signature is valid; see SignatureCheck."""
        loaded, bits = self._load(key_type, key)
        try:
            if key_type == "rsa":
                if bits > MOST_RSA_BITS:
                    raise BadKey("the key is too long")
                cast("RSAPublicKey", loaded).verify(signature, digest, _PADDING, _HASHED)
            else:
                cast("Ed25519PublicKey", loaded).verify(signature, digest)
        except (InvalidSignature, ValueError) as error:
            if isinstance(error, BadKey):
                raise
            return False
        except UnsupportedAlgorithm as error:
            raise BadKey(str(error)) from error
        return True


def _with_bits(key_type: str, key: bytes) -> tuple[PublicKey, int]:
    # to ask a key for its class costs more than to remember what it is
    loaded = load_public_key(key_type, key)
    return loaded, loaded.key_size if isinstance(loaded, RSAPublicKey) else _ED25519_BITS


def load_public_key(key_type: str, key: bytes) -> PublicKey:
    """Return a key from the bytes of its record. Raises BadKey."""
    try:
        if key_type == "ed25519":
            return Ed25519PublicKey.from_public_bytes(key)
        loaded = load_der_public_key(key)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BadKey("the key cannot be read") from error
    if key_type != "rsa" or not isinstance(loaded, RSAPublicKey):
        raise BadKey("the key is of another type")
    if loaded.public_numbers().e.bit_length() > MOST_EXPONENT_BITS:
        raise BadKey("the exponent is too large")
    return loaded
