"""Directory entries of addresses and domains, and their encoding in the bucket.

Theory:

- A subject is a canonical address (``local@domain``) or ``@domain``. Its key must keep to the
  bucket's alphabet ``[-/_=.a-zA-Z0-9]`` and have no empty part between dots, so everything but
  ASCII letters, digits, ``-`` and ``_`` is written as ``=XX`` for each byte of its UTF-8 form: a
  reversible, unique key for each subject.
- The domain comes first (``d.example=2Ecom``, ``a.example=2Ecom.alice``), so that one domain can be
  watched or listed by prefix, and a domain, an address and the mark never share a key.
- An entry is a small JSON object. Fields may be added; a reader ignores those it does not know. An
  entry that cannot be decoded is an error, never an absence: a message must not bounce because a
  release cannot read its directory.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

FILLED_KEY = "filled"
"""Key of the mark of a complete bucket."""
INSTALLATION_KEY = "installation"
"""Key of the installation's mark (``model.installation``)."""
HALTED_KEY = "halted"
"""Key of the halt flag: nothing is accepted. Its value is the reason."""
BEHIND_KEY = "behind"
"""Key of the mark of unpublished changes (``model.unpublished``)."""
MARK_KEYS = frozenset({FILLED_KEY, INSTALLATION_KEY, HALTED_KEY, BEHIND_KEY})
"""Keys that belong to no subject: keys of subjects contain a dot."""

_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")
_SPELT = [chr(octet) if octet in _PLAIN else f"={octet:02X}" for octet in range(256)]
_PART = re.compile(r"(?:[-_a-zA-Z0-9]|=[0-9A-F]{2})+\Z")
_ESCAPE = re.compile(rb"=([0-9A-F]{2})")


class RecipientStatus(Enum):
    """Status of an address as a recipient."""

    DELIVERABLE = "deliverable"
    OVER_QUOTA = "over-quota"
    """Known, but the mailbox is full: 452 4.2.2."""
    SUSPENDED = "suspended"
    """Known, but its account accepts no mail now: 450 4.2.1."""
    LIMITED = "limited"
    """Known, but it leads elsewhere and its owner has reached the sending limit: 450 4.7.1.
    Never stored in an entry."""
    UNKNOWN = "unknown"
    """The domain is local, the address does not exist: 550 5.1.1."""
    FOREIGN = "foreign"
    """The domain is not local: 550 5.7.1, relaying denied."""


@dataclass(frozen=True, slots=True)
class DomainEntry:
    """The directory entry of a domain."""

    catch_all: str | None
    """Canonical address that receives mail for addresses of the domain that do not exist."""
    plus_addressing: bool
    postmaster: str | None = None
    """Canonical address of the oldest account, for mail to the postmaster where no one else is
    named (``runtime.postmasters``); None with a catch-all, or without accounts."""
    policy: Mapping[str, Any] = field(default_factory=dict)
    """The filter policy of system, tenant and domain together, as
    ``model.filter_policy.combined`` writes it; empty: the default."""


@dataclass(frozen=True, slots=True)
class AddressEntry:
    """The directory entry of an account's or alias's address."""

    standing: RecipientStatus
    limited_until: float | None = None
    """Seconds since the epoch until which it is LIMITED instead of DELIVERABLE; None: not
    limited. A time, so that its end need not be published, and a separate field, so that
    releases that do not know it still work."""
    room_bytes: int | None = None
    """Upper bound of the bytes that the mailbox has left, by ``model.room``; of an alias, that
    of its mailbox with the most room. None: no known limit."""
    policy: Mapping[str, Any] = field(default_factory=dict)
    """The filter policy document of the account itself; its domain's is in the domain's entry."""

    def at(self, now: float) -> RecipientStatus:
        """Return the status at a time in seconds since the epoch."""
        is_limited = self.limited_until is not None and now < self.limited_until
        return (
            RecipientStatus.LIMITED
            if is_limited and self.standing is RecipientStatus.DELIVERABLE
            else self.standing
        )


type Entry = DomainEntry | AddressEntry
"""The entry of a subject: ``@domain`` or a canonical address."""


class EntryError(ValueError):
    """A key or a value of the bucket cannot be decoded."""


def encode_key(subject: str) -> str:
    """Return the bucket's key of a subject. Raises EntryError for what is neither an address nor
    ``@domain``."""
    local, at, domain = subject.rpartition("@")
    if not at or not domain:
        raise EntryError("a subject is an address or @domain")
    return f"a.{_spell(domain)}.{_spell(local)}" if local else f"d.{_spell(domain)}"


def decode_key(key: str) -> str:
    """Return the subject of a key made by encode_key. Raises EntryError for any other."""
    match key.split("."):
        case ["d", domain]:
            return f"@{_read(domain)}"
        case ["a", domain, local]:
            return f"{_read(local)}@{_read(domain)}"
    raise EntryError("a key of the wrong type")


def encode_entry(entry: Entry) -> bytes:
    """Return the encoding of an entry in the bucket."""
    document: dict[str, Any]
    match entry:
        case DomainEntry(catch_all, plus_addressing, postmaster, _):
            document = {"kind": "domain", "catch_all": catch_all, "plus": plus_addressing}
            if postmaster is not None:
                document["postmaster"] = postmaster
        case AddressEntry(standing, limited_until, room_bytes, _):
            document = {"kind": "address", "standing": standing.value}
            if room_bytes is not None:
                document["room"] = room_bytes
            if limited_until is not None:
                document["until"] = limited_until
    if entry.policy:
        document["policy"] = dict(entry.policy)
    return json.dumps(document, separators=(",", ":")).encode()


def decode_entry(data: bytes) -> Entry:
    """Decode an entry. Raises EntryError."""
    try:
        document = json.loads(data)
        kind = document["kind"]
        policy = document.get("policy") or {}
        if not isinstance(policy, dict):
            raise EntryError("an entry's policy is not an object")
        match kind:
            case "domain":
                catch_all, plus = document["catch_all"], document["plus"]
                postmaster = document.get("postmaster")
                if isinstance(plus, bool) and all(
                    each is None or isinstance(each, str) for each in (catch_all, postmaster)
                ):
                    return DomainEntry(catch_all, plus, postmaster, policy)
            case "address":
                until = document.get("until")
                room = document.get("room")
                return AddressEntry(
                    RecipientStatus(document["standing"]),
                    None if until is None else float(until),
                    None if room is None else int(room),
                    policy,
                )
    except EntryError:
        raise
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise EntryError(f"an entry cannot be decoded: {type(error).__name__}") from error
    raise EntryError("an entry cannot be decoded")


def _spell(part: str) -> str:
    try:
        return "".join(map(_SPELT.__getitem__, part.encode()))
    except UnicodeEncodeError as error:
        raise EntryError("a subject holds broken Unicode") from error


def _read(part: str) -> str:
    if not _PART.match(part):
        raise EntryError("a key of the wrong type")
    data = _ESCAPE.sub(lambda escape: bytes.fromhex(escape[1].decode()), part.encode())
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise EntryError("a key of the wrong type") from error
    if _spell(text) != part:
        raise EntryError("a key is not in its canonical encoding")
    return text
