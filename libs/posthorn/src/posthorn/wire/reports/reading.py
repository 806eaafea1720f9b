"""Finds the report in a message, whatever its media type and file name are."""

from __future__ import annotations

from posthorn.wire.reports.dmarc import DmarcReport, parse_dmarc
from posthorn.wire.reports.tls import TlsReport, parse_tls
from posthorn.wire.reports.unpacking import ReportError, attachments, unpacked

_PACKED = (b"\x1f\x8b", b"PK\x03\x04")


def find_dmarc(message: bytes) -> DmarcReport:
    """Return the aggregate report in a message. Raises ReportError, with what was wrong with the
    attachment that came nearest."""
    fault = ReportError("the message has no attachment with an aggregate report")
    for content in _candidates(message, b"<"):
        try:
            return parse_dmarc(unpacked(content))
        except ReportError as error:
            fault = error
    raise fault


def find_tls(message: bytes) -> TlsReport:
    """Return the TLS report in a message. Raises ReportError like ``find_dmarc``."""
    fault = ReportError("the message has no attachment with a TLS report")
    for content in _candidates(message, b"{"):
        try:
            return parse_tls(unpacked(content))
        except ReportError as error:
            fault = error
    raise fault


def _candidates(message: bytes, opening: bytes) -> list[bytes]:
    """Return attachments that are packed, or begin like the document; packed ones first."""
    found = [each.content for each in attachments(message) if each.type != "text/html"]
    packed = [each for each in found if each.startswith(_PACKED)]
    return packed + [
        each for each in found if each.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(opening)
    ]
