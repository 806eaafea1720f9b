"""Delivery status notifications: multipart/report (RFC 6522) with RFC 3464, and RFC 6533 for
SMTPUTF8.

Rules:

- Composing is a pure function: the same report gives the same bytes.
- It travels without 8BITMIME: what is not ASCII is encoded, an address in the status part as
  utf-8-addr-xtext. Only the To field of a sender with an address in UTF-8 is not, and nobody but an
  SMTPUTF8 host takes mail for such a sender.
- A message asked for in full (RFC 3461 §4.3) is returned when every host takes it as it is and it
  is of moderate size, since message/rfc822 cannot be encoded (RFC 2046 §5.2.1); else its header is,
  as RFC 3461 §6.2 allows. A header that not every host takes is returned in quoted-printable (RFC
  6522 §4).
- The sender of a forwarded message does not learn where it was forwarded to: neither the address
  nor the host.
- The remote host's reply is shown as it is, but in one printable line: it cannot end a field or a
  part.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from posthorn.wire.message.header import header_end, scan_header
from posthorn.wire.message.header_decoding import decode_text
from posthorn.wire.message.trace import mail_date
from posthorn.wire.message.transfer_encoding import has_long_line, quoted_printable
from posthorn.wire.smtp.client_replies import printable
from posthorn.wire.smtp.data import line_ends_are_whole

HEADER_LIMIT = 64 * 1024
"""Limit of the returned original header, in bytes."""
FULL_LIMIT = 256 * 1024
"""Size in bytes up to which a message is returned in full to those who ask for it."""

_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}\Z")
_MESSAGE_ID = re.compile(r"<[\x21-\x3b\x3d\x3f-\x7e]{1,900}>")
_ENCODED_COLUMNS = 57  # bytes in a line of base64 of 76 characters


class Action(StrEnum):
    """The Action field: what happened to the message for a recipient (RFC 3464 §2.3.3)."""

    FAILED = "failed"
    DELAYED = "delayed"
    DELIVERED = "delivered"
    RELAYED = "relayed"
    EXPANDED = "expanded"


@dataclass(frozen=True, slots=True)
class RecipientStatus:
    """The status of one recipient (RFC 3464 §2.3). Times are in seconds since the epoch."""

    address: str
    """As the sender knows it: for a forwarded message the address it was sent to."""
    action: Action
    status: str = ""
    """Enhanced status code (RFC 3463); without one, or with one of an impossible class, a
    general one is used."""
    reply: str = ""
    """The remote host's reply with its code, or what went wrong in our words."""
    host: str = ""
    """``name (address)`` of the remote host."""
    forwarded_to: str = ""
    """Where the message was forwarded to, which the report must not reveal."""
    orcpt: str = ""
    """``addr-type;address`` of RFC 3461 §4.2, xtext decoded."""
    last_attempt_at: float | None = None
    retry_until: float | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """The content of a DSN. All recipients have the same action."""

    identity: str
    """Unique; the Message-ID is made from it."""
    at: float
    """Seconds since the epoch at which it is written."""
    host: str
    """Name of the reporting mail server."""
    postmaster: str
    """Address in the From field."""
    sender: str
    """Recipient of the DSN."""
    arrived_at: float
    """When the message arrived, in seconds since the epoch."""
    recipients: Sequence[RecipientStatus]
    original: bytes = b""
    """The message, or its beginning, in CRLF form; empty if it is not available."""
    full: bool = False
    """``original`` is all of it, and the sender wants it back."""
    envid: str = ""
    smtputf8: bool = False
    """The message needed SMTPUTF8: its header is returned as RFC 6533 demands."""
    quotes_subject: bool = True
    """The text quotes the subject. False where the sender may be forged: it would be their text,
    sent to somebody else."""


