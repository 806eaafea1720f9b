"""Mail addresses: syntax and canonical form (RFC 5321 §4.1.2, RFC 6531, RFC 5891).

Rules:

- An address is compared, stored and published in canonical form only: local part in NFC and lower
  case, unquoted where quoting is not needed; domain in lower-case A-label (ASCII) form without a
  final dot.
- Local parts are case-insensitive. RFC 5321 §2.4 leaves that to the host; every large host does so.
- The domain is never mapped by tables: an A-label is decoded, converted to NFC and lower case, and
  encoded again, so that ``faß.de`` and ``fass.de`` stay two domains (RFC 5891 §4.2.2).
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

MAX_LOCAL_OCTETS = 64
"""RFC 5321 §4.5.3.1.1."""
MAX_DOMAIN_OCTETS = 255
"""RFC 5321 §4.5.3.1.2."""
MAX_PATH_OCTETS = 254
"""RFC 5321 §4.5.3.1.3: 256 with the angle brackets."""

_LONGEST = 512  # characters; no longer text can be an address, however it is quoted or encoded
_ATEXT = r"A-Za-z0-9!#$%&'*+/=?^_`{|}~\-\u0080-\U0010ffff"
_DOT_STRING = re.compile(rf"[{_ATEXT}]+(?:\.[{_ATEXT}]+)*\Z")
_QUOTED = re.compile(r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e\u0080-\U0010ffff]|\\[\x20-\x7e])*)"\Z')
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\Z")
_PLAIN_DOMAIN = re.compile(  # one that lower case alone makes canonical: most are
    r"(?:(?!xn--)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.(?!\Z)|\Z))+\Z",
    re.ASCII | re.IGNORECASE,
)


class AddressError(ValueError):
    """The text is not a mail address; the message says why."""


@dataclass(frozen=True, slots=True)
class Address:
    """An address in canonical form. ``str()`` returns ``local@domain``."""

    local: str
    domain: str

    def __str__(self) -> str:
        return f"{quote_local(self.local)}@{self.domain}"

    @property
    def base(self) -> Address | None:
        """The address without its ``+tag`` (RFC 5233 subaddress), or None when it has none."""
        name, plus, _ = self.local.partition("+")
        return Address(name, self.domain) if plus and name else None

    @property
    def is_ascii(self) -> bool:
        """Whether the address can travel without SMTPUTF8 (RFC 6531)."""
        return self.local.isascii()


def parse_address(text: str) -> Address:
    """Parse ``local@domain`` into its canonical form.

    Raises AddressError with a text that a person can act on. Lengths are counted in bytes of UTF-8.
    """
    if len(text) > _LONGEST:
        raise AddressError(f"an address is not longer than {MAX_PATH_OCTETS} bytes")
    return _parsed(text)


@lru_cache(maxsize=2048)  # a sender writes the same ones again and again
def _parsed(text: str) -> Address:
    if _CONTROL.search(text):
        raise AddressError("an address must not contain control characters or broken UTF-8")
    local, at, domain = text.rpartition("@")
    if not at:
        raise AddressError("an address has the form local@domain; the @ is missing")
    if not local:
        raise AddressError("the part before the @ is missing")
    return Address(_canonical_local(local), canonical_domain(domain))


def canonical_domain(text: str) -> str:
    """Return a domain name, or an address literal such as ``[192.0.2.1]``, in canonical form.
    Raises AddressError."""
    if len(text) <= MAX_DOMAIN_OCTETS and _PLAIN_DOMAIN.match(text):
        return text.lower()
    if len(text) > _LONGEST or _CONTROL.search(text):
        raise AddressError(
            f"a domain is at most {MAX_DOMAIN_OCTETS} bytes long and holds no control characters"
        )
    if text.startswith("[") and text.endswith("]"):
        return _canonical_literal(text[1:-1])
    name = _fold(text.removesuffix("."))
    if not name:
        raise AddressError("the domain is missing")
    labels = [_canonical_label(label) for label in name.split(".")]
    domain = ".".join(labels)
    if len(domain) > MAX_DOMAIN_OCTETS:
        raise AddressError(f"the domain is longer than {MAX_DOMAIN_OCTETS} bytes")
    return domain


def display_domain(domain: str) -> str:
    """Return a canonical domain for display: A-labels decoded to Unicode."""
    return ".".join(
        _decode_label(label) if label.startswith("xn--") else label for label in domain.split(".")
    )


def quote_local(local: str) -> str:
    """Return a canonical local part for the wire, quoted unless it is a dot-string."""
    if _DOT_STRING.match(local):
        return local
    return '"' + local.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _canonical_local(local: str) -> str:
    if quoted := _QUOTED.match(local):
        plain = re.sub(r"\\(.)", r"\1", quoted[1])
    elif _DOT_STRING.match(local):
        plain = local
    else:
        raise AddressError(
            "the part before the @ is neither a dot-string nor a quoted string (RFC 5321 §4.1.2)"
        )
    canonical = _fold(plain)
    if not canonical:
        raise AddressError("the part before the @ is empty")
    if len(canonical.encode()) > MAX_LOCAL_OCTETS:
        raise AddressError(f"the part before the @ is longer than {MAX_LOCAL_OCTETS} bytes")
    return canonical


def _fold(text: str) -> str:
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).lower())


def _canonical_label(label: str) -> str:
    if label.startswith("xn--"):
        label = _fold(_decode_label(label))
        # RFC 5890 §2.3.2.1: an A-label encodes a label that is not ASCII
        if label.isascii() or label.startswith("xn--"):
            raise AddressError("the domain has an xn-- label that stands for no other")
        if _CONTROL.search(label):
            raise AddressError("the domain has an xn-- label that stands for control characters")
    if not label.isascii():
        label = "xn--" + label.encode("punycode").decode("ascii")
    if not _LABEL.match(label):
        raise AddressError(
            "the domain has a label that is empty, longer than 63 bytes or holds a character not allowed"
        )
    return label


def _decode_label(label: str) -> str:
    try:
        return label[4:].encode("ascii").decode("punycode")
    except (UnicodeError, ValueError, OverflowError) as error:
        raise AddressError("the domain has an xn-- label that does not decode") from error


def _canonical_literal(inner: str) -> str:
    try:
        # a zone is meaningless on another host
        if inner[:5].lower() == "ipv6:" and "%" not in inner:
            return f"[IPv6:{ipaddress.IPv6Address(inner[5:]).compressed}]"
        return f"[{ipaddress.IPv4Address(inner)}]"
    except ValueError as error:
        raise AddressError(
            "the domain is in brackets but is no IPv4 or IPv6 address literal"
        ) from error
