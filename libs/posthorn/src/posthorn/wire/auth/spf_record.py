"""SPF records and their terms, parsed (RFC 7208 §4.5, §4.6, §5, §6 and §12).

Rules:

- A record is ``v=spf1``, in any case, followed by a space or nothing (§4.5).
- An invalid term anywhere makes the whole record invalid (§4.6).
- A modifier that is not known is ignored, if its syntax is right (§6).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network

from posthorn.wire.auth.spf_macros import MacroString, SpfError, parse_domain_spec, parse_macros

MOST_LOOKUPS = 10
"""Terms that ask DNS, of a record with all that it refers to (RFC 7208 §4.6.4)."""
MOST_RECORD_BYTES = 8192
"""A longer record is invalid; §3.4 recommends at most 450."""
_MOST_KEPT_BYTES = 1024  # so that strangers' records cannot fill the memory

type Network = IPv4Network | IPv6Network

_VERSION = re.compile(r"v=spf1(?: |\Z)", re.IGNORECASE)
_MODIFIER = re.compile(r"([A-Za-z][A-Za-z0-9_.-]*)=(.*)\Z", re.DOTALL)
_MECHANISM = re.compile(r"([+?~-]?)([A-Za-z][A-Za-z0-9]*)((?:[:/].*)?)\Z", re.DOTALL)
_HOSTS = re.compile(r"(?::(.+?))?(?:/(0|[1-9][0-9]?))?(?://(0|[1-9][0-9]{0,2}))?\Z", re.DOTALL)
_IP4 = re.compile(r":([0-9.]+)(?:/(0|[1-9][0-9]?))?\Z")
_IP6 = re.compile(r":([0-9A-Fa-f:.]+)(?:/(0|[1-9][0-9]{0,2}))?\Z")


@dataclass(frozen=True, slots=True)
class Term:
    """A mechanism (RFC 7208 §5)."""

    qualifier: str
    """``+``, ``-``, ``~`` or ``?``."""
    name: str
    """In lower case."""
    domain: MacroString | None = None
    """None: the current domain."""
    network: Network | None = None
    prefixes: tuple[int, int] = (32, 128)
    """Of the hosts that ``a`` and ``mx`` name, for IPv4 and IPv6."""
    text: str = ""
    """As written."""


@dataclass(frozen=True, slots=True)
class SpfRecord:
    """A valid record."""

    terms: tuple[Term, ...]
    redirect: MacroString | None = None
    explanation: MacroString | None = None
    """The name of the text of an explanation (§6.2)."""

    @property
    def rest(self) -> str | None:
        """The qualifier of ``all``, for all other senders; None without ``all``."""
        return next((term.qualifier for term in self.terms if term.name == "all"), None)


def spf_records(texts: Sequence[str]) -> list[str]:
    """Return those of the TXT records that are SPF records."""
    return [text for text in texts if _VERSION.match(text)]


def parse_spf(text: str) -> SpfRecord:
    """Parse a record. Raises SpfError."""
    if len(text) > MOST_RECORD_BYTES:
        raise SpfError("the record is too long")
    terms: list[Term] = []
    modifiers: dict[str, MacroString] = {}
    for word in text.split(" ")[1:]:
        if not word:
            continue
        try:
            if (modifier := _MODIFIER.match(word)) is not None:
                _modify(modifiers, modifier[1].lower(), modifier[2])
            elif (mechanism := _MECHANISM.match(word)) is not None:
                qualifier, name, rest = mechanism.groups()
                terms.append(_term(word, qualifier or "+", name.lower(), rest))
            else:
                raise SpfError("it is neither a mechanism nor a modifier")
        except SpfError as error:
            raise SpfError(f"`{_shown(word)}` is not a valid term: {error}") from None
    return SpfRecord(tuple(terms), modifiers.get("redirect"), modifiers.get("exp"))


def parsed(record: bytes) -> SpfRecord:
    """Return a TXT record parsed; short records that are often used are kept. Raises SpfError."""
    return (_kept if len(record) <= _MOST_KEPT_BYTES else _parsed)(record)


def _parsed(record: bytes) -> SpfRecord:
    if not record.isascii():
        raise SpfError("the record contains a byte that is not ASCII")
    return parse_spf(record.decode("ascii"))


_kept = lru_cache(maxsize=512)(_parsed)


def _modify(modifiers: dict[str, MacroString], name: str, value: str) -> None:
    if name not in ("redirect", "exp"):
        parse_macros(value)
    elif name in modifiers:
        raise SpfError(f"there are several {name}=")
    else:
        modifiers[name] = parse_domain_spec(value)


def _term(word: str, qualifier: str, name: str, rest: str) -> Term:
    match name:
        case "all" if not rest:
            return Term(qualifier, name, text=word)
        case "include" | "exists" if rest.startswith(":"):
            return Term(qualifier, name, parse_domain_spec(rest[1:]), text=word)
        case "ptr" if not rest or rest.startswith(":"):
            domain = parse_domain_spec(rest[1:]) if rest else None
            return Term(qualifier, name, domain, text=word)
        case "ip4" | "ip6":
            found = (_IP4 if name == "ip4" else _IP6).match(rest)
            try:
                if found is not None and (":" in found[1]) == (name == "ip6"):
                    network = ip_network("/".join(filter(None, found.groups())), strict=False)
                    return Term(qualifier, name, network=network, text=word)
            except ValueError:
                pass
            raise SpfError("it does not name an address or network")
        case "a" | "mx":
            hosts = _HOSTS.match(rest)
            if hosts is not None:
                prefixes = int(hosts[2] or 32), int(hosts[3] or 128)
                if prefixes[0] <= 32 and prefixes[1] <= 128:
                    domain = None if hosts[1] is None else parse_domain_spec(hosts[1])
                    return Term(qualifier, name, domain, prefixes=prefixes, text=word)
    raise SpfError("its name or argument is wrong")


def _shown(word: str) -> str:
    return "".join(each if " " < each <= "~" else "?" for each in word[:60])
