"""Charges taken in advance, so that a sender of many messages does not need a query of the shared
limits for each.

Theory:

- A caller that charges the same counters again and again pays for several messages at once: for as
  many as it is likely to send in the next ``KEPT_SECONDS``, at most an eighth of what was sent since
  a moment of quiet, and at most a hundredth of each limit. The next ones, whatever each of them
  costs, are paid from that. So a sender of any rate asks about once in that time.
- What was paid and not used is lost after a moment of quiet: the shared counters may show an eighth
  more than was sent, never less.
- Where the advance does not fit, only what is missing is taken: a limit is reached exactly.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from posthorn.ports.sending import Charge, Throttle

KEPT_SECONDS = 2.0
"""Seconds for which an advance is meant, and without a message for which it is kept."""
MOST = 2000
"""Messages paid at once, at most."""
_SHARE = 100
_EIGHTH = 8
_REMEMBERED = 10_000

type _Counters = tuple[tuple[str, int, float], ...]


@dataclass(slots=True)
class _Account:
    """Requested and prepaid amounts of one combination of counters, in their order."""

    asked_at: float
    paid_at: float
    paid: list[int]
    cost: list[int]
    """What all messages since a moment of quiet have cost."""
    messages: int = 0
    """How many these were."""
    unpaid: int = 0
    """How many came since the last payment."""
    paying: asyncio.Lock = field(default_factory=asyncio.Lock)

    def covers(self, charges: Sequence[Charge]) -> bool:
        return all(paid >= charge.cost for paid, charge in zip(self.paid, charges, strict=True))

    def advance(self, now: float, charges: Sequence[Charge]) -> int:
        """Return for how many messages to pay."""
        passed = now - self.paid_at
        likely = math.ceil(self.unpaid * KEPT_SECONDS / passed) if passed > 0 else MOST
        most = min(
            charge.limit * self.messages // (_SHARE * cost)
            for charge, cost in zip(charges, self.cost, strict=True)
        )
        return min(self.messages // _EIGHTH, likely, most, MOST)


class PrepaidThrottle:
    """The port Throttle over another."""

    def __init__(self, throttle: Throttle, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._throttle = throttle
        self._clock = clock
        self._accounts: OrderedDict[_Counters, _Account] = OrderedDict()

    async def take(self, charges: Sequence[Charge]) -> float:
        """Take all of the charges, or none; see the port."""
        if not charges or not all(charge.cost for charge in charges):
            return await self._throttle.take(charges)
        account = self._account(charges)
        account.messages += 1
        account.unpaid += 1
        for place, charge in enumerate(charges):
            account.cost[place] += charge.cost
        if not account.covers(charges):
            async with account.paying:
                if not account.covers(charges):  # nor did who paid before this one leave enough
                    return await self._pay(account, charges)
        for place, charge in enumerate(charges):
            account.paid[place] -= charge.cost
        return 0.0

    async def _pay(self, account: _Account, charges: Sequence[Charge]) -> float:
        """Take what is missing, if possible with an advance."""
        now = self._clock()
        messages = account.advance(now, charges)
        account.paid_at, account.unpaid = now, 0
        used = [min(paid, charge.cost) for paid, charge in zip(account.paid, charges, strict=True)]
        missing = [charge.cost - part for charge, part in zip(charges, used, strict=True)]
        more = [
            max(cost * messages // account.messages - part, 0) if messages > 1 else 0
            for cost, part in zip(account.cost, missing, strict=True)
        ]
        account.paid = [paid - part for paid, part in zip(account.paid, used, strict=True)]
        wait = math.inf
        try:
            if any(more):
                wait = await self._take(charges, map(sum, zip(missing, more, strict=True)))
            if wait:
                more = [0] * len(more)
                wait = await self._take(charges, missing)
        finally:
            back = used if wait else more
            account.paid = [paid + part for paid, part in zip(account.paid, back, strict=True)]
        return wait

    async def _take(self, charges: Sequence[Charge], costs: Iterable[int]) -> float:
        return await self._throttle.take(
            [
                replace(charge, cost=cost)
                for charge, cost in zip(charges, costs, strict=True)
                if cost
            ]
        )

    def _account(self, charges: Sequence[Charge]) -> _Account:
        now = self._clock()
        counters = tuple((charge.key, charge.limit, charge.seconds) for charge in charges)
        account = self._accounts.pop(counters, None)
        if account is None or now - account.asked_at > KEPT_SECONDS:
            account = _Account(now, now, [0] * len(charges), [0] * len(charges))
        account.asked_at = now
        self._accounts[counters] = account
        if len(self._accounts) > _REMEMBERED:
            self._accounts.popitem(last=False)
        return account
