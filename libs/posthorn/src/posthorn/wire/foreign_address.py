"""Foreign addresses: reverse-paths and recipients elsewhere, which are passed on as written.

Rules:

- An address valid by the grammar of ``wire.address`` is parsed by it, so that it has one canonical
  form everywhere.
- Anything else is accepted if it is unambiguous in a command: printable, no blanks and no ``<`` or
  ``>`` outside quotes, one ``@``, and a domain of labels of letters, digits, ``-`` and ``_``. RFC
  5321 §4.5.3.1 gives minimum limits, so only the path as a whole is limited.
- Nothing is quoted, unquoted or corrected: only the address's own host can judge it.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

from posthorn.wire.address import (
    MAX_DOMAIN_OCTETS,
    MAX_PATH_OCTETS,
    Address,
    AddressError,
    canonical_domain,
    parse_address,
)

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_LOCAL = re.compile(r'(?:"(?:[^"\\]|\\[\x20-\x7e])*+"|[^\s"<>@])++\Z')
_LABEL = re.compile(r"[a-z0-9_-]{1,63}\Z")


@dataclass(frozen=True, slots=True)
class ForeignAddress(Address):
    """An address outside our grammar. ``local`` keeps its quotes, if any, and is in NFC and
    lower case."""

    def __str__(self) -> str:
        return f"{self.local}@{self.domain}" if self.domain else self.local


def parse_foreign(text: str) -> Address:
    """Parse an address that may be another host's. Raises AddressError.

    The result is equal for spellings that differ only in case. It is an Address when it is valid by
    our own grammar.
    """
    try:
        return parse_address(text)
    except AddressError as error:
        refusal = error
    local, at, domain = text.rpartition("@")
    if not (at and local_is_plain(local)) or len(text.encode("utf-8", "replace")) > MAX_PATH_OCTETS:
        raise refusal
    return ForeignAddress(_fold(local), foreign_domain(domain))


def parse_sender(text: str) -> Address:
    """Parse a reverse-path that is not null. One without a domain, as scripts write it (``root``),
    has an empty domain.

    Raises AddressError.
    """
    if "@" not in text and local_is_plain(text) and len(text.encode()) <= MAX_PATH_OCTETS:
        return ForeignAddress(_fold(text), "")
    return parse_foreign(text)


def canonical(text: str) -> str:
    """Return the form of an address for comparison; for anything else, the text in lower case."""
    return _canonical(text) if len(text) <= MAX_PATH_OCTETS else _compared(text)


def _compared(text: str) -> str:
    try:
        return str(parse_sender(text))
    except AddressError:
        return text.lower()


_canonical = lru_cache(maxsize=2048)(_compared)  # of the same few addresses, many times


def written_form(text: str, address: Address) -> str:
    """Return the address with its local part as written in ``text``, from which it was parsed,
    and its domain canonical."""
    return f"{text.rpartition('@')[0]}@{address.domain}" if address.domain else text


def foreign_domain(text: str) -> str:
    """Return a foreign domain in canonical form; its labels may contain underscores. Raises
    AddressError."""
    try:
        return canonical_domain(text)
    except AddressError:
        if _CONTROL.search(text) or len(text) > MAX_DOMAIN_OCTETS:
            raise
        domain = ".".join(map(_label, _fold(text.removesuffix(".")).split(".")))
        if len(domain) > MAX_DOMAIN_OCTETS or not all(map(_LABEL.match, domain.split("."))):
            raise
        return domain


def local_is_plain(local: str) -> bool:
    """Return whether a local part needs no quotes."""
    return not _CONTROL.search(local) and _LOCAL.match(local) is not None


def _label(label: str) -> str:
    if label.isascii():
        return label
    try:
        return canonical_domain(label)
    except AddressError:
        return "xn--" + label.encode("punycode").decode("ascii")


def _fold(text: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).lower())
