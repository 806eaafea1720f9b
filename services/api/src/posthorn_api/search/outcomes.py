"""What events mean to the index of messages: heads, and outcomes of recipients (ADR 43)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from posthorn.model import events as kinds
from posthorn.model.events import Event
from posthorn.model.filter_decision import author_in
from posthorn.ports import message_index as outcomes
from posthorn.ports.message_index import MessageHead
from posthorn.ports.queue import EXPIRED
from posthorn.wire.foreign_address import canonical
from posthorn.wire.message.header_decoding import decode_text
from posthorn_api.events.counting import uuid_in

MOST_RECIPIENTS = 1000
"""Recipients of one event that are indexed."""
_LONGEST = 500
_OUTCOMES = {
    kinds.QUEUED: outcomes.QUEUED,
    kinds.DEFERRED: outcomes.DEFERRED,
    kinds.BOUNCED: outcomes.BOUNCED,
    kinds.HELD: outcomes.HELD,
    kinds.RELEASED: outcomes.QUEUED,
    kinds.RETRIED: outcomes.QUEUED,
    kinds.CANCELLED: outcomes.CANCELLED,
    kinds.REFUSED: outcomes.REFUSED,
    kinds.QUARANTINED: outcomes.QUARANTINED,
}
INDEXED = frozenset({kinds.ACCEPTED, kinds.DELIVERED, kinds.FILED, *_OUTCOMES})
"""The kinds of events that the index looks at."""
_KEPT = frozenset(
    {"reason", "rule", "score", "client", "helo", "reply", "status", "host", "tls", "stage"}
)
"""Details that an entry shows."""
_EXPIRED = frozenset({EXPIRED, f"5{EXPIRED[1:]}"})


@dataclass(frozen=True, slots=True)
class Change:
    """An outcome of a recipient."""

    recipient: str
    """Canonical, as the message was addressed."""
    outcome: str
    target: str = ""
    """The address elsewhere that it is about, if an alias sent it on."""
    is_private: bool = False
    """It is for the recipient's tenant alone."""


def changes_of(event: Event) -> list[Change]:
    """Return the outcomes that an event brings."""
    detail = event.detail
    if event.kind == kinds.ACCEPTED:
        return [Change(each, outcomes.ACCEPTED) for each in addressed(event)]
    listed = detail.get("recipients")
    several = _addresses(listed) if isinstance(listed, list) else []
    one, original = detail.get("recipient"), detail.get("original")
    if event.kind == kinds.DELIVERED and several:
        return [Change(each, outcomes.DELIVERED) for each in several]
    if event.kind in (kinds.QUEUED, kinds.REFUSED):
        return [Change(each, _OUTCOMES[event.kind]) for each in several]
    if not isinstance(one, str):
        return []
    recipient, outcome = canonical(one), outcome_of(event)
    if outcome is None:
        return []
    if isinstance(original, str) and original:
        return [Change(canonical(original), outcome, recipient)]
    is_private = event.kind in (kinds.FILED, kinds.QUARANTINED)
    return [Change(recipient, outcome, is_private=is_private)]


def outcome_of(event: Event) -> str | None:
    """Return the outcome of one recipient's event; None: it is none."""
    if event.kind == kinds.FILED:
        return outcomes.JUNK if event.detail.get("action") == "junk" else None
    if event.kind == kinds.DELIVERED:
        return outcomes.RELAYED
    if event.kind == kinds.BOUNCED and str(event.detail.get("status")) in _EXPIRED:
        return outcomes.EXPIRED
    return _OUTCOMES.get(event.kind)


def head_of(event: Event) -> MessageHead:
    """Return what an event of acceptance or refusal says of its message."""
    detail = event.detail
    size, author = detail.get("size"), detail.get("author")
    return MessageHead(
        reverse_path=_text(detail, "reverse_path"),
        author=canonical(author) if isinstance(author, str) else author_in(_text(detail, "from")),
        subject=decode_text(_text(detail, "subject"))[:_LONGEST],
        message_id=_text(detail, "message_id"),
        size_bytes=size if isinstance(size, int) and 0 <= size < 2**53 else 0,
        sender=uuid_in(detail.get("tenant")),
    )


def addressed(event: Event) -> list[str]:
    """Return the recipients that an event of acceptance names."""
    listed = event.detail.get("to")
    return _addresses(listed) if isinstance(listed, list) else []


def kept_detail(event: Event) -> dict[str, Any]:
    """Return what an entry keeps of an event's details."""
    found: dict[str, Any] = {}
    for name in event.detail.keys() & _KEPT:
        value = event.detail[name]
        if isinstance(value, str) and value:
            found[name] = value[:_LONGEST]
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            found[name] = value
    return found


def _addresses(listed: Iterable[object]) -> list[str]:
    named = dict.fromkeys(canonical(each) for each in listed if isinstance(each, str))
    return list(named)[:MOST_RECIPIENTS]


def _text(detail: Mapping[str, Any], name: str) -> str:
    value = detail.get(name)
    return value[:_LONGEST] if isinstance(value, str) else ""
