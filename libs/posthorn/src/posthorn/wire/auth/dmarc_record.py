"""DMARC policy records, parsed (RFC 9989 §4.7, §4.8; records written for RFC 7489 are read alike).

Rules:

- ``v=DMARC1`` comes first and is case-sensitive; the other values are not.
- Unknown tags, ``pct``, ``rf`` and ``ri`` among them, are ignored; a value that is not valid counts
  as absent. Of a repeated tag the first counts.
- A record without a valid ``p``, or with an invalid ``sp`` or ``np``, is read as ``p=none`` if
  ``rua`` has a valid address, and else asks for nothing (§4.10.1).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote

from posthorn.wire.address import AddressError
from posthorn.wire.auth.results import Policy
from posthorn.wire.foreign_address import parse_foreign

MOST_REPORT_ADDRESSES = 10
"""Addresses of ``rua`` that are kept."""
MOST_RECORD_CHARACTERS = 2000
"""Characters of a record that are read."""
_MOST_KEPT_BYTES = 512  # so that strangers' records cannot fill the memory

_VERSION = re.compile(rb"v[ \t]*=[ \t]*(?-i:DMARC1)[ \t]*(?:;|\Z)", re.IGNORECASE)
_TAG = re.compile(r"[ \t]*([A-Za-z]+)[ \t]*=[ \t]*([\x20-\x7e]*?)[ \t]*\Z")
_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):([\x21\x23-\x2b\x2d-\x7e]+)\Z")
_SIZE = re.compile(r"![0-9]+[kmgt]?\Z", re.IGNORECASE)
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")


@dataclass(frozen=True, slots=True)
class DmarcRecord:
    """A record that begins with the version."""

    text: str
    """As published, in printable ASCII, MOST_RECORD_CHARACTERS at most."""
    policy: Policy | None
    """``p``; None if the record asks for nothing."""
    subdomain_policy: Policy | None = None
    """``sp``."""
    nonexistent_policy: Policy | None = None
    """``np``: of subdomains that do not exist."""
    psd: str = "u"
    """``y``, ``n`` or ``u``: whether the name is a public suffix."""
    is_testing: bool = False
    """``t=y``."""
    strict_dkim: bool = False
    strict_spf: bool = False
    report_to: tuple[str, ...] = ()
    """Addresses of ``rua``."""
    failure_options: frozenset[str] = frozenset({"0"})
    """``fo``: some of 0, 1, d and s. It has a meaning for records with ``ruf`` only."""


def is_dmarc_record(text: bytes) -> bool:
    """Return whether a TXT record is a DMARC record."""
    return _VERSION.match(text) is not None


def parse_dmarc(text: bytes) -> DmarcRecord | None:
    """Parse a TXT record; None if it is not a DMARC record. Short ones often used are kept."""
    if not is_dmarc_record(text):
        return None
    return (_kept if len(text) <= _MOST_KEPT_BYTES else _parsed)(text)


def _parsed(text: bytes) -> DmarcRecord:
    shown = _UNPRINTABLE.sub("?", text[:MOST_RECORD_CHARACTERS].decode("ascii", "replace"))
    tags: dict[str, str] = {}
    for part in shown.split(";")[1:]:
        if (found := _TAG.match(part)) is not None:
            tags.setdefault(found[1].lower(), found[2])
    is_reported, addresses = _report_addresses(tags.get("rua", ""))
    policies = {name: _policy(tags[name]) for name in ("p", "sp", "np") if name in tags}
    if policies.get("p") is None or None in policies.values():
        policies = {"p": Policy.NONE if is_reported else None}
    psd = tags.get("psd", "u").lower()
    return DmarcRecord(
        text=shown,
        policy=policies["p"],
        subdomain_policy=policies.get("sp"),
        nonexistent_policy=policies.get("np"),
        psd=psd if psd in ("y", "n") else "u",
        is_testing=tags.get("t", "n").lower() == "y",
        strict_dkim=tags.get("adkim", "r").lower() == "s",
        strict_spf=tags.get("aspf", "r").lower() == "s",
        report_to=addresses,
        failure_options=_options(tags.get("fo", "0")),
    )


_kept = lru_cache(maxsize=1024)(_parsed)


def _policy(value: str) -> Policy | None:
    try:
        return Policy(value.lower())
    except ValueError:
        return None


def _report_addresses(value: str) -> tuple[bool, tuple[str, ...]]:
    """Return whether there is a valid URI, and the addresses of those with ``mailto``."""
    addresses: dict[str, None] = {}
    is_valid = False
    for part in value.split(","):
        uri = _URI.match(_SIZE.sub("", part.strip()))
        if uri is None:
            continue
        if uri[1].lower() != "mailto":
            is_valid = True
        elif (address := _address(uri[2])) is not None:
            is_valid = True
            if len(addresses) < MOST_REPORT_ADDRESSES:
                addresses[address] = None
    return is_valid, tuple(addresses)


def _address(text: str) -> str | None:
    address = unquote(text.partition("?")[0])
    try:
        parsed = parse_foreign(address)
    except AddressError:
        return None
    return f"{address.rpartition('@')[0]}@{parsed.domain}" if address.isascii() else None


def _options(value: str) -> frozenset[str]:
    options = frozenset(each.strip().lower() for each in value.split(":"))
    is_valid = options <= {"0", "1", "d", "s"} and not {"0", "1"} <= options
    return options if is_valid else frozenset({"0"})
