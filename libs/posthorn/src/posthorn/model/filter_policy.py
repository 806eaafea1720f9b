"""Filter policies: what a document may hold, and how documents of several levels combine.

A policy is a JSON document of the system, a tenant, a domain or an account. Each may be silent on
any field; the closest one that is not silent decides, but for lists, which add up. What a document
may hold is in ``FIELDS``; everything else about a policy follows from it.

An entry of a list is an address, a domain (with its subdomains), or a network. What follows from a
policy is decided in ``model.filter_decision``.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final

from posthorn.wire.address import canonical_domain, parse_address

MOST_ENTRIES: Final = 1000
"""Entries of one list of one document."""
MOST_BYTES: Final = 64 * 1024
"""Bytes of one document: those of three levels fit together into one entry of the directory."""
REMEMBERED: Final = 16_384
"""Parsed entries of lists that a process keeps."""


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
@lru_cache(REMEMBERED)
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
