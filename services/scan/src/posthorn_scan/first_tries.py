"""Messages whose author cannot be checked now, though its domain demands it: asked to come again,
once (RFC 9989 §5.3.6 leaves open what a receiver does then).

Rules:

- Only where the domain is known to publish p=reject, no aligned identity passed, and a lookup that
  could have shown one failed: by the next try DNS mostly answers. Accepting at once would let
  forgeries through while a domain's name servers are away.
- A message is known by its client's network, author and Message-ID (or size). One that comes again
  within ``REMEMBER_SECONDS`` is judged as it is, so that a long outage delays mail once and bounces
  none.
- Processes share what they know; a fault of the store lets everybody through.
"""

from __future__ import annotations

import hashlib
import time

from prometheus_client import Counter

from posthorn.model.verdict import Verdict
from posthorn.ports.errors import Unavailable
from posthorn.ports.greylist import GreylistStore
from posthorn.ports.scan import MessageQuestion
from posthorn.runtime.client_networks import client_networks, is_own_side
from posthorn.wire.auth.results import Outcome, Policy
from posthorn.wire.message.header import scan_header

REMEMBER_SECONDS = 4 * 3600.0
_outcomes = Counter(
    "posthorn_scan_first_tries_total",
    "Messages of authors with p=reject that could not be checked, by outcome",
    ["outcome"],
)
for _outcome in ("deferred", "passed", "failed"):
    _outcomes.labels(_outcome)


class FirstTries:
    """Knows which messages came before."""

    def __init__(self, store: GreylistStore) -> None:
        self._store = store

    async def is_one(self, question: MessageQuestion, verdict: Verdict, content: bytes) -> bool:
        """Return whether a message is to come again. Never raises Unavailable."""
        if not is_unchecked(verdict) or is_own_side(question.client):
            return False
        now = time.time()
        try:
            key = _key(question, verdict, content)
            since = await self._store.first_seen(key, now, REMEMBER_SECONDS)
        except Unavailable:
            _outcomes.labels("failed").inc()
            return False
        is_first = since == now
        _outcomes.labels("deferred" if is_first else "passed").inc()
        return is_first


def is_unchecked(verdict: Verdict) -> bool:
    """Return whether p=reject could apply and a failed lookup alone leaves that open."""
    dmarc = verdict.authentication.dmarc
    return (
        dmarc.outcome is Outcome.TEMPERROR
        and dmarc.published is Policy.REJECT
        and not dmarc.is_testing
        and not verdict.trusted_sealer
    )


def _key(question: MessageQuestion, verdict: Verdict, content: bytes) -> str:
    network = client_networks(question.client)[0]
    name = scan_header(content).summary.message_id or str(question.size)
    text = f"{network}\n{verdict.authentication.dmarc.domain}\n{name}"
    return f"dmarc.{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()[:32]}"
