"""Which MTA-STS policy applies to a domain now (RFC 8461 §3, §5.1).

Rules:

- The TXT record says only whether to fetch: a fetched policy applies until it expires, whatever
  happens to record and web server (§3.1), and so it is stored for all relays and across restarts.
- It is fetched when there is none, when the record's id has changed, and when it has been stored
  for a day or for half its lifetime, so that an attacker has to block more than one fetch to let it
  expire (§3.3, §10.2).
- A fetch is not repeated for five minutes, whether it failed or returned a policy that expires at
  once.
- Without a live policy the domain has none.
- When the store cannot be read and there is no live policy either, it is not known whether TLS may
  be omitted: PolicyUnknown.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import Protocol

import structlog
from prometheus_client import Counter

from posthorn.ports.clock import Clock
from posthorn.ports.errors import Unavailable
from posthorn.ports.mta_sts import PolicyStore, StoredPolicy
from posthorn.ports.resolver import LookupFailed, Resolver
from posthorn.wire.mta_sts import Policy, policy_id
from posthorn_relay.routing.mta_sts_fetch import FetchFailed

_REMEMBERED = 20_000  # domains
_STORE_SECONDS = 300.0
_FAILURE_SECONDS = 300.0
_SHORTEST_LIFE = 300.0
_DAY = 86_400.0

_fetches = Counter(
    "posthorn_relay_mta_sts_fetches_total", "Fetches of MTA-STS policies", ["result"]
)

log = structlog.get_logger()


class PolicyUnknown(Exception):
    """It cannot be determined now whether the domain has a policy: transient."""


class Fetcher(Protocol):
    """Fetches policies over HTTPS."""

    async def fetch(self, domain: str) -> Policy:
        """Return the domain's policy. Raises FetchFailed."""
        ...


@dataclass(slots=True)
class _Known:
    """What this process knows of a domain. Times are of the clock, in seconds."""

    stored: StoredPolicy | None = None
    loaded_at: float = float("-inf")
    failed_at: float = float("-inf")

    def holds(self, now: float) -> StoredPolicy | None:
        return self.stored if self.stored is not None and now < self.stored.expires_at else None


class StsPolicies:
    """StsPolicies of domains: from memory, from the store, from the web."""

    def __init__(
        self, resolver: Resolver, fetcher: Fetcher, store: PolicyStore, clock: Clock
    ) -> None:
        self._resolver = resolver
        self._fetcher = fetcher
        self._store = store
        self._clock = clock
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._looking: dict[str, asyncio.Task[Policy | None]] = {}

    async def policy(self, domain: str) -> Policy | None:
        """Return the policy that applies to a domain; None when it has none. Raises PolicyUnknown.

        Concurrent calls for one domain share one lookup.
        """
        task = self._looking.get(domain)
        if task is None:
            task = self._looking[domain] = asyncio.create_task(self._look(domain))
            task.add_done_callback(lambda done: self._forget(domain, done))
        return await asyncio.shield(task)

    def _forget(self, domain: str, done: asyncio.Task[Policy | None]) -> None:
        self._looking.pop(domain, None)
        if not done.cancelled():
            done.exception()  # the callers may be gone

    async def _look(self, domain: str) -> Policy | None:
        try:
            published = policy_id(await self._resolver.texts(f"_mta-sts.{domain}"))
        except LookupFailed:
            published = None
        known = self._of(domain)
        unreadable = await self._load(domain, known, published)
        now = self._clock()
        held = known.holds(now)
        if published is not None and (
            held is None or held.policy_id != published or _is_old(held, now)
        ):
            held = await self._renew(domain, known, published) or held
        if held is None and unreadable is not None:
            raise PolicyUnknown("the stored policies cannot be read") from unreadable
        return None if held is None else held.policy

    def _of(self, domain: str) -> _Known:
        known = self._known.setdefault(domain, _Known())
        self._known.move_to_end(domain)
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return known

    async def _load(self, domain: str, known: _Known, published: str | None) -> Unavailable | None:
        """Read the store when memory is old, or when another relay may have fetched what it
        lacks."""
        now = self._clock()
        held = known.holds(now)
        lacks = published is not None and (held is None or held.policy_id != published)
        may_ask = now - known.failed_at >= _FAILURE_SECONDS
        if now - known.loaded_at < _STORE_SECONDS and not (lacks and may_ask):
            return None
        try:
            stored = await self._store.load(domain)
        except Unavailable as error:
            return None if held is not None else error
        known.loaded_at = now
        if stored is not None and (
            known.stored is None or stored.fetched_at >= known.stored.fetched_at
        ):
            known.stored = stored
        return None

    async def _renew(self, domain: str, known: _Known, published: str) -> StoredPolicy | None:
        if self._clock() - known.failed_at < _FAILURE_SECONDS:
            return None
        try:
            policy = await self._fetcher.fetch(domain)
        except FetchFailed as error:
            known.failed_at = self._clock()
            _fetches.labels("failed").inc()
            log.warning("mta-sts policy not fetched", domain=domain, reason=str(error))
            return None
        _fetches.labels("fetched").inc()
        now = self._clock()
        known.stored = StoredPolicy(
            published, policy.mode, policy.hosts, now, now + max(policy.max_age, _SHORTEST_LIFE)
        )
        known.loaded_at = now
        try:
            await self._store.save(domain, known.stored)
        except Unavailable as error:
            log.warning("mta-sts policy not stored", domain=domain, reason=str(error))
        return known.stored


def _is_old(stored: StoredPolicy, now: float) -> bool:
    return now - stored.fetched_at >= min(_DAY, (stored.expires_at - stored.fetched_at) / 2)
