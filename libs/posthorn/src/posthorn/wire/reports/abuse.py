"""Complaints in the Abuse Reporting Format (ARF, RFC 5965), and the forms that feedback loops send
in practice.

Rules:

- The feedback-report part may hold three fields only (Microsoft's), and the part with the original
  message may hold its header alone.
- Of several Message-ID fields in that part the last is the message's: programs add their own above.
- The message complained of is known by our own trace field, ``Received: … id <UUID>``: an id that
  its recipients and we alone know. The Message-ID is what anybody may have written.
- ``not-spam`` is no complaint (RFC 6430): it says that a message was wrongly taken for spam.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

from posthorn.wire.message.mime import scan_message
from posthorn.wire.reports.unpacking import Attachment, ReportError, attachments

_REPORT = "message/feedback-report"
_FIELD = re.compile(rb"([\x21-\x39\x3b-\x7e]+)[ \t]*:[ \t]*((?:[^\n]*\r?\n[ \t])*[^\n]*)\n?")
_FOLD = re.compile(r"\r?\n[ \t]+")
_UUID = "([0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12})"
_ID = re.compile(rf"\bid\s+{_UUID}", re.IGNORECASE)
_SENT = re.compile(rf"{_UUID}@", re.IGNORECASE)
_ANGLED = re.compile(r"<([^<>\s]{1,500})>")
_ADDRESS = re.compile(r"[^\s<>,;:\"]{1,64}@[^\s<>,;:\"@]{1,255}")
_HEADER_BYTES = 64 * 1024
_MOST_FIELDS = 500
_LONGEST = 500
_MOST_RECIPIENTS = 20
_MOST_IDS = 5
_RECIPIENT_FIELDS = ("original-rcpt-to", "removal-recipient")
_ORIGINAL_RECIPIENT_FIELDS = ("x-hmxmroriginalrecipient",)


@dataclass(frozen=True, slots=True)
class Complaint:
    """A feedback report."""

    feedback_type: str
    """``abuse``, ``fraud``, ``virus``, ``other``, ``opt-out``, ``auth-failure``, ``not-spam`` …"""
    user_agent: str
    recipients: tuple[str, ...]
    """Who complains, as far as it is told; an address may be disguised."""
    reverse_path: str
    """``Original-Mail-From``; may be empty."""
    messages: tuple[UUID, ...]
    """Ids that may be ours of the message complained of, the newest first."""
    message_id: str
    """Its Message-ID field, without angle brackets; may be empty."""
    source: str = ""
    """``Source-IP``."""
    reported_domain: str = ""

    @property
    def is_complaint(self) -> bool:
        """Whether a recipient did not want the message. Reports about authentication or a
        message that was wanted say nothing of the kind."""
        return self.feedback_type not in ("not-spam", "auth-failure", "dmarc")


def parse_abuse(message: bytes) -> Complaint:
    """Return the complaint in a whole message. Raises ReportError."""
    original: dict[str, list[str]] = {}
    parts = [*_enclosed(message), *attachments(message)]
    reports = [part for part in parts if part.type == _REPORT]
    if not reports:
        raise ReportError("the message has no feedback report")
    fields = _fields(reports[0].content)
    for part in parts:
        if part.type == _REPORT:
            continue
        found = _fields(part.content)
        if "received" in found or "message-id" in found or "from" in found:
            original = found
            break
    ids = [match[1] for each in original.get("received", ()) if (match := _ID.search(each))]
    named = [each for name in _RECIPIENT_FIELDS for each in fields.get(name, ())]
    named += [each for name in _ORIGINAL_RECIPIENT_FIELDS for each in original.get(name, ())]
    # who a message is addressed to counts only if nobody is named: it may be a mailing list
    named = named or original.get("to", [])
    recipients = dict.fromkeys(each for value in named for each in _ADDRESS.findall(value))
    message_ids = original.get("message-id", ())
    angled = _ANGLED.findall(message_ids[-1]) if message_ids else []
    if angled and (sent := _SENT.match(angled[-1])):  # the API makes it from the id
        ids.append(sent[1])
    return Complaint(
        feedback_type=_first(fields, "feedback-type").lower() or "abuse",
        user_agent=_first(fields, "user-agent"),
        recipients=tuple(recipients)[:_MOST_RECIPIENTS],
        reverse_path=_first(fields, "original-mail-from").strip("<>"),
        messages=tuple(dict.fromkeys(UUID(each) for each in ids))[:_MOST_IDS],
        message_id=angled[-1] if angled else "",
        source=_first(fields, "source-ip"),
        reported_domain=_first(fields, "reported-domain").lower(),
    )


def _enclosed(message: bytes) -> Iterator[Attachment]:
    """Yield the messages within the message, each whole."""
    for _, part in scan_message(message).walk():
        if part.is_message and part.body_offset > 0:
            stored = message[part.body_offset : part.body_offset + part.body_bytes]
            yield Attachment(part.fields.type, "", stored)


def _fields(content: bytes) -> dict[str, list[str]]:
    """Return the fields of a header block, by name in lower case, in order."""
    found: dict[str, list[str]] = {}
    block = content[:_HEADER_BYTES].lstrip(b"\r\n")
    at = 0
    for _ in range(_MOST_FIELDS):
        match = _FIELD.match(block, at)
        if match is None:
            break
        at = match.end()
        value = _FOLD.sub(" ", match[2].decode("utf-8", "replace"))
        cleaned = "".join(each for each in value if each.isprintable())[:_LONGEST].strip()
        found.setdefault(match[1].decode("ascii").lower(), []).append(cleaned)
    return found


def _first(fields: dict[str, list[str]], name: str) -> str:
    return fields.get(name, [""])[0]
