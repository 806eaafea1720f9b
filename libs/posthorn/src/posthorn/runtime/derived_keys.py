"""Keys derived from the master key, one for each purpose, so that a part holds only those that it
uses.

A derived key is HMAC-SHA-256 of the purpose under the master key (RFC 2104): one cannot be computed
from another, nor the master key from any. Nothing is stored: whoever has ``POSTHORN_SECRET_KEY``
derives the same keys again, which is what ``posthorn-keys`` prints and what the Helm chart computes
(``_keys.tpl``). When the master key is a list, so is every derived key, in the same order.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Final

from posthorn.runtime.settings import SecretSettings, key_list

SRS: Final = "srs"
"""Purpose of the keys that sign rewritten reverse-paths (ADR 15)."""


def derive(key: bytes, purpose: str) -> bytes:
    """Return the key of 32 bytes for a purpose."""
    return hmac.digest(key, f"posthorn {purpose}".encode(), hashlib.sha256)


def main() -> None:
    """Print the derived keys as variables: the script ``posthorn-keys``. Reads
    ``POSTHORN_SECRET_KEY``."""
    keys = [derive(key, SRS) for key in key_list(SecretSettings.load().secret_key)]
    print("POSTHORN_SRS_KEY=" + ",".join(base64.b64encode(key).decode() for key in keys))  # noqa: T201 - its output
