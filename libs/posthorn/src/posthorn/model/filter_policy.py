"""Filter policies, and the decision on a message that follows from a verdict.

A policy is a JSON document of the system, a tenant, a domain or an account. Each may be silent on
any field; the closest one that is not silent decides, but for lists, which add up. What a document
may hold is in ``FIELDS``; everything else about a policy follows from it.

Rules:

- Only what every recipient's policy refuses may be refused, since SMTP has one reply for all; else
  the message is accepted, and each recipient's policy decides on its own copy.
- A verdict of ours that is missing or incomplete refuses nothing.
- An entry of a list is an address, a domain (with its subdomains), or a network. An allow entry
  counts only for a sender that is shown to be the author (SPF or DKIM, aligned) or for a network;
  a block entry needs no proof.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import Any, Final

from posthorn.model.verdict import Verdict
from posthorn.wire.address import canonical_domain, parse_address
from posthorn.wire.auth.results import Outcome, Policy

MOST_ENTRIES: Final = 1000
"""Entries of one list of one document."""


class Action(StrEnum):
    """What happens to a copy of a message, mildest first."""

    DELIVER = "deliver"
    """To INBOX."""
    MARK = "mark"
    """To INBOX, as the header's verdict says spam."""
    JUNK = "junk"
    QUARANTINE = "quarantine"
    REFUSE = "refuse"
    """550 at the end of data; once it is too late for that, QUARANTINE."""


SEVERITY: Final = tuple(Action)


@dataclass(frozen=True, slots=True)
class FilterPolicy:
    """A complete policy."""

    junk_score: float = 6.0
    """Points from which ``spam_action`` applies."""
    refuse_score: float = 15.0
    """Points from which a message is refused."""
    spam_action: Action = Action.JUNK
    """For messages from ``junk_score``: MARK, JUNK or QUARANTINE."""
    virus_action: Action = Action.REFUSE
    """REFUSE or QUARANTINE."""
    enforce_dmarc: bool = True
    """Apply p=reject and p=quarantine of failed DMARC checks."""
    refuse_listed: bool = False
    """Refuse clients that a blocklist of addresses holds, at RCPT."""
    greylist: bool = False
    """Ask suspicious strangers to come again, with 451 at RCPT."""
    protect_known: bool = True
    """Let no rule but a virus keep correspondents of the account from INBOX, if authenticated."""
    rspamd: bool = True
    """Use rspamd's judgement where the installation has rspamd."""
    clamav: bool = True
    """Use ClamAV's judgement where the installation has ClamAV."""
    digest: bool = False
    """Send a daily digest of what Junk and quarantine hold."""
    allow: tuple[str, ...] = ()
    block: tuple[str, ...] = ()
    forwarders: tuple[str, ...] = ()
    """Domains that forward mail to the recipient: the client and SPF say nothing there."""


DEFAULT_POLICY: Final = FilterPolicy()
FIELDS: Final = tuple(each.name for each in fields(FilterPolicy))
LISTS: Final = frozenset({"allow", "block", "forwarders"})
_ACTIONS: Final = {
    "spam_action": (Action.MARK, Action.JUNK, Action.QUARANTINE),
    "virus_action": (Action.REFUSE, Action.QUARANTINE),
}


class PolicyError(ValueError):
    """A field of a policy document is not valid. ``field`` names it; the text says what would
    be."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def checked(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a policy document in its canonical form, without fields that are null. Raises
    PolicyError."""
    kept: dict[str, Any] = {}
    for name, value in document.items():
        if name not in FIELDS:
            raise PolicyError(name, f"unknown field; there are {', '.join(FIELDS)}")
        if value is None:
            continue
        kept[name] = _checked(name, value)
    return kept


def _checked(name: str, value: Any) -> Any:
    if name in LISTS:
        if not isinstance(value, list | tuple) or len(value) > MOST_ENTRIES:
            raise PolicyError(name, f"must be a list of at most {MOST_ENTRIES} entries")
        return [_entry(name, each) for each in value]
    if name in _ACTIONS:
        allowed = [each.value for each in _ACTIONS[name]]
        if value not in allowed:
            raise PolicyError(name, f"must be one of {', '.join(allowed)}")
        return str(value)
    if name.endswith("_score"):
        if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value <= 1000:
            raise PolicyError(name, "must be a number of points from 1 to 1000")
        return float(value)
    if not isinstance(value, bool):
        raise PolicyError(name, "must be true or false")
    return value


def _entry(name: str, value: Any) -> str:
    text = value.strip().lower().rstrip(".") if isinstance(value, str) else ""
    if name == "allow" or name == "block":
        try:
            return str(ipaddress.ip_network(text))
        except ValueError:
            pass
        wanted = "must be an address, a domain, or a network such as 192.0.2.0/24"
    else:
        wanted = "must be a domain"
    try:
        if "@" not in text:
            domain = canonical_domain(text)
            if "." not in domain:
                raise ValueError(text)
            return domain
        if name == "forwarders":
            raise ValueError(text)
        return str(parse_address(text)).lower()
    except ValueError:
        raise PolicyError(name, wanted) from None


def merged(*documents: Mapping[str, Any] | None) -> FilterPolicy:
    """Return the policy that documents make together, the farthest (of the system) first. Fields
    that cannot be read are ignored: a later release may have written them."""
    values: dict[str, Any] = {}
    lists: dict[str, dict[str, None]] = {}
    for document in documents:
        for name, value in (document or {}).items():
            try:
                known = _checked(name, value) if name in FIELDS and value is not None else None
            except PolicyError:
                continue
            if known is None:
                continue
            if name in LISTS:
                lists.setdefault(name, {}).update(dict.fromkeys(known))
            else:
                values[name] = Action(known) if name in _ACTIONS else known
    values |= {name: tuple(entries) for name, entries in lists.items()}
    return replace(DEFAULT_POLICY, **values)


def combined(*documents: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return one document that stands for several, the farthest first: for the directory."""
    policy = merged(*documents)
    found: dict[str, Any] = {}
    for name in FIELDS:
        value = getattr(policy, name)
        if value != getattr(DEFAULT_POLICY, name):
            found[name] = list(value) if name in LISTS else value
    return found


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


def _holds(network: str, client: str) -> bool:
    try:
        return ipaddress.ip_address(client) in ipaddress.ip_network(network)
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
    score = round((verdict.score if verdict else 0.0) + extra_points, 2)
    if verdict is not None and verdict.virus:
        return Decision(policy.virus_action, "virus", score, verdict.virus)
    blocked = matches(policy.block, sender)
    allowed = matches(policy.allow, sender)
    is_allowed = bool(allowed) and (sender.is_shown or "/" in allowed)
    if blocked and not is_allowed:
        return Decision(Action.REFUSE, "blocked", score, blocked)
    if verdict is None:
        return Decision(Action.DELIVER, "", score)
    overrides: tuple[str, ...] = ()
    dmarc = verdict.authentication.dmarc
    failed = dmarc.outcome is Outcome.FAIL and policy.enforce_dmarc
    if failed and dmarc.applied in (Policy.REJECT, Policy.QUARANTINE):
        if verdict.trusted_sealer or _is_forwarded(verdict, policy):
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


def _is_forwarded(verdict: Verdict, policy: FilterPolicy) -> bool:
    """Return whether the client is a host of a domain that forwards to the recipient: its SPF or
    its confirmed name says so."""
    names = [verdict.authentication.iprev.name]
    names += [each.domain for each in verdict.authentication.spf if each.outcome is Outcome.PASS]
    return any(
        name == entry or name.endswith("." + entry)
        for entry in policy.forwarders
        for name in names
        if name
    )
