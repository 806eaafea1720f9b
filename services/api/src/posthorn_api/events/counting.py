"""What events come to in the statistics."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from posthorn.model import events as kinds
from posthorn.model.dmarc_evaluation import DmarcEvaluation, decode_evaluation
from posthorn.model.events import Event
from posthorn.ports import statistics as outcomes
from posthorn.ports.statistics import (
    NO_TENANT,
    TRIED_DEFERRED,
    TRIED_DELIVERED,
    TRIED_REFUSED,
    TRIED_SECONDS,
    Count,
    Facts,
    Row,
    Slot,
)
from posthorn.wire.address import AddressError
from posthorn.wire.foreign_address import foreign_domain

_LISTED = frozenset({kinds.DELIVERED, kinds.SCANNED, kinds.REFUSED})
_OUTCOMES = {
    kinds.DELIVERED: outcomes.RELAYED,
    kinds.DEFERRED: outcomes.DEFERRED,
    kinds.BOUNCED: outcomes.BOUNCED,
    kinds.CANCELLED: outcomes.CANCELLED,
}
_TRIED = {
    kinds.DELIVERED: TRIED_DELIVERED,
    kinds.DEFERRED: TRIED_DEFERRED,
    kinds.BOUNCED: TRIED_REFUSED,
}
_FILED = {kinds.QUARANTINED: outcomes.QUARANTINED, kinds.FILED: outcomes.JUNK}
_REASON = re.compile(r"[a-z][a-z-]{0,30}")
_LARGEST = 2**53
_LONGEST = 1024
"""Characters of an address or an id that are looked at."""
_CACHED = 4096

type _Key = tuple[UUID, str, int, str]
"""Tenant, domain, hour since the epoch, outcome: cheaper to hash than a Slot."""


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


def counted(events: Iterable[Event], facts: Facts) -> Mapping[Slot, Count]:
    """Count the events."""
    sums: dict[_Key, list[int]] = {}
    for event in events:
        for key, size in _keys(event, facts):
            found = sums.get(key)
            if found is None:
                sums[key] = [1, size]
            else:
                found[0] += 1
                found[1] += size
    counts: dict[Slot, Count] = {}
    for (tenant, name, hour, outcome), (messages, size) in sums.items():
        at = hour_of(hour * 3600.0)
        if at is not None:
            counts[Slot(tenant, name, at, outcome)] = Count(messages, size)
    return counts


def counted_by_route(events: Iterable[Event]) -> Mapping[Slot, Count]:
    """Count the recipients tried by a route."""
    sums: Counter[Slot] = Counter()
    for event in events:
        route = event.detail.get("route")
        if event.kind in _TRIED and isinstance(route, str) and 0 < len(route) <= _LONGEST:
            start = _start_of(event.at, TRIED_SECONDS)
            if start is not None:
                sums[Slot(NO_TENANT, route, start, _TRIED[event.kind])] += 1
    return {slot: Count(number, 0) for slot, number in sums.items()}


def refused_evaluations(events: Iterable[Event]) -> Mapping[DmarcEvaluation, int]:
    """Count what DMARC found of refused messages, for reports."""
    found = (decode_evaluation(each.detail.get("dmarc")) for each in events if _is_final(each))
    return Counter(each for each in found if each is not None)


def _is_final(event: Event) -> bool:
    """Return whether a message was refused for good, and does not come again."""
    return (
        event.kind == kinds.REFUSED
        and not kinds.is_partial(event)
        and not str(event.detail.get("reply", "")).startswith("4")
    )


def _keys(event: Event, facts: Facts) -> Iterable[tuple[_Key, int]]:
    """Return the counters that an event adds one message and so many bytes to."""
    try:
        hour = int(event.at // 3600)
    except (ValueError, OverflowError):
        return ()
    kind, detail = event.kind, event.detail
    if kind == kinds.ACCEPTED:
        tenant = uuid_in(detail.get("tenant"))
        if tenant is None:
            return ()
        declared = detail.get("size")
        size = declared if isinstance(declared, int) and 0 <= declared < _LARGEST else 0
        return [((tenant, domain_of(detail.get("account")), hour, outcomes.ACCEPTED), size)]
    listed = detail.get("recipients")
    if kind == kinds.DELIVERED and isinstance(listed, list):
        size = facts.sizes.get(event.message, 0)
        return [(key, size) for key in _local(listed, hour, outcomes.DELIVERED, facts)]
    if kind == kinds.REFUSED and isinstance(listed, list):
        outcome = _by_reason(outcomes.REFUSED, detail)
        return (
            [(key, 0) for key in _local(listed, hour, outcome, facts)] if _is_final(event) else ()
        )
    if kind in _FILED:
        if kind == kinds.FILED and detail.get("action") != "junk":
            return ()
        outcome = _by_reason(_FILED[kind], detail)
        return [(key, 0) for key in _local([detail.get("recipient")], hour, outcome, facts)]
    if kind in _OUTCOMES:
        whose = _whose(event, facts)
        size = facts.sizes.get(event.message, 0) if kind == kinds.DELIVERED else 0
        return [((*whose, hour, _OUTCOMES[kind]), size)] if whose is not None else ()
    return ()


def _local(recipients: Sequence[object], hour: int, outcome: str, facts: Facts) -> Iterator[_Key]:
    """Return the counters of those recipients whose domains are served here."""
    for recipient in recipients:
        name = domain_of(recipient)
        owner = facts.owners.get(name)
        if owner is not None:
            yield owner, name, hour, outcome


def _by_reason(outcome: str, detail: Mapping[str, Any]) -> str:
    reason = str(detail.get("reason", ""))
    return f"{outcome}{outcomes.BY}{reason if _REASON.fullmatch(reason) else 'other'}"


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
    return _domain(address) if isinstance(address, str) and len(address) <= _LONGEST else ""


@lru_cache(_CACHED)
def _domain(address: str) -> str:
    _, at, name = address.rpartition("@")
    try:
        return foreign_domain(name) if at else ""
    except AddressError:
        return ""


def uuid_in(value: object) -> UUID | None:
    """Read an id; None when it is none."""
    return _uuid(value) if isinstance(value, str) and len(value) <= _LONGEST else None


@lru_cache(_CACHED)
def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def hour_of(at: float) -> datetime | None:
    """Return the hour (UTC) of a moment in seconds since the epoch; None for one that makes no
    sense."""
    return _start_of(at, 3600)


def _start_of(at: float, seconds: int) -> datetime | None:
    """Return the start of the interval of so many seconds that a moment is in, as ``hour_of``."""
    try:
        return datetime.fromtimestamp(at // seconds * seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None
