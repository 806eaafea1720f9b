"""Events: what happened to a message, for its trace. One JSON object each on the stream EVENTS.

The subject is ``events.<slot>``, the slot being the four seconds in which the message came in, read from its UUIDv7. So the
events of
one message lie under one subject whenever they happen, with those of few others, and the number of subjects follows time alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

ACCEPTED = "accepted"
"""By smtp-in or the API; detail: service, client, recipients (count), size, account."""
DELIVERED = "delivered"
"""Into mailboxes here (detail: recipients), or by a remote host (detail: recipient, host, reply, tls)."""
QUEUED = "queued"
"""Entered into the outbound queue; detail: recipients."""
DEFERRED = "deferred"
"""An attempt failed for now; detail: recipient, host, reply, tls, next_attempt_at."""
BOUNCED = "bounced"
"""Failed for good; detail: recipient, host, reply, status."""
NOTICE = "notice"
"""The sender was told; detail: kind, notice (the id of that message), recipients."""
HELD, RELEASED, CANCELLED, RETRIED = "held", "released", "cancelled", "retried"
"""By an administrator; detail: recipient, by, and what forwards to the recipient as original, if anything does."""
READ = "read"
"""Fetched whole over POP3, once for each session; detail: account, tenant (the account's). Where the reader was is nobody's
business."""

_SLOT_MILLISECONDS = 4000
_ENCODER = json.JSONEncoder(separators=(",", ":"))


class EventError(ValueError):
    """The octets are no event."""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to a message."""

    message: UUID
    at: float
    """Seconds since the epoch."""
    kind: str
    detail: Mapping[str, Any] = field(default_factory=dict)


def slot_of(message: UUID) -> str:
    """Return the last token of the subject of a message's events."""
    return f"{(message.int >> 80) // _SLOT_MILLISECONDS:x}"


def encode_event(event: Event) -> bytes:
    """Return the event's form on the stream."""
    document = {"message": str(event.message), "at": event.at, "kind": event.kind, "detail": event.detail}
    return _ENCODER.encode(document).encode()


def decode_event(octets: bytes) -> Event:
    """Read an event. Raises EventError."""
    try:
        document = json.loads(octets)
        detail = document["detail"]
        if not isinstance(detail, dict):
            raise EventError("an event's detail is no object")
        return Event(UUID(document["message"]), float(document["at"]), str(document["kind"]), detail)
    except EventError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise EventError(f"an event does not read: {type(error).__name__}") from error
