"""Counts how sessions with the hosts of destinations were secured, for TLS reports (RFC 8460).

Counted in memory and written once a minute, so that no delivery waits for it; a killed relay loses
a minute's figures. The number of different counts is bounded.
"""

from __future__ import annotations

import asyncio
from collections import Counter

import structlog

from posthorn.ports.errors import Unavailable
from posthorn.ports.reports import TlsOutcome, TlsOutcomes
from posthorn_relay.smtp.types import RemoteHost, Tls, TlsResult

log = structlog.get_logger()

FLUSH_SECONDS = 60.0
MOST_COUNTS = 10_000
"""Different counts between two writes; sessions beyond are not counted."""


class TlsTally:
    """Counts outcomes; ``run`` is a supervised task that writes them."""

    def __init__(self) -> None:
        self._counts: Counter[TlsOutcome] = Counter()

    def connected(self, destination: str, remote: RemoteHost, tls: str) -> None:
        """Count a session that was made; ``tls`` as the connection has it, empty for none."""
        result = ""
        if not tls:
            result = TlsResult.NO_STARTTLS.value
        elif remote.sts is not None and tls.split()[-1] != "verified":
            result = TlsResult.OTHER.value  # a policy in testing mode that is not satisfied
        self._count(destination, remote, result)

    def failed(self, destination: str, remote: RemoteHost, result: TlsResult) -> None:
        """Count a session that was not made, since TLS is not what the policy demands."""
        self._count(destination, remote, result.value)

    def _count(self, destination: str, remote: RemoteHost, result: str) -> None:
        if destination.startswith("["):
            return
        kind = "no-policy-found"
        if remote.tls is Tls.DANE:
            kind = "tlsa"
        elif remote.sts is not None:
            kind = "sts"
        outcome = TlsOutcome(destination, kind, result, remote.host)
        if outcome in self._counts or len(self._counts) < MOST_COUNTS:
            self._counts[outcome] += 1

    async def run(self, outcomes: TlsOutcomes) -> None:
        """Write the counts every minute, until cancelled."""
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            try:
                await self.flush(outcomes)
            except Unavailable as fault:
                log.info("tls outcomes wait", fault=fault)

    async def flush(self, outcomes: TlsOutcomes) -> None:
        """Write the counts. Raises Unavailable; they are kept then."""
        counts, self._counts = self._counts, Counter()
        if not counts:
            return
        try:
            await outcomes.add(counts)
        except BaseException:
            self._counts.update(counts)
            raise
