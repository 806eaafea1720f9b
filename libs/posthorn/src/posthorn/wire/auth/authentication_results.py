"""Forged Authentication-Results fields with our authserv-id (RFC 8601 §5).

Filters and mail programs trust a field with our authserv-id, so one from outside is removed on
arrival. Fields with other ids stay.
"""

from __future__ import annotations

import re

_FIELD = re.compile(
    rb"^Authentication-Results[ \t]*:((?:[^\n]*\r\n[ \t])*[^\n]*(?:\n|\Z))",
    re.IGNORECASE | re.MULTILINE,
)
_ID = re.compile(rb'"((?:[^"\\]|\\.)*)"|([^\s;()"]+)')


def without_ours(block: bytes, authserv_id: str) -> bytes:
    """Return a header block, in CRLF lines, without the Authentication-Results fields with this
    authserv-id."""
    if b"authentication-results" not in block.lower():
        return block
    ours = authserv_id.lower().rstrip(".")

    def kept(field: re.Match[bytes]) -> bytes:
        return b"" if _authserv_id(field[1]) == ours else field[0]

    return _FIELD.sub(kept, block)


def _authserv_id(value: bytes) -> str:
    """Return the id at the beginning of the field's value, past comments (RFC 8601 §2.2); empty
    when there is none."""
    at = depth = 0
    while at < len(value):
        character = value[at : at + 1]
        if character == b"\\" and depth:
            at += 1
        elif character == b"(":
            depth += 1
        elif character == b")" and depth:
            depth -= 1
        elif not depth and not character.isspace():
            break
        at += 1
    found = _ID.match(value, at)
    if found is None:
        return ""
    quoted = re.sub(rb"\\(.)", rb"\1", found[1]) if found[1] is not None else found[2]
    return quoted.decode("utf-8", "replace").lower().rstrip(".")
