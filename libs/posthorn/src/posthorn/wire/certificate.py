"""The end of a certificate's validity, read from its DER form (RFC 5280 §4.1).

No more of X.509 is needed, and a library for all of it would take 10 MB in each process.
"""

from __future__ import annotations

from datetime import UTC, datetime

_SEQUENCE, _VERSION, _UTC_TIME, _GENERALIZED_TIME = 0x30, 0xA0, 0x17, 0x18


def not_after(der: bytes) -> datetime:
    """Return ``notAfter`` of a certificate. Raises ValueError for what is not one."""
    certificate, _ = _value(der, _SEQUENCE)
    fields, _ = _value(certificate, _SEQUENCE)
    if fields[:1] == bytes([_VERSION]):
        fields = _behind(fields)
    for _ in range(3):  # serial number, signature algorithm, issuer
        fields = _behind(fields)
    validity, _ = _value(fields, _SEQUENCE)
    return _time(_behind(validity))


def _time(data: bytes) -> datetime:
    tag, text = data[:1], _element(data)[0].decode("ascii")
    if tag == bytes([_UTC_TIME]):  # years 1950 to 2049 (RFC 5280 §4.1.2.5.1)
        text = ("19" if text[:2] >= "50" else "20") + text
    elif tag != bytes([_GENERALIZED_TIME]):
        raise ValueError("not a time")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)


def _value(data: bytes, tag: int) -> tuple[bytes, bytes]:
    if data[:1] != bytes([tag]):
        raise ValueError("not a certificate")
    return _element(data)


def _behind(data: bytes) -> bytes:
    return _element(data)[1]


def _element(data: bytes) -> tuple[bytes, bytes]:
    """Return the content of the first element, and what follows it."""
    if len(data) < 2:
        raise ValueError("not a certificate")
    length, start = data[1], 2
    if length >= 0x80:
        start += length & 0x7F
        length = int.from_bytes(data[2:start])
    if len(data) < start + length:
        raise ValueError("not a certificate")
    return data[start : start + length], data[start + length :]
