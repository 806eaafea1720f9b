"""Records the outcome of a message: log lines, metrics and trace events."""

from __future__ import annotations

import structlog
from prometheus_client import Counter

from posthorn.model.envelope import Envelope
from posthorn.model.events import BOUNCED, DELIVERED, QUEUED, Event
from posthorn.model.outbound import QueueState
from posthorn.ports.events import Events
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
