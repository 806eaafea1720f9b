"""Flags as IMAP names them and as the store keeps them (RFC 9051 §2.3.2)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

from posthorn.ports.mailbox_view import ANSWERED, DELETED, DRAFT, FLAGGED, SEEN
from posthorn.wire.imap import fetch_replies

SYSTEM_FLAGS = {
    "\\Answered": ANSWERED,
    "\\Flagged": FLAGGED,
    "\\Deleted": DELETED,
    "\\Seen": SEEN,
    "\\Draft": DRAFT,
}
"""Names to bits."""
_BITS = {name.lower(): bit for name, bit in SYSTEM_FLAGS.items()}
ALWAYS_SHOWN = ("$Forwarded", "$MDNSent", "$Junk", "$NotJunk", "$Phishing")
"""Keywords that every mailbox says it knows: Thunderbird uses ``$Junk`` only if it stands in
FLAGS."""


@lru_cache(maxsize=64)
def _names(flags: int) -> tuple[str, ...]:
    return tuple(name for name, bit in SYSTEM_FLAGS.items() if flags & bit)


def flag_names(flags: int, keywords: Sequence[str]) -> Sequence[str]:
    """Return the names of a message's flags."""
    return (*_names(flags), *keywords) if keywords else _names(flags)


def flags_form(flags: int, keywords: tuple[str, ...]) -> bytes:
    """Return FLAGS of a message, as FETCH tells it."""
    return (_kept_form if len(keywords) <= _KEPT_KEYWORDS else _form)(flags, keywords)


def _form(flags: int, keywords: tuple[str, ...]) -> bytes:
    return fetch_replies.flags_item(flag_names(flags, keywords))


_KEPT_KEYWORDS = 8  # a client may give each message others, and many
_kept_form = lru_cache(maxsize=4096)(_form)


def permanent_flags(keywords: Iterable[str]) -> list[str]:
    """Return the flags that messages of a mailbox may have."""
    known = {keyword.lower() for keyword in ALWAYS_SHOWN}
    mine = [keyword for keyword in keywords if keyword.lower() not in known]
    return [*SYSTEM_FLAGS, *ALWAYS_SHOWN, *mine]


def split_flags(names: Iterable[str]) -> tuple[int, list[str]]:
    """Return bits and keywords of names as a client wrote them; ``\\Recent`` and system flags that
    do not exist are left out (RFC 9051 §2.3.2)."""
    bits, keywords = 0, []
    for name in names:
        if name.startswith("\\"):
            bits |= _BITS.get(name.lower(), 0)
        else:
            keywords.append(name)
    return bits, keywords
