"""Refusals, counted and logged: whatever a client is refused can be found with its reason
(promise 8)."""

from __future__ import annotations

import structlog
from prometheus_client import Counter

from posthorn.wire.smtp.replies import Reply
from posthorn_smtp_in.transaction import Client

log = structlog.get_logger()

_refused = Counter(
    "posthorn_smtp_in_refused_total",
    "Refusals of connections, recipients, messages, commands",
    ["reason"],
)


def record_refusal(reply: Reply, client: Client, **about: object) -> None:
    """Count and log that a client was refused: each message and recipient, and of connections and
    commands a few."""
    _refused.labels(reply.kind).inc()
    log.info(
        "refused",
        reason=reply.kind,
        reply=f"{reply.code} {reply.status}",
        **{"client" if "message" in about else "stranger": client.address},
        **about,
    )
