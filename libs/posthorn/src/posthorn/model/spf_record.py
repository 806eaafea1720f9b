"""SPF records: parsing, the senders they permit, and the lookups they need (RFC 7208).

Rules:

- A domain has one record (§4.5). An invalid term makes the whole record invalid (§4.6).
- ``include``, ``a``, ``mx``, ``ptr``, ``exists`` and ``redirect`` need a lookup each, those of
  included records too; more than ten make the record invalid (§4.6.4). Here all are counted, as if
  every one were reached.
- Terms that depend on the message (macros, §7; ``ptr``; ``exists``) are taken here to permit no
  sender.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network

from posthorn.model.dns_answers import Answers, Question

MOST_LOOKUPS = 10
"""RFC 7208 §4.6.4."""

type Network = IPv4Network | IPv6Network

_VERSION = re.compile(r"v=spf1(?: |\Z)", re.IGNORECASE)
_WORD = re.compile(r"([+?~-]?)([A-Za-z][A-Za-z0-9_.-]*)(.*)\Z")
_HOSTS = re.compile(r"(?::([^/]+))?(?:/([0-9]{1,3}))?(?://([0-9]{1,3}))?\Z")
_COSTLY = frozenset({"include", "a", "mx", "ptr", "exists"})
_MOST_HOSTS = 10  # of an mx (§4.6.4)


class SpfError(ValueError):
    """The record, or one that it refers to, is invalid; the text says why."""


@dataclass(frozen=True, slots=True)
class Term:
    """A mechanism (RFC 7208 §5)."""

    qualifier: str
    """``+``, ``-``, ``~`` or ``?``."""
    name: str
    domain: str = ""
    """Empty: the current domain."""
    network: Network | None = None
    prefixes: tuple[int, int] = (32, 128)
    """Of the hosts that ``a`` and ``mx`` name, for IPv4 and IPv6."""

    @property
    def is_plain(self) -> bool:
        """Whether it is independent of the message."""
        return "%" not in self.domain


@dataclass(frozen=True, slots=True)
class Spf:
    """A valid record."""

    terms: tuple[Term, ...]
    redirect: str | None

    @property
    def rest(self) -> str | None:
        """The qualifier of ``all``, for all other senders; None without ``all``."""
        return next((term.qualifier for term in self.terms if term.name == "all"), None)


@dataclass(frozen=True, slots=True)
class Survey:
    """Totals of a record with all that it includes."""

    lookups: int
    includes: frozenset[str]


def spf_records(texts: Sequence[str]) -> list[str]:
    """Return those of the TXT records that are SPF records."""
    return [text for text in texts if _VERSION.match(text)]


def parse_spf(text: str) -> Spf:
    """Parse a record. Raises SpfError."""
    terms: list[Term] = []
    redirect = None
    for word in text.split(" ")[1:]:
        if not word:
            continue
        parsed = _WORD.match(word)
        if parsed is None:
            raise SpfError(f"`{word}` is no term of SPF")
        qualifier, name, rest = parsed[1], parsed[2].lower(), parsed[3]
        if rest.startswith("=") and not qualifier:
            if name == "redirect":
                if redirect is not None or rest == "=":
                    raise SpfError("redirect stands twice, or leads nowhere")
                redirect = _named(rest[1:])
        else:
            terms.append(_term(word, qualifier or "+", name, rest))
    return Spf(tuple(terms), redirect)


def merged(texts: Sequence[str], mechanisms: Sequence[str]) -> str:
    """Return one SPF record that combines all of these and permits the mechanisms as well;
    ``texts`` may be empty."""
    words = list(dict.fromkeys(word for text in texts for word in text.split(" ")[1:] if word))
    lowered = {word.lower().removeprefix("+") for word in words}
    ends = [word for word in words if word.lower().lstrip("+?~-") == "all"]
    redirects = [word for word in words if word.lower().startswith("redirect=")]
    front = [word for word in words if word not in ends and word not in redirects]
    front += [mechanism for mechanism in mechanisms if mechanism.lower() not in lowered]
    strict = [word for word in ends if word[0] in "-~?"]
    if len(texts) > 1 or not redirects:
        last = (strict if len(set(strict)) == 1 else None) or ["~all"]
        if len(texts) > 1:  # a redirect counts only where there is no all
            front += [f"include:{word.partition('=')[2]}" for word in redirects]
    else:
        last = strict[:1] + redirects[:1]
    return " ".join(["v=spf1", *front, *last])


def survey(domain: str, answers: Answers) -> Survey:
    """Count the lookups. Stops soon after there are too many. Raises SpfError, Wanted,
    Unanswered."""
    count, includes, level = 0, set[str](), [domain]
    hosts: list[Question] = []
    while level and count <= MOST_LOOKUPS:
        answers.need(*((name, "TXT") for name in level))
        following: list[str] = []
        for name in level:
            record = _record_at(name, answers)
            for term in record.terms:
                count += term.name in _COSTLY
                if not term.is_plain:
                    continue
                if term.name == "include":
                    following.append(term.domain)
                    includes.add(term.domain)
                elif term.name in ("a", "mx"):
                    host = term.domain or name
                    hosts += [(host, "MX")] if term.name == "mx" else [(host, "A"), (host, "AAAA")]
            if record.redirect is not None and record.rest is None:
                count += 1
                if "%" not in record.redirect:
                    following.append(record.redirect)
                    includes.add(record.redirect)
        level = following
    if count <= MOST_LOOKUPS:
        answers.need(*hosts)
    return Survey(count, frozenset(includes))


def allows(domain: str, source: Network, answers: Answers, depth: int = 0) -> str:
    """Return the qualifier of a domain's record for a source: ``+`` permits it. Call it only
    after ``survey`` has found at most ten lookups. Raises SpfError, Wanted, Unanswered."""
    if depth > MOST_LOOKUPS:
        raise SpfError(f"the records of {domain} include one another without end")
    record = _record_at(domain, answers)
    for term in record.terms:
        if term.is_plain and _hits(term, domain, source, answers, depth):
            return term.qualifier
    if record.redirect is not None and record.rest is None and "%" not in record.redirect:
        return allows(record.redirect, source, answers, depth + 1)
    return "?"


def _hits(term: Term, domain: str, source: Network, answers: Answers, depth: int) -> bool:
    host = term.domain or domain
    match term.name:
        case "all":
            return True
        case "ip4" | "ip6":
            return _holds(term.network, source)
        case "include":
            return allows(term.domain, source, answers, depth + 1) == "+"
        case "a":
            return _is_of(host, term, source, answers)
        case "mx":
            hosts = [value.partition(" ")[2] for value in answers.get(host, "MX")][:_MOST_HOSTS]
            answers.need(*((each, kind) for each in hosts if each != "." for kind in ("A", "AAAA")))
            return any(_is_of(each, term, source, answers) for each in hosts if each != ".")
    return False


def _is_of(host: str, term: Term, source: Network, answers: Answers) -> bool:
    prefix = term.prefixes[source.version == 6]
    found = answers.get(host, "A" if source.version == 4 else "AAAA")
    return any(_holds(ip_network(f"{address}/{prefix}", strict=False), source) for address in found)


def _holds(network: Network | None, source: Network) -> bool:
    if isinstance(network, IPv4Network) and isinstance(source, IPv4Network):
        return source.subnet_of(network)
    return (
        isinstance(network, IPv6Network)
        and isinstance(source, IPv6Network)
        and source.subnet_of(network)
    )


def _record_at(domain: str, answers: Answers) -> Spf:
    found = spf_records(answers.get(domain, "TXT"))
    if len(found) != 1:
        raise SpfError(f"{domain} has {'no SPF record' if not found else 'several SPF records'}")
    try:
        return parse_spf(found[0])
    except SpfError as error:
        raise SpfError(f"the SPF record of {domain} does not read: {error}") from None


def _term(word: str, qualifier: str, name: str, rest: str) -> Term:
    match name:
        case "all" if not rest:
            return Term(qualifier, name)
        case "include" | "exists" if rest.startswith(":") and len(rest) > 1:
            return Term(qualifier, name, _named(rest[1:]))
        case "ip4" | "ip6" if rest.startswith(":"):
            try:
                network = ip_network(rest[1:], strict=False)
            except ValueError:
                raise SpfError(f"`{word}` names no address") from None
            if f"ip{network.version}" == name:
                return Term(qualifier, name, network=network)
        case "a" | "mx" | "ptr":
            parsed = _HOSTS.match(rest)
            if parsed is not None:
                prefixes = int(parsed[2] or 32), int(parsed[3] or 128)
                if prefixes[0] <= 32 and prefixes[1] <= 128:
                    return Term(qualifier, name, _named(parsed[1] or ""), prefixes=prefixes)
    raise SpfError(f"`{word}` is no term of SPF")


def _named(domain: str) -> str:
    return domain.lower().removesuffix(".")
