"""Marks of the aliases that a forwarded message has passed, by which a loop is known at its first turn.

Rules:

- A forwarded copy begins with two fields for the alias that made it: ``Delivered-To`` (RFC 9228), which says where the message has
  been in a form that other servers know, and ``X-Posthorn-Passed`` with a keyed hash of the alias.
- Only the hash decides: anybody may write a Delivered-To field, for instance by sending an old message again, and a sender who
  names an alias in it must not thereby stop what the alias forwards.
- The fields stand before the message and are no part of it: no signature covers them (RFC 6376 §5.4), and no body is stored anew.
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
    # the prefix keeps it apart from the hashes of rewritten reverse-paths, which are made with the same key (``wire.srs``)
    return (
        b32encode(hmac.digest(key, b"passed:" + alias.encode("utf-8", "replace"), hashlib.sha256)[:_OCTETS])
        .decode()
        .lower()
    )


def has_passed(alias: str, marks: Collection[str], keys: Sequence[bytes]) -> bool:
    """Return whether a message with these marks has been forwarded by the alias before. ``keys``: those that may have made them."""
    return bool(marks) and any(mark_of(alias, key) in marks for key in keys)


def fields_of(alias: str, key: bytes) -> str:
    """Return the fields of a copy that the alias forwards, with their line ends. An address that is not ASCII is left out, since a
    header with it could not go to every host."""
    delivered_to = f"Delivered-To: {alias}\r\n" if alias.isascii() and alias.isprintable() and len(alias) < 900 else ""
    return f"{delivered_to}{PASSED}: {mark_of(alias, key)}\r\n"
