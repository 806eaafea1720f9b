"""Rules on display names: who poses as somebody here."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache

from posthorn.wire.spam.rule import Case, Rule

_ADDRESS = re.compile(r"[\w.+-]{1,64}@([\w-]{1,63}(?:\.[\w-]{1,63}){1,8})")
_LEAST_CHARACTERS = 6  # of a domain, for another one to look like it
_BETWEEN = re.compile(r"[._-]")  # words of a local part
_KEPT_DOMAINS = 2000
_SPACES = re.compile(r"[\s\u200b-\u200f\u2060\ufeff]+")
# letters of other scripts that look like Latin ones, small and capital
_LOOKALIKES = str.maketrans(
    "аеорсухіјѕһԁԛԝɡⅼοανρτικΑΒΕΖΗΙΚΜΝΟΡΤΥΧАВЕКМНОРСТХІЈЅ",
    "aeopcyxijshdqwgloavptikabezhikmnoptyxabekmhopctxijs",
)


def folded_name(text: str) -> str:
    """Return a display name as people read it: without case, spaces that cannot be seen, and the
    difference between letters that look alike."""
    text = unicodedata.normalize("NFKC", text[:300]).translate(_LOOKALIKES)
    return _SPACES.sub(" ", text.casefold()).strip(" \"'.,")


def names_of(addresses: Iterable[str]) -> dict[str, str]:
    """Return display names of canonical addresses that spell one, as ``bob.boss`` does, folded, and
    the addresses."""
    found: dict[str, str] = {}
    for address in addresses:
        words = _BETWEEN.split(address.rpartition("@")[0].partition("+")[0])
        if len(words) > 1 and all(len(word) > 1 and word.isalpha() for word in words):
            found.setdefault(folded_name(" ".join(words)), address)
    return found


def _is_ours(case: Case) -> bool:
    """Whether the author is really one of ours, or authentication shows that it is not a pose."""
    return case.facts.author.domain in case.own_domains


def _poses_as_account(case: Case) -> str | None:
    if not case.own_names or _is_ours(case):
        return None
    name = folded_name(case.facts.author.name)
    if not name:
        return None
    account = case.own_names.get(name.replace(".", " "))
    if account is None or account == case.facts.author.address:
        return None
    return f"{case.facts.author.name} is {account}"


def _poses_as_address(case: Case) -> str | None:
    """The name holds an address of a domain of ours, the address is of another."""
    if _is_ours(case):
        return None
    name = case.facts.author.name[:300]
    if name.isascii() and "@" not in name:
        return None
    for text in (name.lower(), folded_name(name)):
        for found in _ADDRESS.finditer(text):
            if found[1] in case.own_domains:
                return found[0]
    return None


def _poses_as_domain(case: Case) -> str | None:
    """The author's domain is one of ours but for letters that look alike, or for a domain of
    somebody else behind it."""
    domain = case.facts.author.domain
    if not domain or domain in case.own_domains:
        return None
    plain = _readable(domain)
    labels = domain.split(".")
    before = (".".join(labels[:count]) for count in range(2, len(labels) - 1))
    for ours in (plain, *before):
        if len(ours) >= _LEAST_CHARACTERS and ours in case.own_domains:
            return f"{domain} for {ours}"
    return None


def _name_is_address(case: Case) -> str | None:
    """The display name is an address of a domain that is neither the author's nor near it."""
    author = case.facts.author
    found = _ADDRESS.search(author.name[:300].lower()) if "@" in author.name else None
    if found is None or not author.domain or found[1] in case.own_domains:
        return None
    mine, theirs = (each.rsplit(".", 2)[-2:] for each in (author.domain, found[1]))
    return None if mine == theirs else found[0]


@lru_cache(_KEPT_DOMAINS)
def _readable(domain: str) -> str:
    """Return a domain as a person reads it: A-labels decoded, lookalikes as Latin letters."""
    labels = []
    for label in domain.split("."):
        text = label
        if label.startswith("xn--"):
            with suppress(UnicodeError, OverflowError, ValueError):
                text = label[4:].encode().decode("punycode")
        if not text.isascii():
            text = unicodedata.normalize("NFKD", text.translate(_LOOKALIKES))
            text = "".join(each for each in text if not unicodedata.combining(each))
        labels.append(
            text.replace("0", "o").replace("1", "l").replace("rn", "m").replace("vv", "w")
        )
    return ".".join(labels)


RULES = (
    Rule(
        "NAME_OF_ACCOUNT",
        2.5,  # people write to themselves from elsewhere
        "The display name is that of a recipient, as its address spells it; the address is not.",
        _poses_as_account,
    ),
    Rule(
        "NAME_WITH_OUR_ADDRESS",
        3.5,  # lists and services for documents write "bob@ours via …" too
        "The display name holds an address of a domain of ours, the author's is of another.",
        _poses_as_address,
    ),
    Rule("DOMAIN_LIKE_OURS", 4.5, "The author's domain looks like one of ours.", _poses_as_domain),
    Rule(
        "NAME_WITH_ADDRESS",
        1.5,
        "The display name holds an address of another domain than the author's.",
        _name_is_address,
        is_shape=True,
    ),
)
