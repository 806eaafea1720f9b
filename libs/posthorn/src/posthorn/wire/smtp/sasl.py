"""Logins with a name and a password: the mechanisms PLAIN (RFC 4616) and LOGIN, and their base64
(RFC 4954 §4).

Rules:

- base64 is decoded strictly: only its alphabet, and complete, since programs differ on anything
  else.
- A name or password that is not UTF-8 keeps its bytes (surrogateescape): it never matches, and
  nothing fails.
"""

from __future__ import annotations

import binascii
from dataclasses import dataclass, field

USERNAME_PROMPT = "VXNlcm5hbWU6"
"""First challenge of LOGIN: ``Username:`` in base64."""
PASSWORD_PROMPT = "UGFzc3dvcmQ6"  # noqa: S105 - it asks for one
"""Second challenge of LOGIN: ``Password:`` in base64."""
LONGEST_NAME = 512
"""Most bytes of a name; no mail address is longer."""
LONGEST_PASSWORD = 1024
"""Most bytes of a password."""


class SaslError(ValueError):
    """The client's response is not valid."""


@dataclass(frozen=True, slots=True)
class Secret:
    """A client's credentials."""

    name: str
    password: str = field(repr=False)
    acts_as: str = ""
    """The authorization identity; empty for that of the name (RFC 4616 §2)."""


def decode_response(text: bytes) -> bytes:
    """Decode base64. Raises SaslError."""
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error:
        raise SaslError("no base64") from None


def read_plain(response: bytes) -> Secret:
    """Parse the response of PLAIN: three parts separated by NULs. Raises SaslError."""
    parts = response.split(b"\0")
    if len(parts) != 3 or len(parts[0]) > LONGEST_NAME:
        raise SaslError("not in the form of PLAIN")
    return read_login(parts[1], parts[2], parts[0])


def read_login(name: bytes, password: bytes, acts_as: bytes = b"") -> Secret:
    """Combine the two responses of LOGIN. Raises SaslError for values that no account can have."""
    if not (0 < len(name) <= LONGEST_NAME and 0 < len(password) <= LONGEST_PASSWORD):
        raise SaslError("name or password are missing or too long")
    return Secret(_text(name), _text(password), _text(acts_as))


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")
