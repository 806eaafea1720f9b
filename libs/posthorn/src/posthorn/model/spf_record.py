"""SPF records judged without a message: the senders they permit, and the lookups they need (RFC
7208). Their syntax is in ``wire.auth.spf_record``.

Rules:

- ``include``, ``a``, ``mx``, ``ptr``, ``exists`` and ``redirect`` need a lookup each, those of
  included records too; more than ten make the record invalid (§4.6.4). Here all are counted, as if
  every one were reached.
- Terms that depend on the message (macros, §7; ``ptr``; ``exists``) are taken here to permit no
  sender.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network

from posthorn.model.dns_answers import Answers, Question
from posthorn.wire.auth.spf_macros import MacroString, SpfError
from posthorn.wire.auth.spf_record import (
    MOST_LOOKUPS,
    Network,
    SpfRecord,
    Term,
    parse_spf,
    spf_records,
)

_COSTLY = frozenset({"include", "a", "mx", "ptr", "exists"})
_MOST_HOSTS = 10  # of an mx (§4.6.4)


@dataclass(frozen=True, slots=True)
class Survey:
    """Totals of a record with all that it includes."""

    lookups: int
    includes: frozenset[str]


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
                target = _target(term, name)
                if target is None:
                    continue
                if term.name == "include":
                    following.append(target)
                    includes.add(target)
                elif term.name == "mx":
                    hosts.append((target, "MX"))
                elif term.name == "a":
                    hosts += [(target, "A"), (target, "AAAA")]
            if record.redirect is not None and record.rest is None:
                count += 1
                target = _named(record.redirect)
                if target is not None:
                    following.append(target)
                    includes.add(target)
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
        host = _target(term, domain)
        if host is not None and _hits(term, host, source, answers, depth):
            return term.qualifier
    redirect = None if record.redirect is None else _named(record.redirect)
    if redirect is not None and record.rest is None:
        return allows(redirect, source, answers, depth + 1)
    return "?"


def _hits(term: Term, host: str, source: Network, answers: Answers, depth: int) -> bool:
    match term.name:
        case "all":
            return True
        case "ip4" | "ip6":
            return _holds(term.network, source)
        case "include":
            return allows(host, source, answers, depth + 1) == "+"
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


def _record_at(domain: str, answers: Answers) -> SpfRecord:
    found = spf_records(answers.get(domain, "TXT"))
    if len(found) != 1:
        raise SpfError(f"{domain} has {'no SPF record' if not found else 'several SPF records'}")
    try:
        return parse_spf(found[0])
    except SpfError as error:
        raise SpfError(f"the SPF record of {domain} is not valid: {error}") from None


def _target(term: Term, domain: str) -> str | None:
    """Return the domain of a term; None if it depends on the message."""
    return domain if term.domain is None else _named(term.domain)


def _named(string: MacroString) -> str | None:
    literal = string.literal
    return None if literal is None else literal.lower().removesuffix(".")
