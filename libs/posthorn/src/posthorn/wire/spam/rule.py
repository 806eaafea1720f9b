"""A rule of the built-in scorer: its name, its points, and the function that looks for it."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from posthorn.wire.auth.results import Authentication
from posthorn.wire.proxy import plain_address
from posthorn.wire.spam.facts import MessageFacts

DETAIL_CHARACTERS = 200
_INTERNAL = tuple(
    map(
        ipaddress.ip_network,
        (
            *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "127.0.0.0/8"),
            *("169.254.0.0/16", "fc00::/7", "fe80::/10", "::1/128"),
        ),
    )
)


class Listed(Protocol):
    """A blocklist or allow list that holds the client or a domain (``ports.scan.Listing``)."""

    @property
    def zone(self) -> str:
        """Name of the zone."""
        ...

    @property
    def subject(self) -> str:
        """The address or domain."""
        ...

    @property
    def points(self) -> float:
        """Negative for allow lists."""
        ...

    @property
    def reason(self) -> str:
        """The zone's text."""
        ...


class Match(NamedTuple):
    """A rule that matched."""

    name: str
    points: float
    detail: str
    """What matched, for people; printable, DETAIL_CHARACTERS at most."""


@dataclass(frozen=True, slots=True)
class Case:
    """A message and what is known of its way here."""

    facts: MessageFacts
    authentication: Authentication = field(default_factory=Authentication)
    client: str = ""
    helo: str = ""
    reverse_path: str = ""
    received_at: float = 0.0
    """Seconds since the epoch; 0: not known."""
    listings: Sequence[Listed] = ()
    own_domains: Collection[str] = frozenset()
    """Canonical domains of ours that nobody else may pose as."""
    own_names: Mapping[str, str] = field(default_factory=dict)
    """Display names of accounts, folded, and the accounts' addresses."""

    @property
    def is_internal(self) -> bool:
        """Whether the client's address is of a network of our own, or of a balancer that hides it:
        names in the public DNS say nothing of it."""
        try:
            ip = plain_address(ipaddress.ip_address(self.client.partition("%")[0]))
        except ValueError:
            return False
        return any(ip in each for each in _INTERNAL if each.version == ip.version)


type Check = Callable[[Case], str | None]
"""Returns what matched, for people (may be empty); None if the rule does not match."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule."""

    name: str
    """In capitals; unique."""
    points: float
    """Negative for what speaks for a message."""
    description: str
    """For people: one sentence."""
    check: Check
    is_shape: bool = False
    """It judges form only, which honest mail in bulk may share with spam: it stands back if the
    author is authenticated and aligned."""


def shown(text: str) -> str:
    """Return a stranger's text as a detail: printable, bounded."""
    text = text[: DETAIL_CHARACTERS * 2]
    if not text.isprintable():
        text = "".join(each if each.isprintable() else " " for each in text)
    return " ".join(text.split())[:DETAIL_CHARACTERS]
