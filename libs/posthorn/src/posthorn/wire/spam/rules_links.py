"""Rules on links: where they say that they lead, and where they do."""

from __future__ import annotations

import ipaddress
import re

from posthorn.wire.auth.results import Outcome
from posthorn.wire.spam.rule import Case, Rule

_SHORTENERS = frozenset(
    [
        "bit.ly",
        "tinyurl.com",
        "goo.gl",
        "t.co",
        "ow.ly",
        "is.gd",
        "buff.ly",
        "cutt.ly",
        "rb.gy",
        "rebrand.ly",
        "shorturl.at",
        "tiny.cc",
        "v.gd",
        "t.ly",
        "s.id",
    ]
)
_REDIRECTED = re.compile(r"[?&=](?:https?%3a|https?:)(?:%2f|/){2}", re.IGNORECASE)
_CREDENTIALS = re.compile(r"https?://[^/?#\s]{1,200}@", re.IGNORECASE)


def _base(host: str) -> str:
    """Return the last labels of a host, about what was registered: a guess, for comparison only."""
    labels = host.split(".")
    short = len(labels) >= 3 and len(labels[-1]) == 2 and len(labels[-2]) <= 3
    return ".".join(labels[-3 if short else -2 :])


def _text_differs(case: Case) -> str | None:
    """Hosts of a domain that signed the message do not count: they count clicks of a newsletter."""
    passed = (each for each in case.authentication.dkim if each.outcome is Outcome.PASS)
    signers = {_base(each.domain) for each in passed}
    for link in case.facts.links:
        if not link.shown_host or not link.host or _base(link.host) in signers:
            continue
        if _base(link.shown_host) != _base(link.host):
            return f"{link.shown_host} leads to {link.host}"
    return None


def _address_host(case: Case) -> str | None:
    for host in case.facts.hosts:
        if not host[-1:].isdigit() and ":" not in host:
            continue
        try:
            ip = ipaddress.ip_address(host)
        except ValueError:
            continue
        if not ip.is_private:
            return host
    return None


def _shortened(case: Case) -> str | None:
    return next((host for host in case.facts.hosts if host in _SHORTENERS), None)


def _user_in_url(case: Case) -> str | None:
    for each in case.facts.links:
        if "@" in each.url and _CREDENTIALS.match(each.url):
            return each.url
    return None


def _lookalike(case: Case) -> str | None:
    """A link to an internationalized host that mixes scripts."""
    for host in case.facts.hosts:
        if "xn--" not in host:
            continue
        for label in host.split("."):
            if label.startswith("xn--") and _mixes(label):
                return host
    return None


def _mixes(label: str) -> bool:
    try:
        text = label[4:].encode().decode("punycode")
    except (UnicodeError, OverflowError, ValueError):
        return True
    latin = any(each.isascii() and each.isalpha() for each in text)
    return latin and any("\u0370" <= each <= "\u058f" for each in text)  # Greek, Cyrillic, Armenian


def _redirected(case: Case) -> str | None:
    return next((each.host for each in case.facts.links if _REDIRECTED.search(each.url)), None)


def _ours_elsewhere(case: Case) -> str | None:
    """The text of a link names a host of ours, and it leads elsewhere."""
    for link in case.facts.links:
        if not link.shown_host:
            continue
        labels = link.shown_host.split(".")
        parents = (".".join(labels[place:]) for place in range(len(labels)))
        ours = next((each for each in parents if each in case.own_domains), None)
        if ours is not None and _base(link.host) != _base(ours):
            return f"{link.shown_host} leads to {link.host}"
    return None


RULES = (
    Rule(
        "LINK_DIFFERS",
        2.0,
        "The text of a link is a URL of another domain than the one it leads to.",
        _text_differs,
        is_shape=True,
    ),
    Rule(
        "LINK_LIKE_OURS",
        3.0,
        "The text of a link is a URL of ours, and it leads elsewhere.",
        _ours_elsewhere,
    ),
    Rule("LINK_TO_ADDRESS", 1.5, "A link leads to an IP address.", _address_host),
    Rule(
        "LINK_SHORTENED",
        0.7,
        "A link hides where it leads behind a service that shortens URLs.",
        _shortened,
        is_shape=True,
    ),
    Rule(
        "LINK_WITH_USER",
        2.0,
        "A link has a user name before its host, which poses as the host.",
        _user_in_url,
    ),
    Rule(
        "LINK_MIXES_SCRIPTS",
        2.5,
        "The host of a link mixes letters of scripts that look alike.",
        _lookalike,
    ),
    Rule(
        "LINK_REDIRECTED",
        0.3,
        "A link holds another URL that it may lead to.",
        _redirected,
        is_shape=True,
    ),
)