_SUBJECTS = {
    Action.FAILED: "Your message could not be delivered",
    Action.DELAYED: "Your message is delayed",
    Action.DELIVERED: "Your message was delivered",
    Action.RELAYED: "Your message was passed on",
    Action.EXPANDED: "Your message was passed on to several addresses",
}
_OPENINGS = {
    Action.FAILED: "could not be delivered to",
    Action.DELAYED: "has not been delivered yet to",
    Action.DELIVERED: "was delivered to",
    Action.RELAYED: "was passed on to a mail server that sends no confirmations, for",
    Action.EXPANDED: "was passed on to the addresses behind",
}
_ADVICE = {
    Action.FAILED: "It will not be tried again. Check the address, or see what the other server says above; then\r\n"
    "send the message again, or reach the recipient another way.",
    Action.DELAYED: "You need not do anything: it is tried again by itself until {until}.\r\n"
    "Should it fail for good, you will be told.",
    Action.DELIVERED: "You asked for this confirmation. It says that the message lies in the mailbox, not that it was read.",
    Action.RELAYED: "You asked for a confirmation. Whether the message reached the mailbox is not known here; should the\r\n"
    "other server fail to deliver it, that server will tell you.",
    Action.EXPANDED: "You asked for this confirmation.",
}
_HINTS = {
    "5.1.1": "There is no such mailbox at that domain.",
    "5.1.2": "There is no such domain, or it cannot be reached by mail.",
    "5.1.10": "The domain takes no mail at all.",
    "5.2.1": "The mailbox is closed.",
    "5.2.2": "The mailbox is full.",
    "5.3.4": "The message is larger than the other server takes.",
    "5.7.1": "The other server does not accept this message from you.",
    "4.4.7": "It was tried again and again, and the time for that is over.",
}
_CLASSES = {Action.FAILED: "54", Action.DELAYED: "4"}


def compose(report: Report) -> bytes:
    """Return the DSN as a message in CRLF form, without trace fields."""
    head = _head(report.original)
    parts = [
        _part(
            "text/plain; charset=utf-8",
            _words(report, head).encode("utf-8", "replace"),
            "Notification",
        )
    ]
    parts.append(_status(report))
    if report.original:
        parts.append(_returned(report, head))
    boundary = f"=_{report.identity}"
    while any(boundary.encode() in part for part in parts):
        boundary += "_"
    lines = [*_header(report, head, boundary), "", "This is a report in several parts (MIME).", ""]
    text = "\r\n".join(lines).encode("utf-8", "replace")
    mark = boundary.encode()
    return (
        text + b"".join(b"--%b\r\n%b\r\n" % (mark, part) for part in parts) + b"--%b--\r\n" % mark
    )


def _header(report: Report, head: bytes, boundary: str) -> Iterator[str]:
    action = report.recipients[0].action
    yield f"Date: {mail_date(report.at)}"
    yield f"From: Mail Delivery System <{printable(report.postmaster)}>"
    yield f"To: <{printable(report.sender)}>"
    yield f"Subject: {_SUBJECTS[action]}"
    yield f"Message-ID: <{report.identity}@{report.host}>"
    if found := _MESSAGE_ID.search(scan_header(head).summary.message_id):
        yield f"In-Reply-To: {found[0]}"
        yield f"References: {found[0]}"
    yield "Auto-Submitted: auto-replied"  # RFC 3834 §5; no responder answers it
    yield "MIME-Version: 1.0"
    yield f'Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary="{boundary}"'


# The part for people


def _words(report: Report, head: bytes) -> str:
    action = report.recipients[0].action
    lines = [f"This is the mail server {report.host}.", ""]
    subject = scan_header(head).summary.subject if report.quotes_subject else ""
    subject = printable(decode_text(subject), 200)
    about = f'Your message "{subject}"' if subject else "Your message"
    lines += [f"{about} of {mail_date(report.arrived_at)}", f"{_OPENINGS[action]}:", ""]
    for recipient in report.recipients:
        lines.append(f"  {printable(recipient.address)}")
        if hint := _HINTS.get(_status_of(recipient)):
            lines.append(f"    {hint}")
        if reply := _reply_of(recipient):
            host = "" if recipient.forwarded_to else printable(recipient.host)
            remote = reply[:3].isdigit()
            who = (
                f"The server {host} said"
                if host and remote
                else "The other server said"
                if remote
                else "The reason"
            )
            lines += [f"    {who}:", f"    {reply}"]
        lines.append("")
    until = [
        recipient.retry_until
        for recipient in report.recipients
        if recipient.retry_until is not None
    ]
    lines.append(_ADVICE[action].format(until=mail_date(max(until)) if until else "it is given up"))
    lines += [
        "",
        f"If you need help, write to postmaster@{report.host} and include this message.",
        "",
    ]
    return "\r\n".join(lines)


# The part for programs (RFC 3464 §2)


def _status(report: Report) -> bytes:
    groups = [
        list(_per_message(report)),
        *(list(_per_recipient(recipient)) for recipient in report.recipients),
    ]
    text = "\r\n".join("".join(f"{line}\r\n" for line in group) for group in groups)
    return _part("message/delivery-status", text.encode("ascii", "replace"), "Delivery report")


