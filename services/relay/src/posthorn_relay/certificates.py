"""Whether a host's certificate is what a hop demands: names (RFC 9525), and DANE for SMTP (RFC 7671, RFC 7672).

Rules:

- A chain to the system's trust anchors is OpenSSL's to verify, in the handshake; names are compared here, since one of several
  will do, which OpenSSL's check does not offer.
- DANE-EE(3): the host's own certificate matches, and nothing else counts, neither names nor dates (RFC 7672 §3.1.1).
- DANE-TA(2): one of the issuers matches, the path from the host's certificate up to it holds, and so does the name. The path is
  checked here, as the anchor is known only once the host has shown its chain: signature, dates, CA flag, path length, key usage;
  a critical extension that is not understood refuses it (RFC 5280 §4.2).
- Other usages and unknown selectors or digests are unusable. With none usable, TLS is required and no more (RFC 7672 §2.2).
"""

from __future__ import annotations

import hashlib
import ipaddress
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from posthorn.ports.resolver import Tlsa
from posthorn_relay.transport import TlsResult

_DEEPEST = 8
_UNDERSTOOD = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
    }
)


class Mistrusted(Exception):
    """The certificate is not what is demanded; the text says why, for people, ``result`` of what kind that is."""

    def __init__(self, why: str, result: TlsResult = TlsResult.OTHER) -> None:
        super().__init__(why)
        self.result = result


def check_names(connection: ssl.SSLObject, names: Sequence[str]) -> None:
    """Raise Mistrusted unless the host's certificate is for one of the names."""
    octets = connection.getpeercert(binary_form=True)
    if not octets:
        raise Mistrusted("the host showed no certificate")
    _check_names(_read(octets), names)


def check_dane(connection: ssl.SSLObject, records: Sequence[Tlsa], names: Sequence[str]) -> None:
    """Raise Mistrusted unless the host's chain matches one of these records, all of them usable."""
    shown = [octets for octets in connection.get_unverified_chain() or () if isinstance(octets, bytes)]
    if not shown:
        raise Mistrusted("the host showed no certificate")
    leaf = _read(shown[0])
    if any(record.usage == 3 and _matches(leaf, record) for record in records):
        return
    anchors = [record for record in records if record.usage == 2]
    if not anchors:
        raise Mistrusted("the certificate matches no TLSA record", TlsResult.NO_TLSA_MATCH)
    # An anchor that the record holds whole need not be in the chain (RFC 7671 §5.2.2)
    whole = [record.data for record in anchors if (record.selector, record.matching) == (0, 0)]
    _check_path(leaf, [_read(octets) for octets in (*shown[1:], *whole)], anchors)
    _check_names(leaf, names)


def _read(octets: bytes) -> x509.Certificate:
    try:
        return x509.load_der_x509_certificate(octets)
    except ValueError:
        raise Mistrusted("a certificate does not read") from None


def _matches(certificate: x509.Certificate, record: Tlsa) -> bool:
    if record.selector == 0:
        octets = certificate.public_bytes(Encoding.DER)
    else:
        octets = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    match record.matching:
        case 0:
            return octets == record.data
        case 1:
            return hashlib.sha256(octets).digest() == record.data
        case _:
            return hashlib.sha512(octets).digest() == record.data


def _check_path(leaf: x509.Certificate, issuers: Sequence[x509.Certificate], anchors: Sequence[Tlsa]) -> None:
    """Follow issuers from the leaf up to one that matches an anchor.

    One key may have several certificates, of which one has expired or is for others to see: every way up is tried.
    """
    _check_usage(leaf)
    doubt: Mistrusted | None = None
    ways = [(leaf, 0)]
    seen = {leaf}
    while ways:
        subject, depth = ways.pop(0)
        for issuer in issuers:
            if issuer in seen or not _issued(issuer, subject):
                continue
            seen.add(issuer)
            try:
                _check_authority(issuer, depth)
            except Mistrusted as found:
                doubt = doubt or found
                continue
            if any(_matches(issuer, anchor) for anchor in anchors):
                return
            if depth < _DEEPEST:
                ways.append((issuer, depth + 1))
    raise doubt or Mistrusted("the certificate's chain matches no TLSA record", TlsResult.NO_TLSA_MATCH)


def _issued(issuer: x509.Certificate, subject: x509.Certificate) -> bool:
    try:
        subject.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _check_common(certificate: x509.Certificate) -> x509.Extensions:
    now = datetime.now(UTC)
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        raise Mistrusted("a certificate of the chain has expired or is not valid yet", TlsResult.EXPIRED)
    try:
        extensions = certificate.extensions
    except ValueError:
        raise Mistrusted("a certificate does not read") from None
    if any(one.critical and one.oid not in _UNDERSTOOD for one in extensions):
        raise Mistrusted("a certificate of the chain has a critical extension that is not understood")
    return extensions


def _check_usage(leaf: x509.Certificate) -> None:
    for extension in _check_common(leaf):
        if isinstance(extension.value, x509.ExtendedKeyUsage) and not {
            ExtendedKeyUsageOID.SERVER_AUTH,
            ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
        } & set(extension.value):
            raise Mistrusted("the certificate is not for servers")


def _check_authority(issuer: x509.Certificate, below: int) -> None:
    is_authority = False
    for extension in _check_common(issuer):
        value = extension.value
        if isinstance(value, x509.BasicConstraints):
            is_authority = value.ca and (value.path_length is None or value.path_length >= below)
        elif isinstance(value, x509.KeyUsage) and not value.key_cert_sign:
            raise Mistrusted("a certificate of the chain may sign none")
    if not is_authority:
        raise Mistrusted("a certificate of the chain may sign none")


def _check_names(certificate: x509.Certificate, names: Sequence[str]) -> None:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        hosts = found.get_values_for_type(x509.DNSName)
        addresses = [str(one) for one in found.get_values_for_type(x509.IPAddress)]
    except (x509.ExtensionNotFound, ValueError):
        raise Mistrusted("the certificate bears no name", TlsResult.WRONG_NAME) from None
    if not any(_is_named(name, hosts, addresses) for name in names):
        raise Mistrusted(f"the certificate is not for {' or '.join(names)}", TlsResult.WRONG_NAME)


def _is_named(name: str, hosts: Sequence[str], addresses: Sequence[str]) -> bool:
    try:
        return str(ipaddress.ip_address(name)) in addresses
    except ValueError:
        pass
    wanted = name.lower().rstrip(".")
    _, _, parent = wanted.partition(".")
    # A wildcard stands for one whole leftmost label, and for none of a top-level domain's (RFC 9525 §6.3)
    wild = f"*.{parent}" if "." in parent else None
    return any(host.lower().rstrip(".") in (wanted, wild) for host in hosts)
