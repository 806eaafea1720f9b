"""Messages for tests: envelopes that fit a body, messages placed in segments, recipients
elsewhere."""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from posthorn.model.blob_range import BlobRange
from posthorn.model.dns_records import Endpoint, Presence
from posthorn.model.envelope import Body, Envelope
from posthorn.model.outbound import Outbound
from posthorn.ports.segments import Segment, SegmentMessage
from posthorn.runtime.ids import new_id
from posthorn.wire.message.header import Summary

PRESENCE = Presence(
    mx=("mx1.post.test", "mx2.post.test"),
    web="web.post.test",
    submission=Endpoint("smtp.post.test", 587),
    submissions=Endpoint("smtp.post.test", 465),
    imap=Endpoint("imap.post.test", 143),
    imaps=Endpoint("imap.post.test", 993),
    pop3=Endpoint("pop.post.test", 0),
    pop3s=Endpoint("pop.post.test", 995),
    outgoing=("192.0.2.25", "2001:db8::25"),
    outgoing_name="out.post.test",
)
"""What the system is called from outside."""
_arrivals = itertools.count()


def make_envelope(
    body: bytes = b"Subject: hello\r\n\r\nworld\r\n",
    *,
    to: tuple[str, ...] = ("alice@example.test",),
    identity: UUID | None = None,
    blob: str | None = None,
    sender: str = "sender@example.org",
) -> Envelope:
    """Return an envelope that fits the body, received now."""
    return Envelope(
        identity or new_id(), time.time(), sender, to, Body.from_message(body), blob=blob
    )


def make_message(
    accounts: Iterable[int],
    *,
    size: int = 1000,
    stored: int | None = None,
    offset: int = 0,
    number: UUID | None = None,
    subject: str = "Hello",
    received_at: float | None = None,
    reverse_path: str = "sender@elsewhere.test",
) -> SegmentMessage:
    """Return a message for the INBOXes of accounts. Its body is ``stored`` bytes (``size``
    unless given) of a segment that need not exist. Messages arrive in the order they are made."""
    number = number or new_id()
    envelope = Envelope(
        id=number,
        received_at=1_750_000_000 + next(_arrivals) / 4 if received_at is None else received_at,
        reverse_path=reverse_path,
        recipients=("user0@example.test",),
        body=Body(size=size, sha256=hashlib.sha256(number.bytes).digest(), has_dot_lines=False),
        summary=Summary(
            subject=subject, from_="Sender", date="today", message_id="<1@elsewhere.test>"
        ),
    )
    return SegmentMessage(
        envelope, BlobRange(offset, size if stored is None else stored), tuple(accounts)
    )


def make_segment(
    messages: Sequence[SegmentMessage], *, number: UUID | None = None, key: str | None = None
) -> Segment:
    """Return the segment that holds the messages."""
    number = number or new_id()
    length = sum(each.blob_range.length for each in messages)
    return Segment(number, key or f"segments/{number}", length, tuple(messages))


def make_outbound(recipient: str, sender: str = "sender@example.test", **fields: Any) -> Outbound:
    """Return an entry of the outbound queue, bound for the recipient's domain."""
    return Outbound(recipient, recipient.rpartition("@")[2].lower(), sender, **fields)
