"""TXT records that are lists of tags: DKIM keys, DMARC, TLS-RPT (RFC 6376 §3.2)."""

from __future__ import annotations

import base64
import binascii

_RSA_HEADER = 24
"""Bytes by which a SubjectPublicKeyInfo of 2048 bits is longer than the RSAPublicKey in it; some
publish the latter."""


def is_same_key(found: str, wanted: str) -> bool:
    """Return whether two keys in base64 are one, also where one is a bare RSAPublicKey."""
    try:
        data, right = base64.b64decode(found, validate=True), base64.b64decode(wanted)
    except (binascii.Error, ValueError):
        return False
    return data == right or (len(right) - len(data) == _RSA_HEADER and right.endswith(data))


def parse_tags(text: str) -> dict[str, str] | None:
    """Parse a list of tags (RFC 6376 §3.2); None if it is invalid."""
    tags: dict[str, str] = {}
    for part in text.split(";"):
        name, equals, value = part.partition("=")
        if part.strip() and not equals:
            return None
        if equals:
            tags.setdefault(name.strip().lower(), value.strip())
    return tags or None
