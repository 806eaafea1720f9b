"""Automatic reports, recognised by their shape."""

from __future__ import annotations

import re

from posthorn.model.verdict import ReportKind
from posthorn.wire.spam.facts import MessageFacts

_DMARC_FILE = re.compile(r"[^!\s]+![^!\s]+!\d+!\d+(?:![^!\s]*)?\.(?:xml|xml\.gz|zip|gz)\Z", re.I)
"""``receiver!policy domain!begin!end.xml.gz`` (RFC 9990)."""
_TLS_TYPES = ("application/tlsrpt+json", "application/tlsrpt+gzip")


def report_kind(facts: MessageFacts) -> ReportKind | None:
    """Return what kind of report a message seems to be (RFC 9990, RFC 8460, RFC 5965)."""
    if "message/feedback-report" in facts.types:
        return ReportKind.ABUSE
    if any(each in facts.types for each in _TLS_TYPES):
        return ReportKind.TLS
    if any(_DMARC_FILE.match(each.name) for each in facts.files):
        return ReportKind.DMARC
    return None
