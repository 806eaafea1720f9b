"""Records the outcome of a message: log lines, metrics and trace events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import structlog
from prometheus_client import Counter

from posthorn.model.envelope import Envelope
from posthorn.model.events import (
    BOUNCED,
    DELIVERED,
    FILED,
    QUARANTINED,
    QUEUED,
    SCANNED,
    Event,
)
from posthorn.model.filing import sender_in
from posthorn.model.filter_decision import Decision
from posthorn.model.filter_policy import Action
from posthorn.model.outbound import QueueState
from posthorn.model.verdict import encode_verdict
from posthorn.ports.events import Events
from posthorn.ports.filing import Withheld
from posthorn_delivery.routing import GONE_REPLY, GONE_STATUS, Routes

log = structlog.get_logger()

_queued = Counter("posthorn_delivery_queued_total", "Recipients added to the outbound queue")
_refused = Counter(
    "posthorn_delivery_forwards_refused_total",
    "Forwards refused: loops (5.4.6), targets suppressed or not confirmed (5.7.1)",
    ["status"],
)
_gone = Counter(
    "posthorn_delivery_gone_total", "Recipients deleted since RCPT, by who is notified", ["told"]
)


def record(events: Events, envelope: Envelope, found: Routes, now: float) -> None:
    """Record the outcome of a message's recipients. ``now``: seconds since the epoch."""
    name, queued = str(envelope.id), found.queued
    bounced = [each.recipient for each in found.outbound if each.status == GONE_STATUS]
    refused = [
        each
        for each in found.outbound
        if each.state is QueueState.BOUNCED and each.status != GONE_STATUS
    ]
    told = (
        [Event(envelope.id, now, DELIVERED, {"recipients": list(found.local)})]
        if found.local
        else []
    )
    if queued:
        _queued.inc(len(queued))
        told.append(Event(envelope.id, now, QUEUED, {"recipients": list(queued)}))
    for who, recipients in (("sender", bounced), ("nobody", list(found.dropped))):
        if recipients:
            _gone.labels(who).inc(len(recipients))
            log.warning(
                "recipients deleted since RCPT", message=name, recipients=recipients, told=who
            )
        for recipient in recipients:
            detail = {
                "recipient": recipient,
                "host": "",
                "reply": GONE_REPLY,
                "status": GONE_STATUS,
            }
            told.append(Event(envelope.id, now, BOUNCED, detail))
    for each in refused:
        _refused.labels(each.status).inc()
        detail = {
            "recipient": each.recipient,
            "host": "",
            "reply": each.reply,
            "status": each.status,
        }
        log.info("not forwarded", message=name, **detail)
        told.append(
            Event(
                envelope.id,
                now,
                BOUNCED,
                detail | ({"original": each.original} if each.original else {}),
            )
        )
    events.record(*told)
    if found.accounts or queued:
        log.info(
            "delivered",
            message=name,
            accounts=len(found.accounts),
            queued=len(queued),
            size=envelope.body.size,
        )


def record_filing(
    events: Events,
    envelope: Envelope,
    reached: Mapping[str, Sequence[int]],
    filed: Mapping[int, Decision],
    withheld: Sequence[Withheld],
    now: float,
    *,
    is_slice: bool = False,
) -> None:
    """Record what became of copies that are not simply in INBOX, and once, if so, that the message
    was not scanned because nobody did for too long; the scanning tier records its verdicts itself.
    ``reached``: the accounts of each recipient; ``is_slice``: the message is recorded already."""
    told: list[Event] = []
    verdict = envelope.verdict
    if verdict is not None and verdict.gave_up and not is_slice:
        detail = encode_verdict(verdict) | {
            "score": verdict.score,
            "recipients": list(envelope.recipients),
        }
        told.append(Event(envelope.id, now, SCANNED, detail))
    for recipient, accounts in reached.items():
        chosen = [filed[account] for account in accounts if account in filed]
        for decision in dict.fromkeys(each for each in chosen if _is_shown(each)):
            about = _about(envelope, recipient, decision)
            told.append(Event(envelope.id, now, FILED, about | {"action": decision.action.value}))
    for copy in withheld:
        about = _about(envelope, copy.recipient, copy.decision) | {"quarantine": str(copy.id)}
        if copy.account is None:
            about["targets"] = len(copy.outbound)
        told.append(Event(envelope.id, now, QUARANTINED, about))
        log.info("quarantined", message=str(envelope.id), **about)
    events.record(*told)


def _is_shown(decision: Decision) -> bool:
    return decision.action in (Action.JUNK, Action.MARK)


def _about(envelope: Envelope, recipient: str, decision: Decision) -> dict[str, object]:
    return {
        "recipient": recipient,
        "reverse_path": envelope.reverse_path,
        "author": sender_in(envelope).address,
        "reason": decision.reason,
        "score": decision.score,
        "rule": decision.detail,
    }
