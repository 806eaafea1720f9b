"""The first question: who a client is, before its message.

What was found is kept for some minutes by address, HELO and domain of the reverse-path; temporary
errors only for some seconds, and nothing if the SPF record asks for the local part. Equal questions
under way are one.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from dataclasses import replace

from prometheus_client import Counter

from posthorn.ports.scan import SenderFacts, SenderQuestion
from posthorn.runtime.at_once import at_once
from posthorn.runtime.blocklists import Blocklists
from posthorn.wire.auth.iprev import check_iprev
from posthorn.wire.auth.lookup import Lookup
from posthorn.wire.auth.results import Iprev, Outcome, Spf
from posthorn.wire.auth.spf import check_spf
from posthorn_scan.greylist import Greylist

_asked = Counter("posthorn_scan_sender_cache", "Questions about clients, by cache", ["outcome"])
_hit, _miss = _asked.labels("hit"), _asked.labels("miss")

_MOST = 20_000
_SHORT_SECONDS = 10.0

type _Key = tuple[str, str, str]


class SenderChecks:
    """Says who clients are. ``seconds``: of all lookups for one client together."""

    def __init__(
        self,
        lookup: Lookup,
        blocklists: Blocklists,
        greylist: Greylist | None,
        *,
        hostname: str,
        seconds: float,
        keep_seconds: float,
    ) -> None:
        self._lookup, self._blocklists, self._greylist = lookup, blocklists, greylist
        self._hostname = hostname
        self._seconds, self._keep_seconds = seconds, keep_seconds
        self._known: OrderedDict[_Key, tuple[float, SenderFacts]] = OrderedDict()
        self._asking: dict[tuple[_Key, str], asyncio.Task[SenderFacts]] = {}

    async def facts(self, question: SenderQuestion) -> SenderFacts:
        """Return what is known of a client; never raises but for cancellation."""
        facts = await self._facts(question)
        if question.greylist and self._greylist is not None:
            wait = await self._greylist.wait(question, facts)
            return replace(facts, greylist_seconds=wait)
        return facts

    async def _facts(self, question: SenderQuestion) -> SenderFacts:
        domain = question.reverse_path.rpartition("@")[2].lower()
        key = question.client, question.helo.lower(), domain
        known = self._known.get(key)
        if known is not None and known[0] > time.monotonic():
            self._known.move_to_end(key)
            _hit.inc()
            return known[1]
        whole = key, question.reverse_path
        asking = self._asking.get(whole)
        if asking is None:
            _miss.inc()
            asking = self._asking[whole] = asyncio.create_task(self._find_out(question, domain))
            asking.add_done_callback(lambda done: self._found(whole, done))
        return await asyncio.shield(asking)

    def _found(self, whole: tuple[_Key, str], done: asyncio.Task[SenderFacts]) -> None:
        del self._asking[whole]
        if done.cancelled() or done.exception() is not None:
            return
        key, facts = whole[0], done.result()
        if any(each.is_of_local_part for each in facts.spf):
            return
        seconds = _SHORT_SECONDS if _is_temporary(facts) else self._keep_seconds
        self._known[key] = time.monotonic() + seconds, facts
        self._known.move_to_end(key)
        if len(self._known) > _MOST:
            self._known.popitem(last=False)

    async def _find_out(self, question: SenderQuestion, domain: str) -> SenderFacts:
        iprev, spf, listings = await at_once(
            self._iprev(question.client),
            self._spf(question),
            self._blocklists.look_up(question.client, [domain] if domain else []),
        )
        return SenderFacts(iprev, spf, listings)

    async def _iprev(self, client: str) -> Iprev:
        try:
            async with asyncio.timeout(self._seconds):
                return await check_iprev(self._lookup, client)
        except TimeoutError:
            return Iprev(Outcome.TEMPERROR)

    async def _spf(self, question: SenderQuestion) -> tuple[Spf, ...]:
        try:
            async with asyncio.timeout(self._seconds):
                return await check_spf(
                    self._lookup,
                    client=question.client,
                    helo=question.helo,
                    reverse_path=question.reverse_path,
                    hostname=self._hostname,
                )
        except TimeoutError:
            domain = question.reverse_path.rpartition("@")[2]
            identity = "mailfrom" if domain else "helo"
            return (Spf(Outcome.TEMPERROR, identity, domain or question.helo, "no answer in time"),)


def _is_temporary(facts: SenderFacts) -> bool:
    outcomes = (facts.iprev.outcome, *(each.outcome for each in facts.spf))
    return Outcome.TEMPERROR in outcomes
