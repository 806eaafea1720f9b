"""Charges taken in advance, so that a sender of many messages does not need a query of the shared
limits for each.

Theory:

- A caller that asks for the same charges again and again gets them for several messages at once: an
  eighth of what was asked for since a moment of quiet, and at most a hundredth of each limit. The
  next ones are paid from that.
- What was paid and not used is lost after a moment of quiet: the shared counters may show an eighth
  more than was sent, never less.
- Where the advance does not fit, only what is asked for is taken: a limit is reached exactly.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from posthorn.ports.sending import Charge, Throttle

KEPT_SECONDS = 2.0
"""Seconds for which an advance may be used."""
MOST = 32
"""Messages paid at once, at most."""
_SHARE = 100
_EIGHTH = 8
_REMEMBERED = 10_000


@dataclass(slots=True)
class _Account:
    """Requested and prepaid amounts of one combination of charges."""

    asked_at: float
    asked: int = 0
    paid: int = 0
    paying: asyncio.Lock = field(default_factory=asyncio.Lock)


class PrepaidThrottle:
    """The port Throttle over another."""

    def __init__(self, throttle: Throttle, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._throttle = throttle
        self._clock = clock
        self._accounts: OrderedDict[tuple[Charge, ...], _Account] = OrderedDict()

    async def take(self, charges: Sequence[Charge]) -> float:
        """Take all of the charges, or none; see the port."""
        most = min(
            (charge.limit // (_SHARE * charge.cost) for charge in charges if charge.cost), default=0
        )
        if most < 2 or not all(charge.cost for charge in charges):
            return await self._throttle.take(charges)
        account = self._account(tuple(charges))
        account.asked += 1
        if not account.paid:
            async with account.paying:
                if not account.paid:  # nor did who paid before this one leave something
                    return await self._pay(
                        account, charges, min(account.asked // _EIGHTH, most, MOST)
                    )
        account.paid -= 1
        return 0.0

    async def _pay(self, account: _Account, charges: Sequence[Charge], messages: int) -> float:
        several = [replace(charge, cost=charge.cost * messages) for charge in charges]
        if messages > 1 and not await self._throttle.take(several):
            account.paid += messages - 1
            return 0.0
        return await self._throttle.take(charges)

    def _account(self, charges: tuple[Charge, ...]) -> _Account:
        now = self._clock()
        account = self._accounts.pop(charges, None)
        if account is None or now - account.asked_at > KEPT_SECONDS:
            account = _Account(now)
        account.asked_at = now
        self._accounts[charges] = account
        if len(self._accounts) > _REMEMBERED:
            self._accounts.popitem(last=False)
        return account
