"""Records that ask for reports: ``_smtp._tls`` (RFC 8460 §3), and the consent of another domain to
receive those of one that names it (RFC 9990 §4)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from posthorn.wire.address import AddressError
from posthorn.wire.auth.dmarc_record import parse_dmarc
from posthorn.wire.foreign_address import parse_foreign

_VERSION = re.compile(r"v=TLSRPTv1[ \t]*;", re.IGNORECASE)
_MAILTO = re.compile(r"mailto:([^\s,;!?@<>\"]{1,64}@[A-Za-z0-9.-]{1,253})\Z", re.IGNORECASE)
_HTTPS = re.compile(
    r"https://(?:[A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?(?:[/?][!-~]{0,500})?\Z",
    re.IGNORECASE,
)
MOST_ADDRESSES = 5


@dataclass(frozen=True, slots=True)
class TlsDestinations:
    """Where a domain wants its TLS reports: at most MOST_ADDRESSES of each kind."""

    mailboxes: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()
    """HTTPS, without a user name."""


def tls_destinations(texts: Sequence[str]) -> TlsDestinations:
    """Return what a TLSRPT record names; nothing without exactly one record (RFC 8460 §3)."""
    found = [text for text in texts if _VERSION.match(text)]
    if len(found) != 1:
        return TlsDestinations()
    for tag in found[0].split(";")[1:]:
        name, _, value = tag.partition("=")
        if name.strip().lower() == "rua":
            uris = [each.strip() for each in value.split(",")]
            mailboxes = (uri[1] for each in uris if (uri := _MAILTO.match(each)))
            urls = (each for each in uris if _HTTPS.match(each))
            return TlsDestinations(
                tuple(dict.fromkeys(filter(_is_address, mailboxes)))[:MOST_ADDRESSES],
                tuple(dict.fromkeys(urls))[:MOST_ADDRESSES],
            )
    return TlsDestinations()


def _is_address(text: str) -> bool:
    try:
        parse_foreign(text)
    except AddressError:
        return False
    return True


def consents(texts: Sequence[str]) -> bool:
    """Return whether the records at ``<domain>._report._dmarc.<destination>`` allow reports: one of
    them begins like a DMARC record, whatever else it holds."""
    return any(text.replace(" ", "").startswith("v=DMARC1") for text in texts)


def is_same_owner(domain: str, destination: str, texts: Sequence[str]) -> bool:
    """Return whether the destination is the domain, or above it and no public suffix.

    ``texts`` are the TXT records at ``_dmarc.<destination>``: a domain that publishes a policy of
    its own without ``psd=y`` is an organization's (RFC 9989 §4.10).
    """
    if destination == domain or destination.endswith(f".{domain}"):
        return True
    if not domain.endswith(f".{destination}"):
        return False
    records = [record for text in texts if (record := parse_dmarc(text.encode("ascii", "replace")))]
    return len(records) == 1 and records[0].psd != "y"
