"""Mailbox names: modified UTF-7 both ways, normal form, patterns of LIST (RFC 3501 §5.1.3, RFC
9051 §5.1, §6.3.9).

Rules:

- A name is kept as Unicode in NFC, with ``/`` between levels. INBOX is written in capitals where
  it is the first level; no other name ignores case.
- Only canonical modified UTF-7 is a name: another spelling of the same characters would come back
  from LIST differently from how the client wrote it.
- Control characters are refused, so that a name never ends a line of a reply.
"""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata
from typing import Final

INBOX: Final = "INBOX"
DELIMITER: Final = "/"
LONGEST_NAME_BYTES = 1024
"""Most bytes of a name in UTF-8."""

_SHIFTED = re.compile(r"&([A-Za-z0-9+,]*)-")
_TO_SHIFT = re.compile(r"&|[^\x20-\x7e]+")
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class InvalidNameError(ValueError):
    """The octets are not a mailbox name."""


def encode_mutf7(name: str) -> bytes:
    """Return a name in modified UTF-7."""
    if name.isascii() and "&" not in name:
        return name.encode()
    return _TO_SHIFT.sub(_shift, name).encode()


def decode_mutf7(octets: bytes) -> str:
    """Return a name from modified UTF-7. Raises InvalidNameError unless it is canonical."""
    try:
        text = octets.decode("ascii")
        name = _SHIFTED.sub(_unshift, text) if "&" in text else text
        is_canonical = encode_mutf7(name) == octets
    except (UnicodeError, binascii.Error):
        is_canonical, name = False, ""
    if not is_canonical:
        raise InvalidNameError("not in modified UTF-7")
    return name


def decode_name(octets: bytes, *, utf8: bool) -> str:
    """Return the name that a client wrote, in normal form; ``utf8``: whether it enabled UTF-8.
    Raises InvalidNameError."""
    try:
        name = octets.decode() if utf8 else decode_mutf7(octets)
    except UnicodeDecodeError:
        raise InvalidNameError("not in UTF-8") from None
    return normalise(name)


def encode_name(name: str, *, utf8: bool) -> bytes:
    """Return a name as the client reads it, not quoted."""
    return name.encode("utf-8", "replace") if utf8 else encode_mutf7(name)


def normalise(name: str) -> str:
    """Return the normal form of a name. Raises InvalidNameError."""
    if _CONTROLS.search(name):
        raise InvalidNameError("control characters in a name")
    if not name.isascii():
        name = unicodedata.normalize("NFC", name[: LONGEST_NAME_BYTES + 1])
    if len(name.encode()) > LONGEST_NAME_BYTES:
        raise InvalidNameError("the name is too long")
    first, slash, rest = name.partition(DELIMITER)
    return INBOX + slash + rest if first.upper() == INBOX and first.isascii() else name


def matches(pattern: str, name: str) -> bool:
    """Return whether a pattern of LIST, with the reference in front, matches a name: ``*`` is
    anything, ``%`` anything within a level. The time is at most the product of their lengths."""
    first, slash, rest = pattern.partition(DELIMITER)
    if first.upper() == INBOX:
        pattern = INBOX + slash + rest
    elif name == INBOX:
        pattern = pattern.upper()  # INBOX in any case (RFC 9051 §6.3.9)
    pattern = re.sub(r"[*%]*\*[*%]*", "*", pattern)
    places = _closure({0}, pattern)
    for character in name:
        after = set()
        for place in places:
            if place == len(pattern):
                continue
            wanted = pattern[place]
            if wanted == "*" or (wanted == "%" and character != DELIMITER):
                after.add(place)
            elif wanted == character:
                after.add(place + 1)
        places = _closure(after, pattern)
        if not places:
            return False
    return len(pattern) in places


def _closure(places: set[int], pattern: str) -> set[int]:
    """Add the places after wildcards that match nothing."""
    found = set(places)
    for place in places:
        while place < len(pattern) and pattern[place] in "*%":
            place += 1
            if place in found:
                break
            found.add(place)
    return found


def _shift(found: re.Match[str]) -> str:
    if found[0] == "&":
        return "&-"
    octets = found[0].encode("utf-16-be")
    return "&" + base64.b64encode(octets).decode().rstrip("=").replace("/", ",") + "-"


def _unshift(found: re.Match[str]) -> str:
    text = found[1]
    if not text:
        return "&"
    padded = text.replace(",", "/") + "=" * (-len(text) % 4)
    return base64.b64decode(padded, validate=True).decode("utf-16-be")
