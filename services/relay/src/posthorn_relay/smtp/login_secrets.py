"""The login of a route in what is sent, shown and logged."""

from __future__ import annotations

import base64


def in_base64(text: str) -> bytes:
    """Return the text as AUTH sends it (RFC 4954 §4)."""
    return base64.b64encode(text.encode())


def without_login(text: str, user: str, password: str) -> str:
    """Return the text without a password that a host repeats."""
    for secret in (
        password,
        *(in_base64(one).decode() for one in (f"\0{user}\0{password}", password)),
    ):
        if secret:
            text = text.replace(secret, "***")
    return text
