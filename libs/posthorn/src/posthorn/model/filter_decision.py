"""The decision on a message that follows from a verdict and a filter policy.

Rules:

- Only what every recipient's policy refuses may be refused, since SMTP has one reply for all; else
  the message is accepted, and each recipient's policy decides on its own copy.
- A verdict of ours that is missing or incomplete refuses nothing.
- An engine is asked if one recipient's policy permits it; for the others its findings do not count.
- An allow entry counts only for the author, and only if SPF or DKIM, aligned, shows it, or for a
  network: whoever is shown as himself may write any reverse-path. A block entry needs no proof.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Final

from posthorn.model.filter_policy import REMEMBERED, Action, FilterPolicy
from posthorn.model.verdict import RSPAMD, Verdict
from posthorn.wire.address import AddressError, parse_address
from posthorn.wire.auth.results import Authentication, Outcome, Policy
from posthorn.wire.message.submission import AuthorError, authors_of

_AUTHORS: Final = 1024
"""From fields that were parsed lately and are kept: delivery asks twice for each message, and much
mail is of few authors."""
_ANGLED: Final = re.compile(r"<([^<>@\s]+@[^<>@\s]+)>")
_OF_CLIENT: Final = (
    *("SPF_", "DMARC_FAIL", "UNAUTHENTICATED", "IPREV_", "HELO_", "DYNAMIC_NAME"),
    "RECIPIENTS_MISSING",
)
"""Names, or their beginnings, of rules that judge the way of a message: of a forwarded one they
say nothing of its author."""


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sends a message, as far as lists and protection are concerned."""

    address: str
    """The author's address in canonical form: From, or the reverse-path without one."""
    reverse_path: str
    client: str
    """IP address."""
    is_shown: bool
    """Whether authentication shows the author to be who From says."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What happens to a copy, and why."""

    action: Action
    reason: str
    """``virus``, ``dmarc``, ``score``, ``blocked``, ``allowed``, ``known``, or empty for
    nothing special. For statistics."""
    score: float
    detail: str = ""
    """For people: the rule or entry that decided."""
    overrides: tuple[str, ...] = field(default=())
    """Why a DMARC policy was not applied, in the words of RFC 9990 (``trusted_forwarder``,
    ``local_policy``)."""


def matches(entries: Sequence[str], sender: Sender) -> str:
    """Return the first entry that names the sender; empty for none."""
    if not entries:
        return ""
    addresses = [each for each in (sender.address.lower(), sender.reverse_path.lower()) if each]
    names = {each.rpartition("@")[2] for each in addresses}
    for entry in entries:
        if "@" in entry:
            if entry in addresses:
                return entry
        elif "/" in entry:
            if _holds(entry, sender.client):
                return entry
        elif any(name == entry or name.endswith("." + entry) for name in names):
            return entry
    return ""


def proven(sender: Sender) -> Sender:
    """Return a sender with what is shown of it alone: its author, if so, and its network."""
    return replace(sender, address=sender.address if sender.is_shown else "", reverse_path="")


def sender_of(
    from_field: str, reverse_path: str, client: str, authentication: Authentication
) -> Sender:
    """Return who sends a message, for lists and protection. ``from_field``: the value of From as
    text, its encoded words as they are; without an address in it the reverse-path counts as the
    author. Of several authors none is shown: authentication shows a domain, not who of it wrote.
    """
    address, is_only = _author(from_field)
    domain = address.rpartition("@")[2]
    is_shown = is_only and bool(domain) and domain == authentication.author
    return Sender(address or reverse_path, reverse_path, client, is_shown)


def author_in(from_field: str) -> str:
    """Return the address of the first author in the value of a From field, in canonical form; empty
    without one."""
    return _author(from_field)[0]


@lru_cache(_AUTHORS)
def _author(from_field: str) -> tuple[str, bool]:
    """Return the first author, empty without one, and whether there is no other."""
    try:
        authors = authors_of(b"From:" + from_field.encode("utf-8", "replace"))
        return str(authors[0]), len(authors) == 1
    except AuthorError:
        found = _ANGLED.findall(from_field) or from_field.split()[:1]
    try:
        return (str(parse_address(found[0])), True) if len(found) == 1 else ("", False)
    except AddressError:
        return "", False


_network = lru_cache(REMEMBERED)(ipaddress.ip_network)
_address = lru_cache(1)(ipaddress.ip_address)  # of one client for all entries


def _holds(network: str, client: str) -> bool:
    try:
        return _address(client) in _network(network)
    except ValueError:
        return False


def decide(
    verdict: Verdict | None,
    policy: FilterPolicy,
    sender: Sender,
    *,
    is_known: bool = False,
    extra_points: float = 0.0,
) -> Decision:
    """Return what happens to one recipient's copy. ``is_known``: the account has written to the
    author; ``extra_points``: of the account's own training, which the verdict does not hold."""
    score = round((_score(verdict, policy) if verdict else 0.0) + extra_points, 2)
    if verdict is not None and verdict.virus and policy.clamav:
        return Decision(policy.virus_action, "virus", score, verdict.virus)
    blocked = matches(policy.block, sender)
    allowed = matches(policy.allow, proven(sender)) if policy.allow else ""
    is_allowed = bool(allowed)
    if blocked and not is_allowed:
        return Decision(Action.REFUSE, "blocked", score, blocked)
    if verdict is None:
        return Decision(Action.DELIVER, "", score)
    overrides: tuple[str, ...] = ()
    dmarc = verdict.authentication.dmarc
    failed = dmarc.outcome is Outcome.FAIL and policy.enforce_dmarc
    if failed and dmarc.applied in (Policy.REJECT, Policy.QUARANTINE):
        if verdict.trusted_sealer or is_forwarded(verdict.authentication, policy):
            overrides = ("trusted_forwarder",)
            if dmarc.applied is Policy.REJECT:
                return Decision(Action.JUNK, "dmarc", score, "forwarded", overrides)
        elif is_allowed:
            overrides = ("local_policy",)
        elif dmarc.applied is Policy.REJECT:
            return Decision(Action.REFUSE, "dmarc", score, f"p=reject of {dmarc.record_domain}")
        else:
            action = policy.spam_action
            return Decision(action, "dmarc", score, f"p=quarantine of {dmarc.record_domain}")
    if is_allowed:
        return Decision(Action.DELIVER, "allowed", score, allowed, overrides)
    if is_known and policy.protect_known and sender.is_shown:
        return Decision(Action.DELIVER, "known", score, sender.address, overrides)
    if score >= policy.refuse_score:
        return Decision(Action.REFUSE, "score", score, f"{score:g} points", overrides)
    if score >= policy.junk_score:
        return Decision(policy.spam_action, "score", score, f"{score:g} points", overrides)
    return Decision(Action.DELIVER, "", score, "", overrides)


def _score(verdict: Verdict, policy: FilterPolicy) -> float:
    without: tuple[str, ...] = () if policy.rspamd else (RSPAMD,)
    if policy.forwarders and is_forwarded(verdict.authentication, policy):
        without += _OF_CLIENT
    if not without:
        return verdict.score
    return sum(rule.points for rule in verdict.rules if not rule.name.startswith(without))


def is_forwarded(authentication: Authentication, policy: FilterPolicy) -> bool:
    """Return whether the client is a host of a domain that forwards to the recipient: its SPF or
    its confirmed name says so."""
    names = [authentication.iprev.name]
    names += [each.domain for each in authentication.spf if each.outcome is Outcome.PASS]
    return any(
        name == entry or name.endswith("." + entry)
        for entry in policy.forwarders
        for name in names
        if name
    )
