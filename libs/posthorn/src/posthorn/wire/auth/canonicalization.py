"""Canonical forms of header fields and bodies (RFC 6376 §3.4), for signing and for verification.

Rules:

- Content is in canonical CRLF form; a lone CR or LF is a character like others. Content that does
  not end in CRLF is hashed as if it did, as it is transmitted (§3.4.3, §3.4.4).
- Empty lines at the end of a body do not count. An empty body is one CRLF in simple form, nothing
  in relaxed form.
"""

from __future__ import annotations

import hashlib
import re
from enum import StrEnum
from typing import NamedTuple

_FIELD_END = re.compile(rb"\r\n(?![ \t])")
_CRLFS = b"\r\n" * 4096


class Form(StrEnum):
    """A canonicalization, as named in ``c=``."""

    SIMPLE = "simple"
    RELAXED = "relaxed"


class Field(NamedTuple):
    """A header field."""

    name: bytes
    """In lower case."""
    raw: bytes
    """As it is, without its CRLF at the end."""
    value: bytes
    """What follows the colon, as it is."""


def header_fields(block: bytes) -> list[Field]:
    """Return the fields of a header block. Lines that are not fields are left out."""
    fields = []
    for raw in _FIELD_END.split(block):
        name, colon, value = raw.partition(b":")
        if colon:
            fields.append(Field(name.rstrip(b" \t").lower(), raw, value))
    return fields


def relaxed(value: bytes) -> bytes:
    """Return a field's value in relaxed form, without its CRLF (§3.4.2)."""
    return _reduced(value.replace(b"\r\n", b"")).strip(b" ")


def canonical_field(field: Field, form: Form) -> bytes:
    """Return a field in a canonical form, without its CRLF (§3.4.1, §3.4.2)."""
    if form is Form.SIMPLE:
        return field.raw
    return field.name + b":" + relaxed(field.value)


class BodyHash:
    """The SHA-256 of a body in a canonical form, from pieces cut anywhere."""

    def __init__(self, form: Form = Form.RELAXED) -> None:
        self._is_relaxed = form is Form.RELAXED
        self._hash = hashlib.sha256()
        self._open = b""  # white space and a CR whose meaning depends on the next piece
        self._line_ends = 0  # CRLFs that count only when something follows
        self._tail = b""  # the last two bytes seen
        self._filled = False  # whether there was anything but empty lines
        self._length = 0

    @property
    def length(self) -> int:
        """Bytes of the body in canonical form, once its digest was asked for."""
        return self._length

    def update(self, piece: bytes) -> None:
        """Add the next bytes of the body, without the blank line that ends the header."""
        if not piece:
            return
        if len(piece) > 1:
            self._tail = piece[-2:]
        else:
            self._tail = (self._tail + piece)[-2:]
        data = self._open + piece if self._open else piece
        if self._is_relaxed:
            cut = _open_end(data)
            self._open = _reduced(data[cut:])
            self._take(_reduced(data[:cut]).replace(b" \r\n", b"\r\n"))
        else:
            cut = len(data) - data.endswith(b"\r")
            self._open = data[cut:]
            self._take(data[:cut])

    def digest(self) -> bytes:
        """Return the 32 bytes. Nothing may be added afterwards."""
        if self._tail and self._tail != b"\r\n":
            self.update(b"\r\n")
        if self._filled or not self._is_relaxed:
            self._add(b"\r\n")
        return self._hash.digest()

    def _take(self, lines: bytes) -> None:
        if not lines:
            return
        content = lines.rstrip(b"\r\n")
        # of the CRs and LFs at the end, only whole pairs are line ends
        marked = lines[len(content) :].replace(b"\r\n", b"\0")
        odd = marked.rstrip(b"\0")
        if odd:
            content += odd.replace(b"\0", b"\r\n")
        if content:
            while self._line_ends:
                some = min(self._line_ends, 4096)
                self._add(_CRLFS[: 2 * some])
                self._line_ends -= some
            self._add(content)
            self._filled = True
        self._line_ends += len(marked) - len(odd)

    def _add(self, data: bytes) -> None:
        self._hash.update(data)
        self._length += len(data)


def _open_end(data: bytes) -> int:
    """Return the offset of the trailing white space, or white space and CR."""
    end = len(data) - data.endswith(b"\r")
    return len(data[:end].rstrip(b" \t"))


def _reduced(text: bytes) -> bytes:
    """Reduce each run of white space to one space. Most text has no runs, and a search is far
    cheaper than a substitution."""
    text = text.replace(b"\t", b" ")
    while b"  " in text:
        text = text.replace(b"  ", b" ")
    return text
