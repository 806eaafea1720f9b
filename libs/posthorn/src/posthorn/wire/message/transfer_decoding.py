"""Decoding of Content-Transfer-Encodings (RFC 2045 §6), piece by piece, for content larger than
memory.

Rules: nothing fails. Bytes that are not base64 are ignored, padding may be in the middle, ``=``
before an invalid code stays; an unknown encoding is treated as none. The state between pieces is
bounded.
"""

from __future__ import annotations

import binascii
from typing import Protocol

_NO_BASE64 = bytes(
    octet for octet in range(256) if not (octet < 128 and (chr(octet).isalnum() or octet in b"+/="))
)
_LONGEST_LINE = 64 * 1024


class TransferDecoder(Protocol):
    """Decodes one encoding."""

    def feed(self, data: bytes) -> bytes:
        """Return the bytes decoded so far."""
        ...

    def finish(self) -> bytes:
        """Return the rest."""
        ...


def transfer_decoder(encoding: str) -> TransferDecoder:
    """Return a decoder of an encoding, named in lower case."""
    if encoding == "base64":
        return _Base64()
    if encoding == "quoted-printable":
        return _QuotedPrintable()
    return _Identity()


class _Identity:
    def feed(self, data: bytes) -> bytes:
        return data

    def finish(self) -> bytes:
        return b""


class _Base64:
    def __init__(self) -> None:
        self._left = b""

    def feed(self, data: bytes) -> bytes:
        *ended, last = (self._left + data.translate(None, _NO_BASE64)).split(b"=")
        whole = [_padded(text) for text in ended if text]
        cut = len(last) // 4 * 4
        self._left = last[cut:]
        return b"".join(whole) + binascii.a2b_base64(last[:cut])

    def finish(self) -> bytes:
        left, self._left = self._left, b""
        return _padded(left)


def _padded(text: bytes) -> bytes:
    if len(text) % 4 == 1:  # six bits are not a byte
        text = text[:-1]
    return binascii.a2b_base64(text + b"=" * (-len(text) % 4))


class _QuotedPrintable:
    def __init__(self) -> None:
        self._left = b""

    def feed(self, data: bytes) -> bytes:
        text = self._left + data
        cut = text.rfind(b"\n") + 1
        if not cut and len(text) > _LONGEST_LINE:
            cut = len(text.rstrip(b" \t\r"))
            last = text.rfind(b"=", max(0, cut - 2), cut)
            cut = last if last >= 0 else cut
            cut = cut or len(text) - 4  # nothing but blanks
        self._left = text[cut:]
        return _unquoted(text[:cut])

    def finish(self) -> bytes:
        left, self._left = self._left, b""
        return _unquoted(left)


def _unquoted(text: bytes) -> bytes:
    """Decode whole lines; trailing blanks are ignored (RFC 2045 §6.7, rule 3)."""
    if b" \r" not in text and b"\t\r" not in text:
        return binascii.a2b_qp(text)
    lines = b"\n".join(
        line[:-1].rstrip(b" \t") + b"\r" if line.endswith(b"\r") else line
        for line in text.split(b"\n")
    )
    return binascii.a2b_qp(lines)
