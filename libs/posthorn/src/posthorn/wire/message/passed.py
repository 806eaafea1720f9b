"""Marks of the aliases that have forwarded a message, by which a loop is detected at its first
turn.

Rules:

- A forwarded copy begins with two fields for its alias: ``Delivered-To`` (RFC 9228), which other
  servers recognise, and ``X-Posthorn-Passed`` with a keyed hash of the alias.
- Only the hash decides: anyone may write a Delivered-To field, for instance by sending an old
  message again, and a sender who names an alias in it must not stop its forwarding.
- The fields precede the message and are not part of it: no signature covers them (RFC 6376 §5.4),
  and no body is stored again.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b32encode
from collections.abc import Collection, Sequence

PASSED = "X-Posthorn-Passed"
"""Name of the field that carries the hash."""
_OCTETS = 15


def mark_of(alias: str, key: bytes) -> str:
    """Return the mark of an alias, given by its canonical address: 24 letters and digits."""
    # the prefix separates it from the hashes of rewritten reverse-paths, which use the same key
    # (``wire.srs``)
    return (
        b32encode(
            hmac.digest(key, b"passed:" + alias.encode("utf-8", "replace"), hashlib.sha256)[
                :_OCTETS
            ]
        )
        .decode()
        .lower()
    )


def has_passed(alias: str, marks: Collection[str], keys: Sequence[bytes]) -> bool:
    """Return whether a message with these marks has been forwarded by the alias before.
    ``keys``: those that may have made them."""
    return bool(marks) and any(mark_of(alias, key) in marks for key in keys)


def fields_of(alias: str, key: bytes) -> str:
    """Return the fields of a copy that the alias forwards, with their line ends. An address that
    is not ASCII is omitted, since not every host accepts a header with it."""
    delivered_to = (
        f"Delivered-To: {alias}\r\n"
        if alias.isascii() and alias.isprintable() and len(alias) < 900
        else ""
    )
    return f"{delivered_to}{PASSED}: {mark_of(alias, key)}\r\n"
