"""The domains of a message's author: those of the addresses in From (RFC 5322 §3.4, §3.6.2).

Rules:

- Senders choose the text, and mail programs show what they can make of it. So whatever can be
  understood as an address counts, also beside what cannot; a name in front of an address in angle
  brackets does not count, whatever it contains.
- Comments, quoted strings, groups and source routes are understood as RFC 5322 §4.4 has them. An
  address that stands inside an encoded word, as some programs write it, counts where there is no
  other; so does a name before angle brackets without an address.
- Full-width forms of ``@`` and of the dot are those characters, as IDNA has it (RFC 3490 §3.1).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache

from posthorn.wire.address import AddressError
from posthorn.wire.foreign_address import foreign_domain
from posthorn.wire.message.header_decoding import decode_text

MOST_DOMAINS = 20
"""Domains that are returned."""

_FROM = re.compile(rb"\n[fF][rR][oO][mM][ \t]*:((?:[^\n]*\n[ \t])*[^\n]*)")
# one address, with or without a name that has no part in it: nearly every field
_USUAL = re.compile(
    r"""[ \t]*(?:"[^"\\()<>@\x00-\x08\x0a-\x1f\x7f-\U0010ffff]*\"[ \t]*"""
    r"""|[^"\\()<>@,;:\[\]\x00-\x08\x0a-\x1f\x7f-\U0010ffff]*)"""
    r"""<[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@([A-Za-z0-9_.-]+)>[ \t]*\Z"""
)
_WIDE = str.maketrans("\uff20\ufe6b\u3002\uff0e\uff61", "@@...")
_KEPT_FIELDS = 2000  # of authors seen lately
_LONGEST_KEPT_BYTES = 300
_READ_BYTES = 16 * 1024  # of all From fields together
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_COMMENT = re.compile(r"[^()\\]++|\\.?|[()]", re.DOTALL)
_TOKEN = re.compile(
    r'(?P<special>[<>,;:@])|(?P<other>\[[^\[\]\\]*+\]|[^<>,;:@("\[]++|.)', re.DOTALL
)

type _Tokens = list[tuple[str, str]]


def author_domains_of(header: bytes) -> list[str]:
    """Return the domains of the From fields, canonical, in their order; never raises.

    Within one field a domain is listed once; of several fields, one without a domain gives an empty
    entry. So DMARC is possible if there is exactly one entry, and two From fields give two, even if
    they have the same domain. An address literal is an entry too.
    """
    domains: list[str] = []
    fields = _FROM.findall(b"\n" + header)
    room = _READ_BYTES
    for field in fields:
        value = field[:room]
        room -= len(value)
        found = (_kept if len(value) <= _LONGEST_KEPT_BYTES else _of_field)(value)
        domains += found or ([""] if len(fields) > 1 else [])
        if len(domains) >= MOST_DOMAINS:
            return domains[:MOST_DOMAINS]
    return domains


def _of_field(value: bytes) -> tuple[str, ...]:
    text = re.sub(r"[\r\n\0]+", "", value.decode("utf-8", "replace")).translate(_WIDE)
    found = dict.fromkeys(_domains(text))
    if not found and "=?" in text:
        found = dict.fromkeys(_domains(decode_text(text).translate(_WIDE)))
    return tuple(found)


_kept = lru_cache(_KEPT_FIELDS)(_of_field)


def _domains(text: str) -> Iterator[str]:
    if usual := _USUAL.match(text):
        with suppress(AddressError):
            yield foreign_domain(usual[1])
            return
    for item in _items(text):
        found = [domain for tokens in _angled(item) for domain in _domains_in(tokens)]
        yield from found or _domains_in(item)


def _items(text: str) -> Iterator[_Tokens]:
    """Return the items of the list, of a group those within it; a comma or colon within angle
    brackets belongs to a route."""
    item: _Tokens = []
    is_angled = False
    for kind, word in _tokens(text):
        if kind == "special":
            if word in "<>":
                is_angled = word == "<"
            elif word == ";" or (word == "," and not is_angled):
                yield item
                item, is_angled = [], False
                continue
            elif word == ":" and not is_angled:
                item = []  # the name of a group
                continue
        item.append((kind, word))
    yield item


def _angled(item: _Tokens) -> Iterator[_Tokens]:
    inside: _Tokens | None = None
    for token in item:
        if token == ("special", "<"):
            inside = []
        elif token == ("special", ">"):
            if inside is not None:
                yield inside
            inside = None
        elif inside is not None:
            inside.append(token)
    if inside is not None:  # the bracket is not closed
        yield inside


def _domains_in(tokens: _Tokens) -> Iterator[str]:
    """Return the domain behind the last ``@``, and those behind others that a blank ends."""
    parts: list[list[str]] = []
    for kind, word in tokens:
        if kind == "special" and word == "@":
            parts.append([])
        elif parts:
            parts[-1].append(word)
    for index, part in enumerate(parts):
        words = " ".join("".join(part).split()).replace(" .", ".").replace(". ", ".").split(" ")
        if not words[0] or (len(words) == 1 and index + 1 < len(parts)):
            continue
        try:
            yield foreign_domain(words[0])
        except AddressError:
            continue


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    """Return kind and text of each token, without comments. A comment or string that does not end
    is none: what follows counts."""
    at = 0
    plain: set[str] = set()
    while at < len(text):
        start = text[at]
        if start in '("' and start not in plain:
            end = _comment_end(text, at) if start == "(" else _string_end(text, at)
            if end is None:
                plain.add(start)
            else:
                if start == '"':
                    yield "other", text[at:end]
                at = end
                continue
        found = _TOKEN.match(text, at)
        assert found is not None and found.lastgroup is not None, "every character is matched"
        at = found.end()
        yield found.lastgroup, found[0]


def _string_end(text: str, at: int) -> int | None:
    found = _QUOTED.match(text, at)
    return None if found is None else found.end()


def _comment_end(text: str, at: int) -> int | None:
    depth = 0
    while (found := _COMMENT.match(text, at)) is not None:
        at = found.end()
        depth += {"(": 1, ")": -1}.get(found[0], 0)
        if not depth:
            return at
    return None
