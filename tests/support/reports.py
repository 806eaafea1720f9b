"""Messages that carry automatic reports, as other hosts send them."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from posthorn.model.envelope import Body
from posthorn.model.verdict import ReportKind, Verdict
from posthorn.ports.segments import SegmentMessage
from posthorn.wire.auth.results import Authentication, Dmarc, Outcome
from posthorn.wire.reports.dmarc import DmarcRecord, DmarcReport, PublishedPolicy
from posthorn.wire.reports.dmarc_xml import compose_dmarc
from posthorn.wire.reports.tls import TlsFailure, TlsPolicy, TlsReport, compose_tls
from tests.support.builders import make_message


def report_message(
    account: int, kind: ReportKind, body: bytes, *, author: str = "provider.test"
) -> SegmentMessage:
    """Return a message in an INBOX with a report; without ``author`` it did not pass DMARC."""
    outcome = Outcome.PASS if author else Outcome.FAIL
    dmarc = Dmarc(outcome, domain=author or "forged.test")
    verdict = Verdict(scanned_at=0.0, authentication=Authentication(dmarc=dmarc), report=kind)
    made = make_message([account], size=len(body))
    return replace(
        made, envelope=replace(made.envelope, body=Body.from_message(body), verdict=verdict)
    )


def attached(content: bytes, name: str, media_type: str = "application/gzip") -> bytes:
    """Return a message with an attachment."""
    head = (
        "From: reports@provider.test\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
        "--b\r\n\r\na report\r\n"
        f'--b\r\nContent-Type: {media_type}\r\nContent-Disposition: attachment; filename="{name}"\r\n'
        "Content-Transfer-Encoding: base64\r\n\r\n"
    )
    packed = base64.encodebytes(content).replace(b"\n", b"\r\n")
    return head.encode() + packed + b"--b--\r\n"


def dmarc_body(
    domain: str, records: Sequence[DmarcRecord], *, report_id: str = "r1", begin: int = 0
) -> bytes:
    """Return a message with an aggregate report."""
    report = DmarcReport(
        "Provider Inc.",
        "dmarc@provider.test",
        report_id,
        begin,
        begin + 86399,
        PublishedPolicy(domain, "reject"),
        tuple(records),
    )
    return attached(gzip.compress(compose_dmarc(report)), f"provider.test!{domain}!0!1.xml.gz")


def tls_body(domain: str, *, report_id: str = "t1") -> bytes:
    """Return a message with a TLS report."""
    failures = (TlsFailure("certificate-expired", 2, receiving_host="mx.example.test"),)
    policies = (
        TlsPolicy("sts", domain, 7, 3, failures),
        TlsPolicy("sts", "somebody.else.test", 1, 0),
    )
    report = TlsReport("Provider Inc.", "", report_id, 0, 0, policies)
    return attached(gzip.compress(compose_tls(report)), "t.json.gz", "application/tlsrpt+gzip")


def complaint_body(
    message: UUID | None, *, recipient: str = "", kind: str = "abuse", to: str = ""
) -> bytes:
    """Return a message with a feedback report about a message sent from here."""
    told = f"Original-Rcpt-To: <{recipient}>\n" if recipient else ""
    header = f"To: {to}\n" if to else ""
    return (
        (
            "From: fbl@provider.test\n"
            "Content-Type: multipart/report; report-type=feedback-report; boundary=b\n\n"
            "--b\nContent-Type: message/feedback-report\n\n"
            f"Feedback-Type: {kind}\nUser-Agent: Loop/1\nVersion: 1\n{told}\n"
            "--b\nContent-Type: message/rfc822\n\n"
            f"Received: from unknown by mail.example.test with HTTP\n\tid {message};\n\tsome day\n"
            f"Message-ID: <1@example.test>\nFrom: alice@example.test\n{header}Subject: news\n\nnews\n"
            "--b--\n"
        )
        .replace("\n", "\r\n")
        .encode()
    )
