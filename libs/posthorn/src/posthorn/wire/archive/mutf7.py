"""Modified UTF-7, the encoding of mailbox names on the disks of IMAP servers (RFC 3501 §5.1.3)."""

from __future__ import annotations

import base64
import binascii
import re

_SHIFTED = re.compile(r"&([A-Za-z0-9+,]*)-")


def decode_mutf7(name: str) -> str:
    """Return the name in Unicode; one that is not in this encoding is unchanged."""
    if "&" not in name or not name.isascii() or name.count("&") != len(_SHIFTED.findall(name)):
        return name
    try:
        return _SHIFTED.sub(lambda found: _shifted(found[1]), name)
    except (binascii.Error, UnicodeDecodeError):
        return name


def _shifted(text: str) -> str:
    if not text:
        return "&"
    data = base64.b64decode(text.replace(",", "/") + "=" * (-len(text) % 4), validate=True)
    return data.decode("utf-16-be")
