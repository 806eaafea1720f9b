"""Header fields made from text: display names, address lists and unstructured fields (RFC 5322 §2.2
and §3.4, RFC 2047).

Rules:

- A display name is an atom sequence, a quoted-string on one line, or encoded words. It is never
  folded inside a quoted-string, so that no fold can take its quotes off and turn a part of the name
  into another address.
- What is not ASCII, too long for a line, or looks like an encoded word itself becomes encoded words
  (UTF-8, base64).
- Fields are folded between mailboxes and at white space only. No line is longer than
  ``LONGEST_LINE_BYTES``.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Sequence

LINE_BYTES = 78
"""The length of a line that should not be exceeded, without its CRLF (RFC 5322 §2.1.1)."""
LONGEST_LINE_BYTES = 998
"""The length of a line that must not be exceeded, without its CRLF (RFC 5322 §2.1.1)."""
_WORD_BYTES = 45
"""Bytes of text in an encoded word of at most 75 characters (RFC 2047 §2)."""
_LONGEST_QUOTED = 60
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?: [A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*\Z")


class WordTooLongError(ValueError):
    """A word without white space is longer than a line may be."""


def address_field(name: str, mailboxes: Sequence[tuple[str, str]]) -> str:
    """Return an address field with CRLF line ends, from pairs of display name (may be empty) and
    addr-spec."""
    lines = [f"{name}:"]
    for place, (display, address) in enumerate(mailboxes):
        *before, last = _mailbox(display, address)
        for piece in (*before, last + ("," if place < len(mailboxes) - 1 else "")):
            if len(lines[-1].encode()) + 1 + len(piece.encode()) > LINE_BYTES and lines[-1].strip():
                lines.append("")
            lines[-1] += f" {piece}"
    return "".join(f"{line}\r\n" for line in lines)


def text_field(name: str, value: str, *, utf8: bool = False) -> str:
    """Return an unstructured field with CRLF line ends (RFC 5322 §3.2.5): ASCII as it is, other
    text as encoded words.

    With ``utf8`` other text stays as it is too (RFC 6532 §3.2). Raises WordTooLongError for a word
    of more than a line.
    """
    lines = [f"{name}:"]
    for word in _words(value) if utf8 or value.isascii() else _encoded_words(value):
        if len(lines[-1].encode()) + 1 + len(word.encode()) > LINE_BYTES and lines[-1].strip():
            lines.append("")
        lines[-1] += f" {word}"
    if any(len(line.encode()) > LONGEST_LINE_BYTES for line in lines):
        raise WordTooLongError(f"a word is longer than a line can be ({LONGEST_LINE_BYTES} bytes)")
    return "".join(f"{line}\r\n" for line in lines)


def _words(text: str) -> list[str]:
    return [word for word in re.split("[ \t]+", text) if word]


def _mailbox(display: str, address: str) -> tuple[str, ...]:
    """Return the pieces of a mailbox between which a line may be folded."""
    display = " ".join(_words(display))
    if not display:
        return (address,)
    angled = f"<{address}>"
    if not display.isascii() or "=?" in display or len(display) > _LONGEST_QUOTED:
        return (*_encoded_words(display), angled)
    if _ATOMS.match(display):
        return (display, angled)
    quoted = re.sub(r'(["\\])', r"\\\1", display)
    return (f'"{quoted}"', angled)


def _encoded_words(text: str) -> Iterator[str]:
    """Return encoded words of whole characters; white space between them is not shown (RFC 2047
    §6.2)."""
    piece = b""
    for character in text:
        encoded = character.encode("utf-8", "replace")
        if len(piece) + len(encoded) > _WORD_BYTES:
            yield _encoded_word(piece)
            piece = b""
        piece += encoded
    if piece:
        yield _encoded_word(piece)


def _encoded_word(piece: bytes) -> str:
    return f"=?utf-8?b?{base64.b64encode(piece).decode()}?="
