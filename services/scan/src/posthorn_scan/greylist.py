"""Greylisting (RFC 6647) of suspicious strangers: whoever comes again after some minutes is let
through.

Rules:

- Only a client that looks bad is asked to come again: its address has no name that leads back to
  it, a blocklist holds it, SPF does not pass, or its HELO is no host name.
- It is known by its /24 or /64, since large senders try again from another host, or by the SPF
  domain where SPF passes.
- Processes share what they know through a bucket; a fault of it lets everybody through.
"""

from __future__ import annotations

import hashlib
import time

from prometheus_client import Counter

from posthorn.ports.errors import Unavailable
from posthorn.ports.greylist import GreylistStore
from posthorn.ports.scan import SenderFacts, SenderQuestion
from posthorn.runtime.client_networks import client_networks, is_own_side
from posthorn.wire.auth.results import Outcome

_outcomes = Counter("posthorn_scan_greylist_total", "Clients asked for, by outcome", ["outcome"])
FORGET_SECONDS = 86_400.0
"""Seconds for which a client that has not come again is remembered."""
KNOWN_SECONDS = 35 * 86_400.0
"""Seconds for which one that has come again is known."""


class Greylist:
    """``delay_seconds``: after which a client may come again."""

    def __init__(
        self,
        store: GreylistStore,
        delay_seconds: float,
    ) -> None:
        self._store = store
        self._delay_seconds = delay_seconds

    async def wait(self, question: SenderQuestion, facts: SenderFacts) -> int:
        """Return the seconds after which the client may come again; 0: it may go on."""
        if is_own_side(question.client) or not is_suspicious(question, facts):
            return 0
        key, now = key_of(question, facts), time.time()
        try:
            since = await self._store.first_seen(key, now, FORGET_SECONDS)
            left = since + self._delay_seconds - now
            if left > 0:
                _outcomes.labels("delayed").inc()
                return max(1, round(left))
            await self._store.known(key, since, KNOWN_SECONDS)
        except Unavailable:
            _outcomes.labels("failed").inc()
            return 0
        _outcomes.labels("passed").inc()
        return 0


def is_suspicious(question: SenderQuestion, facts: SenderFacts) -> bool:
    """Return whether a client looks bad. What could not be looked up does not count."""
    if any(each.points < 0 for each in facts.listings):
        return False
    helo = question.helo.strip().rstrip(".")
    return (
        facts.iprev.outcome not in (Outcome.PASS, Outcome.TEMPERROR)
        or any(each.points > 0 for each in facts.listings)
        or not any(each.outcome in (Outcome.PASS, Outcome.TEMPERROR) for each in facts.spf)
        or "." not in helo
        or helo.startswith("[")
    )


def key_of(question: SenderQuestion, facts: SenderFacts) -> str:
    """Return by what a client is known."""
    for each in facts.spf:
        if each.outcome is Outcome.PASS and each.identity == "mailfrom" and each.domain:
            return f"spf.{hashlib.sha256(each.domain.encode()).hexdigest()[:32]}"
    networks = client_networks(question.client)
    is_v4 = ":" not in networks[0]
    return f"net.{(networks[1] if is_v4 and len(networks) > 1 else networks[0]).replace(':', '_')}"
