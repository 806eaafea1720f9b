"""DSN parameters: RET and ENVID of MAIL, NOTIFY and ORCPT of RCPT (RFC 3461 §4, RFC 6533 §3).

Values are decoded and contain only printable characters, so that they are safe in a DSN and in
commands.
"""

from __future__ import annotations

import re

ENVID_LIMIT = 100
"""Characters of an envelope id as sent (RFC 3461 §4.4)."""
ORCPT_LIMIT = 500
"""Characters of an original recipient as sent (RFC 3461 §4.2)."""
MAIL_ADDS = len(" RET=FULL") + len(" ENVID=") + ENVID_LIMIT
"""Bytes that RET and ENVID add to the longest MAIL."""
RCPT_ADDS = len(" NOTIFY=SUCCESS,FAILURE,DELAY") + len(" ORCPT=") + ORCPT_LIMIT
"""Bytes that NOTIFY and ORCPT add to the longest RCPT."""

_EVENTS = ("SUCCESS", "FAILURE", "DELAY")
_XTEXT = re.compile(r"(?:[\x21-\x2a\x2c-\x3c\x3e-\x7e]|\+[0-9A-F]{2})+\Z")
_HEX = re.compile(r"\+([0-9A-F]{2})")
_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*\Z")
_UNITEXT = re.compile(
    r"(?:[\x21-\x2a\x2c-\x3c\x3e-\x5b\x5d-\x7e\x80-\U0010ffff]|\\x\{[0-9A-F]{2,6}\})+\Z"
)
_CODE_POINT = re.compile(r"\\x\{([0-9A-F]+)\}")


class DsnError(ValueError):
    """The value is not valid by RFC 3461."""


def decode_xtext(text: str) -> str:
    """Decode xtext (RFC 3461 §4). Raises DsnError, also for a result that is not printable
    ASCII."""
    if not _XTEXT.match(text):
        raise DsnError("no xtext")
    plain = _HEX.sub(lambda found: chr(int(found[1], 16)), text)
    if not (plain.isascii() and plain.isprintable()):
        raise DsnError("characters that cannot be shown")
    return plain


def read_ret(value: str) -> str:
    """Parse RET: ``FULL`` or ``HDRS``. Raises DsnError."""
    if value.upper() not in ("FULL", "HDRS"):
        raise DsnError("RET is FULL or HDRS")
    return value.upper()


def read_envid(value: str) -> str:
    """Parse ENVID. Raises DsnError."""
    if len(value) > ENVID_LIMIT:
        raise DsnError("the envelope id is too long")
    return decode_xtext(value)


def read_notify(value: str) -> tuple[str, ...]:
    """Parse NOTIFY: ``NEVER`` alone, or events in the order of RFC 3461. Raises DsnError."""
    words = value.upper().split(",")
    if words == ["NEVER"]:
        return ("NEVER",)
    if not set(words) <= set(_EVENTS):
        raise DsnError("NOTIFY is NEVER, or a list of SUCCESS, FAILURE and DELAY")
    return tuple(event for event in _EVENTS if event in words)


def read_orcpt(value: str) -> str:
    """Parse ORCPT: ``addr-type;address``. Raises DsnError.

    An address of the type ``utf-8`` comes as UTF-8 or with code points as ``\\x{…}`` (RFC 6533 §3).
    """
    kind, semicolon, address = value.partition(";")
    if len(value) > ORCPT_LIMIT or not semicolon or not _TYPE.match(kind):
        raise DsnError("ORCPT is a type, a semicolon and an address")
    if kind.lower() != "utf-8":
        return f"{kind};{decode_xtext(address)}"
    if not _UNITEXT.match(address):
        raise DsnError("no address in UTF-8")
    try:
        plain = _CODE_POINT.sub(lambda found: chr(int(found[1], 16)), address)
    except (ValueError, OverflowError):
        raise DsnError("no code point") from None
    if not plain.isprintable():
        raise DsnError("characters that cannot be shown")
    return f"{kind};{plain}"
