"""Filter policies, and the decision on a message that follows from a verdict.

A policy is a JSON document of the system, a tenant, a domain or an account. Each may be silent on
any field; the closest one that is not silent decides, but for lists, which add up. What a document
may hold is in ``FIELDS``; everything else about a policy follows from it.

Rules:

- Only what every recipient's policy refuses may be refused, since SMTP has one reply for all; else
  the message is accepted, and each recipient's policy decides on its own copy.
- A verdict of ours that is missing or incomplete refuses nothing.
- An engine is asked if one recipient's policy permits it; for the others its findings do not count.
- An entry of a list is an address, a domain (with its subdomains), or a network. An allow entry
  counts only for the author, and only if SPF or DKIM, aligned, shows it, or for a network: whoever
  is shown as himself may write any reverse-path. A block entry needs no proof.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final

from posthorn.model.verdict import RSPAMD, Verdict
from posthorn.wire.address import AddressError, canonical_domain, parse_address
from posthorn.wire.auth.results import Authentication, Outcome, Policy
from posthorn.wire.message.submission import AuthorError, authors_of

MOST_ENTRIES: Final = 1000
"""Entries of one list of one document."""
MOST_BYTES: Final = 64 * 1024
"""Bytes of one document: those of three levels fit together into one entry of the directory."""
_REMEMBERED: Final = 16_384


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
    """Send a daily digest of what Junk and quarantine hold. Where no document says anything, accounts
    read by POP3 get one all the same (``ports.digests``)."""
    allow: tuple[str, ...] = ()
    block: tuple[str, ...] = ()
    forwarders: tuple[str, ...] = ()
    """Domains that forward mail to the recipient: the client and SPF say nothing there."""


DEFAULT_POLICY: Final = FilterPolicy()
FIELDS: Final = tuple(each.name for each in fields(FilterPolicy))
LISTS: Final = frozenset({"allow", "block", "forwarders"})
_ANGLED: Final = re.compile(r"<([^<>@\s]+@[^<>@\s]+)>")
_OF_CLIENT: Final = (
    *("SPF_", "DMARC_FAIL", "UNAUTHENTICATED", "IPREV_", "HELO_", "DYNAMIC_NAME"),
    "RECIPIENTS_MISSING",
)
"""Names, or their beginnings, of rules that judge the way of a message: of a forwarded one they
say nothing of its author."""
_ACTIONS: Final = {
    "spam_action": (Action.MARK, Action.JUNK, Action.QUARANTINE),
    "virus_action": (Action.REFUSE, Action.QUARANTINE),
}


class PolicyError(ValueError):
    """A field of a policy document is not valid. ``field`` names it, and ``index`` the entry of a
    list; the text says what would be."""

    def __init__(self, field: str, message: str, index: int | None = None) -> None:
        super().__init__(message)
        self.field = field
        self.index = index


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
        if name in LISTS and len(value) > MOST_ENTRIES:
            raise PolicyError(name, f"must be a list of at most {MOST_ENTRIES} entries")
    if len(json.dumps(kept)) > MOST_BYTES:
        longest = max(LISTS, key=lambda name: len(json.dumps(kept.get(name, ()))))
        raise PolicyError(longest, f"must be shorter: a policy has at most {MOST_BYTES} bytes")
    return kept


def _checked(name: str, value: Any) -> Any:
    if name in LISTS:
        # longer than MOST_ENTRIES where it stands for several documents
        if not isinstance(value, list | tuple):
            raise PolicyError(name, f"must be a list of at most {MOST_ENTRIES} entries")
        return list(dict.fromkeys(_entry(name, each, index) for index, each in enumerate(value)))
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


def _entry(name: str, value: Any, index: int) -> str:
    try:
        if not isinstance(value, str):
            raise ValueError(name)
        return _canonical(value) if name != "forwarders" else _canonical_domain(value)
    except ValueError:
        wanted = "must be an address, a domain, or a network such as 192.0.2.0/24"
        raise PolicyError(
            name, "must be a domain" if name == "forwarders" else wanted, index
        ) from None


# documents are read again whenever a directory entry is, and have thousands of entries
@lru_cache(_REMEMBERED)
def _canonical(value: str) -> str:
    text = value.strip().lower().rstrip(".")
    if "%" not in text:  # a zone means nothing elsewhere
        try:
            return str(ipaddress.ip_network(text))
        except ValueError:
            pass
    return str(parse_address(text)).lower() if "@" in text else _canonical_domain(text)


def _canonical_domain(value: str) -> str:
    domain = canonical_domain(value.strip().lower().rstrip("."))
    if "." not in domain or domain.startswith("["):
        raise ValueError(value)
    return domain


def merged(*documents: Mapping[str, Any] | None) -> FilterPolicy:
    """Return the policy that documents make together, the farthest (of the system) first. Fields
    that cannot be read are ignored: a later release may have written them."""
    values: dict[str, Any] = {}
    lists: dict[str, dict[str, None]] = {}
    for document in documents:
        for name, known in readable(document).items():
            if name in LISTS:
                lists.setdefault(name, {}).update(dict.fromkeys(known))
            else:
                values[name] = Action(known) if name in _ACTIONS else known
    values |= {name: tuple(entries) for name, entries in lists.items()}
    return replace(DEFAULT_POLICY, **values)


def readable(document: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the fields of a stored document that this release can read."""
    found: dict[str, Any] = {}
    for name, value in (document or {}).items():
        try:
            if name in FIELDS and value is not None:
                found[name] = _checked(name, value)
        except PolicyError:
            continue
    return found


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the value of a field comes from."""

    field: str
    source: str
    """The document that says so; DEFAULT if none does."""
    value: Any


DEFAULT: Final = "default"


def origins(documents: Mapping[str, Mapping[str, Any] | None]) -> list[Origin]:
    """Return where the policy that ``merged`` makes of the documents comes from, field by field.
    Documents are given by name, the farthest first. A list has an origin for each document with
    entries."""
    known = {source: readable(document) for source, document in documents.items()}
    found: list[Origin] = []
    for name in FIELDS:
        said = [
            Origin(name, source, document[name])
            for source, document in known.items()
            if name in document and not (name in LISTS and not document[name])
        ]
        if not said:
            default = getattr(DEFAULT_POLICY, name)
            found.append(Origin(name, DEFAULT, list(default) if name in LISTS else default))
        else:
            found += said if name in LISTS else said[-1:]
    return found


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


_network = lru_cache(_REMEMBERED)(ipaddress.ip_network)
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
    allowed = matches(policy.allow, proven(sender))
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
