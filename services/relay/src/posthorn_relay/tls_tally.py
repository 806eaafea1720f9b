"""Counts how sessions with the hosts of destinations were secured, for TLS reports (RFC 8460).

Theory: they are counted in memory and written every ten seconds, so that no delivery waits for it; a
killed relay loses the counts of those seconds. While Postgres does not answer they are kept, and at
the end of the relay written as soon as it answers, within the grace period. The number of different
counts is bounded. A write of which it is not known whether it was made is made again: counts may be
too high then, never too low.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import islice

import structlog

from posthorn.ports.errors import Unavailable
from posthorn.ports.reports import TlsOutcome, TlsOutcomes
from posthorn.runtime.outage import Outage
from posthorn.runtime.tasks import retry_while_unavailable
from posthorn_relay.smtp.types import RemoteHost, Tls, TlsResult

log = structlog.get_logger()

FLUSH_SECONDS = 10.0
MOST_COUNTS = 10_000
"""Different counts between two writes; sessions beyond are not counted."""
AT_ONCE = 500
"""Different counts that one statement writes."""


class TlsTally:
    """Counts outcomes; ``run`` is a supervised task that writes them."""

    def __init__(self) -> None:
        self._counts: Counter[TlsOutcome] = Counter()
        self._outage = Outage("tls outcomes wait to be recorded", "tls outcomes are recorded again")

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
        """Write the counts every few seconds, until cancelled."""
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            try:
                await self.flush(outcomes)
            except Unavailable as fault:
                self._outage.begin(fault=fault)
            else:
                self._outage.end()

    async def close(self, outcomes: TlsOutcomes, seconds: float) -> None:
        """Write what is left, as soon as the store takes it within so many seconds."""
        try:
            await retry_while_unavailable(lambda: self.flush(outcomes), seconds)
        except Unavailable as fault:
            log.warning("tls outcomes are lost", fault=fault, sessions=self._counts.total())

    async def flush(self, outcomes: TlsOutcomes) -> None:
        """Write the counts. Raises Unavailable; what is not written is kept then."""
        while self._counts:
            some = Counter(dict(islice(self._counts.items(), AT_ONCE)))
            await outcomes.add(some)
            self._counts -= some  # sessions may have been counted meanwhile
