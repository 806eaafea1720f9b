"""What events come to in the statistics."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from posthorn.model import events as kinds
from posthorn.model.dmarc_evaluation import DmarcEvaluation, decode_evaluation
from posthorn.model.events import Event
from posthorn.ports import statistics as outcomes
from posthorn.ports.statistics import Count, Facts, Row, Slot
from posthorn.wire.address import AddressError
from posthorn.wire.foreign_address import foreign_domain

_LISTED = frozenset({kinds.DELIVERED, kinds.SCANNED, kinds.REFUSED})
_OUTCOMES = {
    kinds.DELIVERED: outcomes.RELAYED,
    kinds.DEFERRED: outcomes.DEFERRED,
    kinds.BOUNCED: outcomes.BOUNCED,
    kinds.CANCELLED: outcomes.CANCELLED,
}
_FILED = {kinds.QUARANTINED: outcomes.QUARANTINED, kinds.FILED: outcomes.JUNK}
_REASON = re.compile(r"[a-z][a-z-]{0,30}")
_LARGEST = 2**53


def asked_of(events: Iterable[Event]) -> tuple[set[UUID], set[UUID], set[str]]:
    """Return what must be known to count: messages whose recipients in the queue, messages whose
    sizes, and domains whose owners."""
    queued: set[UUID] = set()
    sized: set[UUID] = set()
    names: set[str] = set()
    for event in events:
        if event.kind in _LISTED and isinstance(event.detail.get("recipients"), list):
            if event.kind == kinds.DELIVERED:
                sized.add(event.message)
            names |= {domain_of(each) for each in event.detail["recipients"]}
        elif event.kind in _FILED or event.kind in (kinds.RESTORED, kinds.CLASSIFIED):
            names |= {domain_of(event.detail.get(each)) for each in ("recipient", "account")}
        elif event.kind in _OUTCOMES:
            queued.add(event.message)
            names.add(domain_of(event.detail.get("recipient")))
            if event.kind == kinds.DELIVERED:
                sized.add(event.message)
    return queued, sized, names - {""}


def counted(events: Sequence[Event], facts: Facts) -> Mapping[Slot, Count]:
    """Count the events."""
    messages: Counter[Slot] = Counter()
    sizes: Counter[Slot] = Counter()
    for event in events:
        for slot, size in _slots(event, facts):
            messages[slot] += 1
            sizes[slot] += size
    return {slot: Count(number, sizes[slot]) for slot, number in messages.items()}


def refused_evaluations(events: Iterable[Event]) -> Mapping[DmarcEvaluation, int]:
    """Count what DMARC found of refused messages, for reports."""
    found = (decode_evaluation(each.detail.get("dmarc")) for each in events if _is_final(each))
    return Counter(each for each in found if each is not None)


def _is_final(event: Event) -> bool:
    """Return whether a message was refused for good, and does not come again."""
    return event.kind == kinds.REFUSED and not str(event.detail.get("reply", "")).startswith("4")


def _slots(event: Event, facts: Facts) -> Iterable[tuple[Slot, int]]:
    hour = hour_of(event.at)
    if hour is None:
        return
    detail, size = event.detail, facts.sizes.get(event.message, 0)
    if event.kind == kinds.ACCEPTED:
        tenant = uuid_in(detail.get("tenant"))
        if tenant is not None:
            declared = detail.get("size")
            said = declared if isinstance(declared, int) and 0 <= declared < _LARGEST else 0
            yield Slot(tenant, domain_of(detail.get("account")), hour, outcomes.ACCEPTED), said
    elif event.kind == kinds.DELIVERED and isinstance(detail.get("recipients"), list):
        for recipient in detail["recipients"]:
            name = domain_of(recipient)
            if name in facts.owners:
                yield Slot(facts.owners[name], name, hour, outcomes.DELIVERED), size
    elif event.kind == kinds.REFUSED and isinstance(detail.get("recipients"), list):
        if _is_final(event):
            for recipient in detail["recipients"]:
                yield from _slot(recipient, hour, outcomes.REFUSED, detail, facts)
    elif event.kind in _FILED:
        if event.kind != kinds.FILED or detail.get("action") == "junk":
            recipient = detail.get("recipient")
            yield from _slot(recipient, hour, _FILED[event.kind], detail, facts)
    elif event.kind in _OUTCOMES:
        whose = _whose(event, facts)
        if whose is not None:
            yield (
                Slot(*whose, hour, _OUTCOMES[event.kind]),
                size if event.kind == kinds.DELIVERED else 0,
            )


def _slot(
    recipient: object, hour: datetime, outcome: str, detail: Mapping[str, Any], facts: Facts
) -> Iterable[tuple[Slot, int]]:
    name, reason = domain_of(recipient), str(detail.get("reason", ""))
    if name in facts.owners:
        said = reason if _REASON.fullmatch(reason) else "other"
        yield Slot(facts.owners[name], name, hour, f"{outcome}{outcomes.BY}{said}"), 0


def _whose(event: Event, facts: Facts) -> tuple[UUID, str] | None:
    """Return the tenant and the domain that a recipient elsewhere counts for: those of the alias
    that forwards, or of the sender."""
    row = row_of(event, facts)
    if row is not None and row.tenant is not None:
        return row.tenant, domain_of(row.original or row.sender)
    name = domain_of(event.detail.get("recipient"))  # one of ours that has gone since RCPT
    return (facts.owners[name], name) if name in facts.owners else None


def row_of(event: Event, facts: Facts) -> Row | None:
    """Return the recipient in the queue that the event is about."""
    wanted = (event.detail.get("recipient"), event.detail.get("original", ""))
    rows = facts.rows.get(event.message, ())
    return next((row for row in rows if (row.recipient, row.original) == wanted), None)


def domain_of(address: object) -> str:
    """Return the domain of an address in canonical form; empty when there is none."""
    if not isinstance(address, str) or "@" not in address:
        return ""
    try:
        return foreign_domain(address.rpartition("@")[2])
    except AddressError:
        return ""


def uuid_in(value: object) -> UUID | None:
    """Read an id; None when it is none."""
    try:
        return UUID(value) if isinstance(value, str) else None
    except ValueError:
        return None


def hour_of(at: float) -> datetime | None:
    """Return the hour (UTC) of a moment in seconds since the epoch; None for one that makes no
    sense."""
    try:
        moment = datetime.fromtimestamp(at, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return moment.replace(minute=0, second=0, microsecond=0)