def _per_message(report: Report) -> Iterator[str]:
    if report.envid:
        yield f"Original-Envelope-Id: {_plain(report.envid)}"
    yield f"Reporting-MTA: dns; {report.host}"
    yield f"Arrival-Date: {mail_date(report.arrived_at)}"


def _per_recipient(recipient: RecipientStatus) -> Iterator[str]:
    kind, separator, address = recipient.orcpt.partition(";")
    if separator and address:
        yield f"Original-Recipient: {_plain(kind)};{_address(kind, address)}"
    typed = "rfc822" if recipient.address.isascii() else "utf-8"
    yield f"Final-Recipient: {typed};{_address(typed, recipient.address)}"
    yield f"Action: {recipient.action}"
    yield f"Status: {_status_of(recipient)}"
    if recipient.host and not recipient.forwarded_to:
        yield f"Remote-MTA: dns; {_plain(recipient.host)}"
    if reply := _reply_of(recipient):
        yield f"Diagnostic-Code: {'smtp' if reply[:3].isdigit() else 'x-posthorn'}; {_plain(reply)}"
    if recipient.last_attempt_at is not None:
        yield f"Last-Attempt-Date: {mail_date(recipient.last_attempt_at)}"
    if recipient.retry_until is not None and recipient.action is Action.DELAYED:
        yield f"Will-Retry-Until: {mail_date(recipient.retry_until)}"


def _status_of(recipient: RecipientStatus) -> str:
    classes = _CLASSES.get(recipient.action, "2")
    return (
        recipient.status
        if _STATUS.match(recipient.status) and recipient.status[0] in classes
        else f"{classes[0]}.0.0"
    )


def _reply_of(recipient: RecipientStatus) -> str:
    reply = recipient.reply
    if recipient.forwarded_to:
        reply = re.sub(
            re.escape(recipient.forwarded_to),
            lambda _: recipient.address,
            reply,
            flags=re.IGNORECASE,
        )
        domain = recipient.forwarded_to.rpartition("@")[2]
        reply = (
            re.sub(rf"[\w.-]*{re.escape(domain)}", "(its host)", reply, flags=re.IGNORECASE)
            if domain
            else reply
        )
    return printable(reply)


def _plain(text: str) -> str:
    return printable(text).encode("ascii", "replace").decode()


def _address(kind: str, address: str) -> str:
    """Return an address of the type rfc822, or of utf-8 as utf-8-addr-xtext (RFC 6533 §3)."""
    shown = printable(address)
    if shown.isascii() and kind.lower() != "utf-8":
        return shown
    return "".join(
        character
        if character.isascii() and character not in "\\+="
        else "\\x{" + f"{ord(character):02X}" + "}"
        for character in shown
    )


# The original


def _returned(report: Report, head: bytes) -> bytes:
    if report.full and len(report.original) <= FULL_LIMIT and _travels(report.original):
        return (
            b"Content-Type: message/rfc822\r\nContent-Description: Your message\r\n\r\n"
            + _ended(report.original)
        )
    kind = (
        "message/global-headers"
        if report.smtputf8 and not head.isascii()
        else "text/rfc822-headers"
    )
    return _part(kind, _ended(head), "Header of your message")


def _head(original: bytes) -> bytes:
    """Return the header block; if it exceeds the limit, its complete lines."""
    block = original[:HEADER_LIMIT]
    end = header_end(block)
    return block[: end if end >= 0 else block.rfind(b"\r\n") + 2]


def _ended(block: bytes) -> bytes:
    return block if block.endswith(b"\r\n") else block + b"\r\n"


def _part(kind: str, content: bytes, description: str) -> bytes:
    head = f"Content-Type: {kind}\r\nContent-Description: {description}\r\n"
    if _travels(content):
        return head.encode() + b"\r\n" + content
    if kind == "text/rfc822-headers":
        encoding, encoded = "quoted-printable", b"".join(quoted_printable(content, 0, len(content)))
    else:
        encoding, encoded = (
            "base64",
            b"".join(
                base64.b64encode(content[at : at + _ENCODED_COLUMNS]) + b"\r\n"
                for at in range(0, len(content), _ENCODED_COLUMNS)
            ),
        )
    return f"{head}Content-Transfer-Encoding: {encoding}\r\n\r\n".encode() + encoded


def _travels(content: bytes) -> bool:
    """Return whether every host takes it: no line over 998 bytes, no bare CR or LF, no NUL (RFC
    5322 §2)."""
    return (
        content.isascii()
        and b"\0" not in content
        and line_ends_are_whole(content)
        and not has_long_line(content, 0, len(content))
    )
