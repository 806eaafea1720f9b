"""Events of a message, which make up its trace. One JSON object each on the stream EVENTS.

The subject is ``events.<slot>``, the slot being the four seconds in which the message was accepted,
from its UUIDv7. So the events of one message are under one subject whenever they happen, with those
of few others, and the number of subjects depends on time only.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from posthorn.wire.message.header import Summary

ACCEPTED = "accepted"
"""By smtp-in or the API; detail: service, client, tls (version and cipher, if any), recipients (count),
to (their addresses), size, account, tenant, reverse_path, and from, subject and message_id of the
header."""
DELIVERED = "delivered"
"""Into mailboxes here (detail: recipients), or by a remote host (detail: recipient, host, reply,
tls, and route: the domain of the route taken, if any)."""
QUEUED = "queued"
"""Added to the outbound queue; detail: recipients."""
DEFERRED = "deferred"
"""An attempt failed transiently; detail: recipient, host, reply, tls, next_attempt_at, and route."""
BOUNCED = "bounced"
"""Failed permanently; detail: recipient, host, reply, status, and route."""
NOTICE = "notice"
"""A DSN was sent; detail: kind, notice (the id of that message), recipients."""
HELD, RELEASED, CANCELLED, RETRIED = "held", "released", "cancelled", "retried"
"""By an administrator; detail: recipient, by, and original: the alias that forwards to the
recipient, if any."""
READ = "read"
"""Retrieved completely over POP3 or IMAP, once per session; detail: account, tenant (the account's).
The client's address is not recorded."""
SCANNED = "scanned"
"""By the scanning tier; detail: score, rules, engines, virus, and the authentication results, as
``model.verdict`` encodes them, and recipients. By delivery, if nobody scanned for too long."""
REFUSED = "refused"
"""With 5yz or 4yz; detail: service, client, recipients (addresses), reason, reply, reverse_path.

By the verdict on a message besides: size, author, from, subject and message_id of the header, and
dmarc: what is counted of it for the report to the author's domain, as ``model.dmarc_evaluation``
encodes it, if anything is. For any other reason: helo and stage (``mail``, ``rcpt`` or ``data``), with
``data`` size, from, subject and message_id, and the account and its tenant if it was submitted. Of
those a part is left out when there are many: they are not counted, and webhooks are not told."""
FILED = "filed"
"""Into another mailbox than INBOX, or marked; detail: recipient, reverse_path, author, action,
reason, score, rule."""
QUARANTINED = "quarantined"
"""Detail: recipient (the alias, of what it would have sent on to ``targets`` addresses),
reverse_path, author, reason, score, rule, quarantine (id)."""
RESTORED = "restored"
"""Released from quarantine; detail: recipient, quarantine (id), by."""
CLASSIFIED = "classified"
"""As spam or not, by its owner; detail: account, classification, by."""
LISTED = "listed"
"""A blocklist holds an address or a domain of ours; of no message, and its id is of this event
alone. Detail: subject, zone, code, reason."""
DNS_CHANGED = "dns-changed"
"""The DNS records that a domain needs have become right or wrong; of no message, and its id is of
this event alone. Detail: domain, tenant, state and before (right or wrong), records: those that are
not right, each with purpose, name and verdict."""
COMPLAINED = "complained"
"""By its recipient, through a feedback loop (RFC 5965). Detail: recipient, suppressed (whether the
recipient is, as the complaint surely comes of it), feedback_type, reporter (domain), report (id of
the message with the complaint), and original: the alias that forwards to the recipient, if any."""

SHARES = 16
"""Parts into which the events are divided for their readers, by the ids of their messages."""

_SLOT_MILLISECONDS = 4000
_LONGEST_FIELD = 500
"""Characters of a header field in an event."""
_ID_ENDS = len('{"message":"') + 36
_DIGITS = bytes(max(b"0123456789abcdef".find(octet), 0) for octet in range(256))
"""The value of a hexadecimal digit, 0 for any other byte."""
_ENCODER = json.JSONEncoder(separators=(",", ":"))


def _dumps(document: Any) -> bytes:
    return _ENCODER.encode(document).encode()


def is_partial(event: Event) -> bool:
    """Return whether events of its kind are left out when there are many."""
    return event.kind == REFUSED and "stage" in event.detail


def head_fields(reverse_path: str, summary: Summary) -> dict[str, str]:
    """Return what the first event of a message tells of its header, for the search: reverse_path,
    and from, subject and message_id as they were received."""
    return {
        "reverse_path": reverse_path,
        "from": summary.from_[:_LONGEST_FIELD],
        "subject": summary.subject[:_LONGEST_FIELD],
        "message_id": summary.message_id[:_LONGEST_FIELD],
    }


class EventError(ValueError):
    """The bytes are not an event."""


@dataclass(frozen=True, slots=True)
class Event:
    """An event of a message."""

    message: UUID
    at: float
    """Seconds since the epoch."""
    kind: str
    detail: Mapping[str, Any] = field(default_factory=dict)


def slot_of(message: UUID) -> str:
    """Return the last token of the subject of a message's events."""
    return f"{(message.int >> 80) // _SLOT_MILLISECONDS:x}"


def share_of(line: bytes) -> int:
    """Return the share of an encoded event, below ``SHARES``: one for all events of a message, and
    the same for equal lines. Nothing is decoded."""
    return _DIGITS[line[_ID_ENDS - 1]] if len(line) > _ID_ENDS else 0


def encode_event(event: Event, *, dumps: Callable[[Any], bytes] = _dumps) -> bytes:
    """Return the encoding of an event on the stream. ``dumps`` encodes JSON without white space."""
    document = {
        "message": str(event.message),
        "at": event.at,
        "kind": event.kind,
        "detail": event.detail,
    }
    return dumps(document)


def decode_event(
    data: bytes,
    *,
    loads: Callable[[bytes], Any] = json.loads,
    read_id: Callable[[str], UUID] = UUID,
) -> Event:
    """Decode an event. Raises EventError. ``loads`` decodes JSON, ``read_id`` an id; that raises
    ValueError."""
    try:
        document = loads(data)
        detail = document["detail"]
        if not isinstance(detail, dict):
            raise EventError("an event's detail is not an object")
        return Event(
            read_id(document["message"]), float(document["at"]), str(document["kind"]), detail
        )
    except EventError:
        raise
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
        OverflowError,
    ) as error:
        raise EventError(f"an event cannot be decoded: {type(error).__name__}") from error
