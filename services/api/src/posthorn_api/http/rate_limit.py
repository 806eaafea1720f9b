"""How much one API key, and one tenant, may ask for, counted in this process (ADR 22).

Rules:

- A key has a bucket that fills at a steady rate up to its burst. An operation takes what it costs:
  one, or what ``COSTS`` says.
- All keys and tokens of a tenant take from a bucket of the tenant as well, so that more keys do not
  get it more. Keys of the whole platform, and accounts, have their own alone: sessions and logins of
  one account share it.
- A look-up of a key that is not known takes from a bucket of the client's network. While that is
  empty, only keys that were good in the last hour are looked up: behind a balancer all clients
  share one address, and must not be shut out by one of them.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable

from prometheus_client import Counter

from posthorn.runtime.token_buckets import TokenBuckets
from posthorn_api.http.problems import RateLimited

_FAMILIAR_SECONDS = 3600.0
_MOST_FAMILIAR = 20_000

COSTS = {
    "importAccounts": 20.0,
    "importAliases": 20.0,
    "planAccountImport": 20.0,
    "planAliasImport": 20.0,
    "importMail": 10.0,
    "exportMail": 10.0,
    "exportMyMail": 10.0,
    "getMessageStructure": 5.0,
    "getMessagePart": 5.0,
    "getConfig": 20.0,
    "putConfig": 50.0,
    "checkDns": 20.0,
    "checkAllDns": 20.0,
    "verifyDomain": 20.0,
    "getDns": 5.0,
    "rotateDkimKeys": 20.0,
    "probeRoute": 50.0,
    "cancelAllQueued": 20.0,
    "retryAllQueued": 20.0,
    "holdAllQueued": 20.0,
    "releaseAllQueued": 20.0,
    "listAudit": 5.0,
    "listStats": 5.0,
    "listQueue": 5.0,
    "listAccounts": 2.0,
    "listAliases": 2.0,
    "listQuarantine": 2.0,
    "listSuppressions": 2.0,
    "searchMessages": 5.0,
    "listMessages": 2.0,
    "getStatsSeries": 5.0,
    "summarizeQueue": 10.0,
    "getSystem": 10.0,
    "traceMessage": 5.0,
    "followEvents": 20.0,
    "listMailboxes": 5.0,
    "createAccount": 2.0,
    "changeAccount": 2.0,
}
"""What operations cost that cost more than one, by their ids."""

_limited = Counter(
    "posthorn_api_rate_limited_total",
    "Requests refused because of the rate of their key, tenant or client",
    ["who"],
)


class RateLimit:
    """What keys and unknown clients may ask for. Raises RateLimited."""

    def __init__(
        self,
        per_minute: float = 6000.0,
        burst: float = 1000.0,
        unknown_per_minute: float = 300.0,
        clock: Callable[[], float] = time.monotonic,
        *,
        tenant_share: float = 2.0,
    ) -> None:
        """``tenant_share``: how many times the rate and burst of a key all keys of a tenant have
        together; 0: any number."""
        self._keys = TokenBuckets(per_minute, burst, clock) if per_minute else None
        self._tenants = (
            TokenBuckets(per_minute * tenant_share, burst * tenant_share, clock)
            if per_minute and tenant_share
            else None
        )
        self._unknown = (
            TokenBuckets(unknown_per_minute, max(unknown_per_minute, 1.0), clock)
            if unknown_per_minute
            else None
        )
        self._clock = clock
        self._familiar: OrderedDict[bytes, float] = OrderedDict()

    def charge(self, key: Hashable, operation: str | None, tenant: Hashable | None = None) -> None:
        """Count a request of a key; ``tenant``: whose other keys it counts for too."""
        if self._keys is None:
            return
        cost = COSTS.get(operation or "", 1.0)
        shared = None if tenant is None else self._tenants
        if shared is not None and (wait := shared.wait(tenant, cost)):
            _limited.labels("tenant").inc()
            raise RateLimited("too many requests with the keys of this tenant", wait)
        if wait := self._keys.take(key, cost):
            _limited.labels("key").inc()
            raise RateLimited("too many requests with this key or from this address", wait)
        if shared is not None:
            shared.take(tenant, cost)

    def check_unknown(self, client: str, digest: bytes) -> None:
        """Refuse to look up a key, unless it was good lately, for a client that has shown too
        many bad ones."""
        if self._unknown is None or self._familiar.get(digest, 0.0) > self._clock():
            return
        if wait := self._unknown.wait(client, 1.0):
            _limited.labels("unknown").inc()
            raise RateLimited("too many unknown API keys from this address", wait)

    def bad(self, client: str) -> None:
        """Count a key that is not known."""
        if self._unknown is not None:
            self._unknown.take(client, 1.0)

    def good(self, digest: bytes) -> None:
        """Remember a key that is known."""
        self._familiar[digest] = self._clock() + _FAMILIAR_SECONDS
        self._familiar.move_to_end(digest)
        if len(self._familiar) > _MOST_FAMILIAR:
            self._familiar.popitem(last=False)
