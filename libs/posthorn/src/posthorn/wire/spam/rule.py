"""A rule of the built-in scorer: its name, its points, and the function that looks for it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from posthorn.wire.auth.results import Authentication
from posthorn.wire.spam.facts import MessageFacts

DETAIL_CHARACTERS = 200


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
    """Display names of accounts, casefolded, and the accounts' addresses."""


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
    text = "".join(each if each.isprintable() else " " for each in text[: DETAIL_CHARACTERS * 2])
    return " ".join(text.split())[:DETAIL_CHARACTERS]
