"""IMAP keywords in an archive (RFC 9051 §2.3.2)."""

from __future__ import annotations

from posthorn.wire.imap.reader import ATOM, LONGEST_KEYWORD_BYTES

MOST_KEYWORDS = 64
"""Most keywords of a message that are read."""


def keywords_of(text: str) -> tuple[str, ...]:
    """Return the keywords in a text, separated by spaces: each once, in whichever case comes
    first. What is no keyword is left out."""
    found: dict[str, str] = {}
    for word in text.split():
        octets = word.encode("utf-8", "replace")
        if len(octets) <= LONGEST_KEYWORD_BYTES and ATOM.fullmatch(octets):
            found.setdefault(word.lower(), word)
        if len(found) == MOST_KEYWORDS:
            break
    return tuple(found.values())
