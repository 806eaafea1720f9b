"""Checks of a host's certificate: names (RFC 9525), and DANE for SMTP (RFC 7671, RFC 7672).

Rules:

- OpenSSL verifies the chain to the system's trust anchors in the handshake. Names are compared
  here, since one of several is enough, which OpenSSL's check does not offer.
- DANE-EE(3): the host's own certificate matches; neither names nor dates count (RFC 7672 §3.1.1).
- DANE-TA(2): one of the issuers matches, and the path from the host's certificate to it and the
  name are valid. The path is checked here, since the anchor is known only once the host has sent
  its chain: signature, dates, CA flag, path length, key usage; an unknown critical extension
  refuses it (RFC 5280 §4.2).
- Other usages and unknown selectors or digests are unusable. With no usable record, TLS is required
  without verification (RFC 7672 §2.2).
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
from posthorn_relay.smtp.types import TlsResult

_USAGES = frozenset({2, 3})
_SELECTORS = frozenset({0, 1})
_DIGESTS = {1: 32, 2: 64}  # bytes by matching type
_DEEPEST = 8
_UNDERSTOOD = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
    }
)


class CertificateRejected(Exception):
    """The certificate is not as required; the text says why, for people, ``result`` is the kind
    of failure."""

    def __init__(self, why: str, result: TlsResult = TlsResult.OTHER) -> None:
        super().__init__(why)
        self.result = result


def usable_records(records: Sequence[Tlsa]) -> tuple[Tlsa, ...]:
    """Return the TLSA records that a certificate can be compared with (RFC 7672 §3.1)."""
    return tuple(
        record
        for record in records
        if record.usage in _USAGES
        and record.selector in _SELECTORS
        and (
            record.data
            if record.matching == 0
            else len(record.data) == _DIGESTS.get(record.matching)
        )
    )


def check_names(connection: ssl.SSLObject, names: Sequence[str]) -> None:
    """Check that the host's certificate is for one of the names. Raises CertificateRejected."""
    data = connection.getpeercert(binary_form=True)
    if not data:
        raise CertificateRejected("the host showed no certificate")
    _check_names(_read(data), names)


def check_dane(connection: ssl.SSLObject, records: Sequence[Tlsa], names: Sequence[str]) -> None:
    """Check that the host's chain matches one of these usable records. Raises
    CertificateRejected."""
    shown = [data for data in connection.get_unverified_chain() or () if isinstance(data, bytes)]
    if not shown:
        raise CertificateRejected("the host showed no certificate")
    leaf = _read(shown[0])
    if any(record.usage == 3 and _matches(leaf, record) for record in records):
        return
    anchors = [record for record in records if record.usage == 2]
    if not anchors:
        raise CertificateRejected("the certificate matches no TLSA record", TlsResult.NO_TLSA_MATCH)
    # An anchor that the record holds whole need not be in the chain (RFC 7671 §5.2.2)
    whole = [record.data for record in anchors if (record.selector, record.matching) == (0, 0)]
    _check_path(leaf, [_read(data) for data in (*shown[1:], *whole)], anchors)
    _check_names(leaf, names)


def _read(data: bytes) -> x509.Certificate:
    try:
        return x509.load_der_x509_certificate(data)
    except ValueError:
        raise CertificateRejected("a certificate does not read") from None


def _matches(certificate: x509.Certificate, record: Tlsa) -> bool:
    if record.selector == 0:
        data = certificate.public_bytes(Encoding.DER)
    else:
        data = certificate.public_key().public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        )
    match record.matching:
        case 0:
            return data == record.data
        case 1:
            return hashlib.sha256(data).digest() == record.data
        case _:
            return hashlib.sha512(data).digest() == record.data


def _check_path(
    leaf: x509.Certificate, issuers: Sequence[x509.Certificate], anchors: Sequence[Tlsa]
) -> None:
    """Follow issuers from the leaf up to one that matches an anchor.

    One key may have several certificates, one of which has expired or is for other uses: every path
    is tried.
    """
    _check_usage(leaf)
    doubt: CertificateRejected | None = None
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
            except CertificateRejected as found:
                doubt = doubt or found
                continue
            if any(_matches(issuer, anchor) for anchor in anchors):
                return
            if depth < _DEEPEST:
                ways.append((issuer, depth + 1))
    raise doubt or CertificateRejected(
        "the certificate's chain matches no TLSA record", TlsResult.NO_TLSA_MATCH
    )


def _issued(issuer: x509.Certificate, subject: x509.Certificate) -> bool:
    try:
        subject.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _check_common(certificate: x509.Certificate) -> x509.Extensions:
    now = datetime.now(UTC)
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        raise CertificateRejected(
            "a certificate of the chain has expired or is not valid yet", TlsResult.EXPIRED
        )
    try:
        extensions = certificate.extensions
    except ValueError:
        raise CertificateRejected("a certificate does not read") from None
    if any(one.critical and one.oid not in _UNDERSTOOD for one in extensions):
        raise CertificateRejected(
            "a certificate of the chain has a critical extension that is not understood"
        )
    return extensions


def _check_usage(leaf: x509.Certificate) -> None:
    for extension in _check_common(leaf):
        if isinstance(extension.value, x509.ExtendedKeyUsage) and not {
            ExtendedKeyUsageOID.SERVER_AUTH,
            ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
        } & set(extension.value):
            raise CertificateRejected("the certificate is not for servers")


def _check_authority(issuer: x509.Certificate, below: int) -> None:
    is_authority = False
    for extension in _check_common(issuer):
        value = extension.value
        if isinstance(value, x509.BasicConstraints):
            is_authority = value.ca and (value.path_length is None or value.path_length >= below)
        elif isinstance(value, x509.KeyUsage) and not value.key_cert_sign:
            raise CertificateRejected("a certificate of the chain may sign none")
    if not is_authority:
        raise CertificateRejected("a certificate of the chain may sign none")


def _check_names(certificate: x509.Certificate, names: Sequence[str]) -> None:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        hosts = found.get_values_for_type(x509.DNSName)
        addresses = [str(one) for one in found.get_values_for_type(x509.IPAddress)]
    except (x509.ExtensionNotFound, ValueError):
        raise CertificateRejected("the certificate bears no name", TlsResult.WRONG_NAME) from None
    if not any(_is_named(name, hosts, addresses) for name in names):
        raise CertificateRejected(
            f"the certificate is not for {' or '.join(names)}", TlsResult.WRONG_NAME
        )


def _is_named(name: str, hosts: Sequence[str], addresses: Sequence[str]) -> bool:
    try:
        return str(ipaddress.ip_address(name)) in addresses
    except ValueError:
        pass
    wanted = name.lower().rstrip(".")
    _, _, parent = wanted.partition(".")
    # A wildcard stands for one whole leftmost label, and for none of a top-level domain's (RFC 9525
    # §6.3)
    wild = f"*.{parent}" if "." in parent else None
    return any(host.lower().rstrip(".") in (wanted, wild) for host in hosts)
