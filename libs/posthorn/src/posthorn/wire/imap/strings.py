"""Strings of replies: atom, quoted string or literal, by content (RFC 9051 §4.3, RFC 6855 §3).

Rules:

- Nothing that a message or a client wrote ends a line of a reply: control characters and what is
  not ASCII go into a literal. NUL, which no literal may hold, is left out.
- After the client enabled UTF-8, valid UTF-8 without controls is a quoted string.
"""

from __future__ import annotations

import re
from typing import Final

NIL: Final = b"NIL"
_LONGEST_QUOTED = 4096

_PLAIN = re.compile(rb"[\x20\x21\x23-\x5b\x5d-\x7e]*\Z")
_PRINTABLE = re.compile(rb"[\x20-\x7e]*\Z")
_ATOM = re.compile(rb"[^\x00-\x20\x7f-\xff(){%*\"\\\]]+\Z")
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_SPECIAL = re.compile(rb'(["\\])')
_UNSAFE = re.compile(r"[^\x20-\x7e]+")


def string(value: bytes, *, utf8: bool = False) -> bytes:
    """Return a string."""
    if len(value) <= _LONGEST_QUOTED:
        if _PLAIN.match(value):
            return b'"%s"' % value
        if _PRINTABLE.match(value) or (utf8 and _is_text(value)):
            return b'"%s"' % _SPECIAL.sub(rb"\\\1", value)
    value = value.replace(b"\0", b"")
    return b"{%d}\r\n%s" % (len(value), value)


def nstring(value: bytes | None, *, utf8: bool = False) -> bytes:
    """Return a string, or NIL."""
    return NIL if value is None else string(value, utf8=utf8)


def astring(value: bytes, *, utf8: bool = False) -> bytes:
    """Return an atom where that is possible, otherwise a string."""
    if _ATOM.match(value) and value.upper() != NIL and len(value) <= _LONGEST_QUOTED:
        return value
    return string(value, utf8=utf8)


def literal(octets: bytes) -> bytes:
    """Return the content of a message as a literal, every byte as it is."""
    return b"{%d}\r\n%s" % (len(octets), octets)


def binary(octets: bytes) -> bytes:
    """Return decoded content: a literal8 where it holds NUL (RFC 3516 §4.2)."""
    return (b"~" if b"\0" in octets else b"") + literal(octets)


def text(words: str) -> bytes:
    """Return the text of a reply for people, on one line and in ASCII."""
    return (_UNSAFE.sub("?", words).strip() or "-").encode()


def _is_text(value: bytes) -> bool:
    try:
        return not _CONTROLS.search(value.decode())
    except UnicodeDecodeError:
        return False
