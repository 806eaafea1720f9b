"""What the directory says of an address or a domain, and its form in the bucket.

Theory:

- A subject is a canonical address (``local@domain``) or ``@domain``. Its key must keep to the bucket's alphabet
  ``[-/_=.a-zA-Z0-9]`` and have no empty part between dots, so everything but ASCII letters, digits, ``-`` and ``_`` is written
  as ``=XX`` for each octet of its UTF-8 form: one key for one subject, and back.
- The domain comes first (``d.example=2Ecom``, ``a.example=2Ecom.alice``), so that one domain can be watched or listed by
  prefix, and a domain, an address and the mark can never meet under one key.
- An entry is a small JSON object. Fields may be added; a reader ignores those it does not know. An entry that does not read is
  an error, never an absence: a message must not bounce because a release cannot read its directory.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from enum import Enum
from typing import Any

FILLED_KEY = "filled"
"""Key of the mark that says: this bucket holds everything."""
INSTALLATION_KEY = "installation"
"""Key of the installation's mark (``model.installation``)."""
HALTED_KEY = "halted"
"""Key of the word that nothing is to be accepted; its value says why."""
BEHIND_KEY = "behind"
"""Key of what is not published yet (``model.unpublished``)."""
MARK_KEYS = frozenset({FILLED_KEY, INSTALLATION_KEY, HALTED_KEY, BEHIND_KEY})
"""Keys that are no subject's: those of subjects hold a dot."""

_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")
_SPELT = [chr(octet) if octet in _PLAIN else f"={octet:02X}" for octet in range(256)]
_PART = re.compile(r"(?:[-_a-zA-Z0-9]|=[0-9A-F]{2})+\Z")
_ESCAPE = re.compile(rb"=([0-9A-F]{2})")


class RecipientStatus(Enum):
    """What may be done with a message to an address."""

    DELIVERABLE = "deliverable"
    OVER_QUOTA = "over-quota"
    """Known, but the mailbox is full: 452 4.2.2."""
    SUSPENDED = "suspended"
    """Known, but its account takes no mail now: 450 4.2.1."""
    LIMITED = "limited"
    """Known, but it leads elsewhere and its owner may send no more now: 450 4.7.1. Never an entry's own standing."""
    UNKNOWN = "unknown"
    """The domain is ours, the address is not: 550 5.1.1."""
    FOREIGN = "foreign"
    """The domain is not ours: 550 5.7.1, never a relay."""


@dataclass(frozen=True, slots=True)
class DomainEntry:
    """What the projection says of a domain."""

    catch_all: str | None
    """Canonical address that takes what no other address of the domain takes."""
    plus_addressing: bool
    postmaster: str | None = None
    """Canonical address of the oldest account, for mail to a postmaster whom nobody else is (``runtime.postmasters``); None where
    there is a catch-all, or no account."""


@dataclass(frozen=True, slots=True)
class AddressEntry:
    """What the projection says of an account's or an alias's address."""

    standing: RecipientStatus
    limited_until: float | None = None
    """Seconds since the epoch until which it is LIMITED where it would be DELIVERABLE; None: not at all. A time, so that nobody
    need publish that it is over, and a field of its own, so that a release that does not know it goes on."""
    room_bytes: int | None = None
    """What the mailbox may still take at most, by ``model.room``; of an alias, the mailbox with the most room that it leads to.
    None: any message, as far as is known."""

    def at(self, now: float) -> RecipientStatus:
        """Return the standing at a time in seconds since the epoch."""
        is_limited = self.limited_until is not None and now < self.limited_until
        return RecipientStatus.LIMITED if is_limited and self.standing is RecipientStatus.DELIVERABLE else self.standing


type Entry = DomainEntry | AddressEntry
"""What the projection holds under a subject: ``@domain`` or a canonical address."""


class EntryError(ValueError):
    """A key or a value of the bucket does not read."""


def encode_key(subject: str) -> str:
    """Return the bucket's key of a subject. Raises EntryError for what is neither an address nor ``@domain``."""
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
    raise EntryError("a key of another kind")


def encode_entry(entry: Entry) -> bytes:
    """Return an entry's form in the bucket."""
    document: dict[str, Any]
    match entry:
        case DomainEntry(catch_all, plus_addressing, postmaster):
            document = {"kind": "domain", "catch_all": catch_all, "plus": plus_addressing}
            if postmaster is not None:
                document["postmaster"] = postmaster
        case AddressEntry(standing, limited_until, room_bytes):
            document = {"kind": "address", "standing": standing.value}
            if room_bytes is not None:
                document["room"] = room_bytes
            if limited_until is not None:
                document["until"] = limited_until
    return json.dumps(document, separators=(",", ":")).encode()


def decode_entry(octets: bytes) -> Entry:
    """Read an entry. Raises EntryError for anything that is not one."""
    try:
        document = json.loads(octets)
        match document["kind"]:
            case "domain":
                catch_all, plus = document["catch_all"], document["plus"]
                postmaster = document.get("postmaster")
                if isinstance(plus, bool) and all(
                    each is None or isinstance(each, str) for each in (catch_all, postmaster)
                ):
                    return DomainEntry(catch_all, plus, postmaster)
            case "address":
                until = document.get("until")
                room = document.get("room")
                return AddressEntry(
                    RecipientStatus(document["standing"]),
                    None if until is None else float(until),
                    None if room is None else int(room),
                )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise EntryError(f"an entry does not read: {type(error).__name__}") from error
    raise EntryError("an entry does not read")


def _spell(part: str) -> str:
    try:
        return "".join(map(_SPELT.__getitem__, part.encode()))
    except UnicodeEncodeError as error:
        raise EntryError("a subject holds broken Unicode") from error


def _read(part: str) -> str:
    if not _PART.match(part):
        raise EntryError("a key of another kind")
    octets = _ESCAPE.sub(lambda escape: bytes.fromhex(escape[1].decode()), part.encode())
    try:
        text = octets.decode()
    except UnicodeDecodeError as error:
        raise EntryError("a key of another kind") from error
    if _spell(text) != part:
        raise EntryError("a key that is spelt in another way than ours")
    return text
