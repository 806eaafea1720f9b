"""Messages that carry our reports (RFC 9990 §3.5, RFC 8460 §5): gzip, with the subject and the
fields that receivers look for, marked as automatic so that nobody answers."""

from __future__ import annotations

import base64
import gzip
from dataclasses import dataclass

from posthorn.wire.message.trace import mail_date

_LINE = 76


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sends the reports."""

    domain: str
    """In whose name they are signed."""
    hostname: str

    @property
    def address(self) -> str:
        """The author's address."""
        return f"postmaster@{self.domain}"


def dmarc_message(
    sender: Sender,
    to: str,
    *,
    about: str,
    report_id: str,
    message_id: str,
    at: float,
    name: str,
    content: bytes,
) -> bytes:
    """Return the message with an aggregate report. ``name``: of the attachment; ``content``: the
    XML document."""
    head = [
        *_common(sender, to, about, report_id, message_id, at),
        f'Content-Type: multipart/mixed; boundary="=_{message_id}"',
    ]
    text = (
        f"This is a DMARC aggregate report for {about} from {sender.domain} (RFC 9990).\r\n"
        "It is sent because the DMARC record of the domain asks for it.\r\n"
    )
    return _joined(head, text, "application/gzip", name, content, message_id)


def tls_message(
    sender: Sender,
    to: str,
    *,
    about: str,
    report_id: str,
    message_id: str,
    at: float,
    name: str,
    content: bytes,
) -> bytes:
    """Return the message with a TLS report. ``content``: the JSON document."""
    head = [
        *_common(sender, to, about, report_id, message_id, at),
        f"TLS-Report-Domain: {about}",
        f"TLS-Report-Submitter: {sender.domain}",
        "TLS-Required: No",
        'Content-Type: multipart/report; report-type="tlsrpt";',
        f'\tboundary="=_{message_id}"',
    ]
    text = (
        f"This is a TLS report for {about} from {sender.domain} (RFC 8460).\r\n"
        "It is sent because the record _smtp._tls of the domain asks for it.\r\n"
    )
    return _joined(head, text, "application/tlsrpt+gzip", name, content, message_id)


def _common(
    sender: Sender, to: str, about: str, report_id: str, message_id: str, at: float
) -> list[str]:
    return [
        f"From: Mail reports <{sender.address}>",
        f"To: <{to}>",
        f"Subject: Report Domain: {about}\r\n\tSubmitter: {sender.domain}\r\n\tReport-ID: <{report_id}>",
        f"Date: {mail_date(at)}",
        f"Message-ID: <{message_id}@{sender.domain}>",
        "Auto-Submitted: auto-generated",
        "MIME-Version: 1.0",
    ]


def _joined(
    head: list[str], text: str, media_type: str, name: str, content: bytes, identity: str
) -> bytes:
    encoded = base64.b64encode(gzip.compress(content, mtime=0)).decode()
    lines = [encoded[place : place + _LINE] for place in range(0, len(encoded), _LINE)]
    parts = [
        *head,
        "",
        f"--=_{identity}",
        "Content-Type: text/plain; charset=us-ascii",
        "",
        text,
        f"--=_{identity}",
        f"Content-Type: {media_type}",
        f'Content-Disposition: attachment;\r\n\tfilename="{name}"',
        "Content-Transfer-Encoding: base64",
        "",
        *lines,
        f"--=_{identity}--",
        "",
    ]
    return "\r\n".join(parts).encode()
