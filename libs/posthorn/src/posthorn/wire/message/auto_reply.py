"""Automatic replies to messages (RFC 3834): which messages get one, and what it looks like.

Rules:

- Never to the null reverse-path, to programs and lists, or to what is automatic itself (§2).
- Only to messages that name one of the recipient's own addresses in To, Cc or Bcc, or in the same
  fields with Resent- (§2, RFC 5230 §4.5).
- The reply goes to the reverse-path (§4), says that it is automatic (§5), and refers to the message
  (§3.1.5).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from posthorn.wire.imap.addresses import parse_addresses
from posthorn.wire.message.header import header_end
from posthorn.wire.message.header_text import address_field, text_field
from posthorn.wire.message.trace import mail_date
from posthorn.wire.message.transfer_encoding import quoted_printable

SCANNED_BYTES = 64 * 1024
"""Bytes of a message that are looked at."""
_FIELD = re.compile(rb"^([!-9;-~]+)[ \t]*:((?:[^\r\n]|\r\n[ \t])*)", re.MULTILINE)
_FOLD = re.compile(rb"\r\n(?=[ \t])")
_NAMED_IN = ("to", "cc", "bcc", "resent-to", "resent-cc", "resent-bcc")
_PROGRAMS = re.compile(
    r"(?:owner-.*|.*-(?:request|owner|bounces?)|(?:mailer-daemon|listserv|majordomo|postmaster"
    r"|no-?reply|do-?not-?reply)(?:[-+.].*)?)\Z",
    re.IGNORECASE,
)
_SUPPRESSING = frozenset({"all", "oof", "autoreply"})
_MESSAGE_ID = re.compile(rb"<[^<>\s]{1,900}>")


@dataclass(frozen=True, slots=True)
class AutoReply:
    """A reply."""

    identity: str
    """Left part of its Message-ID."""
    at: float
    """Seconds since the epoch."""
    account: str
    """Address of the account that replies."""
    sender: str
    """The reverse-path of the message that is replied to."""
    subject: str
    text: str
    in_reply_to: str = ""
    """Message-ID of that message, in angle brackets."""


def answers_to(reverse_path: str) -> bool:
    """Return whether a sender gets automatic replies: a person's address, as far as it shows."""
    local, at, _ = reverse_path.rpartition("@")
    return bool(at) and _PROGRAMS.match(local) is None


def may_reply(head: bytes, own: Collection[str]) -> bool:
    """Return whether a message gets an automatic reply, by the start of it in CRLF form. ``own``:
    the recipient's own addresses, in lower case."""
    fields = _fields(head)
    if any(name.startswith("list-") for name in fields) or "x-failed-recipients" in fields:
        return False
    if _word(fields, "auto-submitted") not in ("", "no"):
        return False
    if _word(fields, "precedence") in ("bulk", "junk", "list"):
        return False
    if _word(fields, "content-type") == "multipart/report":
        return False
    suppressed = _text(fields, "x-auto-response-suppress").lower()
    if _SUPPRESSING.intersection(re.split(r"[\s,]+", suppressed)):
        return False
    return any(address in own for name in _NAMED_IN for address in _addresses(fields, name))


def message_id_in(head: bytes) -> str:
    """Return the Message-ID of a message, in angle brackets; empty without one."""
    values = _fields(head).get("message-id", ())
    found = _MESSAGE_ID.search(values[0]) if values else None
    return found[0].decode("ascii", "ignore") if found is not None else ""


def compose(reply: AutoReply) -> bytes:
    """Return the reply as a message, without a Return-Path."""
    domain = reply.account.rpartition("@")[2]
    head = (
        address_field("From", [("", reply.account)])
        + address_field("To", [("", reply.sender)])
        + text_field("Subject", reply.subject)
        + f"Date: {mail_date(reply.at)}\r\nMessage-ID: <{reply.identity}@{domain}>\r\n"
    )
    if reply.in_reply_to:
        head += f"In-Reply-To: {reply.in_reply_to}\r\nReferences: {reply.in_reply_to}\r\n"
    head += (
        "Auto-Submitted: auto-replied (vacation)\r\n"
        "X-Auto-Response-Suppress: All\r\n"
        "MIME-Version: 1.0\r\n"
        "Content-Type: text/plain; charset=utf-8\r\n"
        "Content-Transfer-Encoding: quoted-printable\r\n\r\n"
    )
    lines = "\r\n".join(reply.text.splitlines()) + "\r\n"
    text = lines.encode("utf-8", "replace")
    return head.encode() + b"".join(quoted_printable(text, 0, len(text)))


def _fields(head: bytes) -> Mapping[str, list[bytes]]:
    block = head[:SCANNED_BYTES]
    end = header_end(block)
    found: dict[str, list[bytes]] = {}
    for name, value in _FIELD.findall(block[: end if end >= 0 else None]):
        found.setdefault(name.decode("ascii").lower(), []).append(_FOLD.sub(b"", value))
    return found


def _text(fields: Mapping[str, list[bytes]], name: str) -> str:
    return " ".join(value.decode("ascii", "replace") for value in fields.get(name, ())).strip()


def _word(fields: Mapping[str, list[bytes]], name: str) -> str:
    """Return the first word of a field, in lower case, without parameters and comments."""
    return re.split(r"[;(\s]", _text(fields, name), maxsplit=1)[0].lower()


def _addresses(fields: Mapping[str, list[bytes]], name: str) -> list[str]:
    return [
        f"{each.mailbox.decode('utf-8', 'replace')}@{each.host.decode('utf-8', 'replace')}".lower()
        for value in fields.get(name, ())
        for each in parse_addresses(value)
        if each.mailbox is not None and each.host is not None
    ]
