"""Fair slots: expensive work, a few at a time, shared fairly among tenants (ADR 22).

Rules:

- A free slot goes to the waiter whose holder has the fewest, and among those to the longest
  waiting. So a busy holder gets the slots that others leave, and gives way as its slots become
  free.
- ``most_each``: slots that one holder may have, whoever waits. For slots held long it must be well
  below the total.
- ``spare`` slots are only for holders that have none, so that a new holder need not wait for a slot
  that is held long.
- Waiters are bounded in number, also per holder, and in time. A refusal tells whether the holder
  itself caused it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from prometheus_client import Counter as Metric
from prometheus_client import Gauge

from posthorn.ports.errors import Unavailable

_slots = Gauge(
    "posthorn_slots", "Slots of work that is shared fairly: held, and waited for", ["kind", "state"]
)
_refused = Metric(
    "posthorn_slots_refused_total",
    "Requests for a slot that were refused, by whose slots they waited for",
    ["kind", "by"],
)


class SlotsTaken(Unavailable):
    """No slot became free in time."""

    def __init__(self, kind: str, seconds: float, *, own: bool) -> None:
        whose = "of yours are under way; send them one after another" if own else "are under way"
        super().__init__(kind, f"too many {kind} {whose}")
        self.seconds = seconds
        """Seconds after which to retry."""
        self.own = own
        """Whether the holder has, or waits for, the most that it may: caused by the holder
        itself."""


@dataclass(frozen=True, slots=True, eq=False)  # compared by identity
class _Waiter:
    holder: Hashable
    slot: asyncio.Future[None]


class FairSlots:
    """``total`` slots of a ``kind`` (a plural noun, for metrics and messages)."""

    def __init__(
        self,
        kind: str,
        total: int,
        *,
        most_each: int | None = None,
        spare: int = 1,
        wait_seconds: float = 20.0,
        waiting: int = 64,
        waiting_each: int = 8,
        retry_seconds: float = 5.0,
    ) -> None:
        self._kind = kind
        self._free = total
        self._most_each = max(1, total if most_each is None else min(most_each, total))
        self._spare = min(spare, total - 1)
        self.wait_seconds = wait_seconds
        self._most_waiting = waiting
        self._most_waiting_each = waiting_each
        self._retry_seconds = retry_seconds
        self._held: Counter[Hashable] = Counter()
        self._waiting: list[_Waiter] = []
        _slots.labels(kind, "held").set_function(self._held.total)
        _slots.labels(kind, "waiting").set_function(lambda: len(self._waiting))

    @property
    def free(self) -> int:
        """Number of free slots."""
        return self._free

    def held_by(self, holder: Hashable) -> int:
        """Return how many slots the holder has."""
        return self._held[holder]

    @asynccontextmanager
    async def hold(self, holder: Hashable) -> AsyncIterator[None]:
        """Hold a slot inside the context. Raises SlotsTaken when none becomes free in time."""
        await self.take(holder)
        try:
            yield
        finally:
            self.give(holder)

    async def take(self, holder: Hashable) -> None:
        """Wait for a slot; ``give`` must follow. Raises SlotsTaken when none becomes free in
        time."""
        if not self._waiting and self.take_now(holder):
            return
        if sum(waiter.holder == holder for waiter in self._waiting) >= self._most_waiting_each:
            raise self._refusal(own=True)
        if len(self._waiting) >= self._most_waiting:
            raise self._refusal(own=False)
        waiter = _Waiter(holder, asyncio.get_running_loop().create_future())
        self._waiting.append(waiter)
        self._serve()
        try:
            async with asyncio.timeout(self.wait_seconds):
                await waiter.slot
        except BaseException as error:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
                self._serve()  # others may have been waiting behind it
            else:
                self.give(holder)  # granted at the last moment, unused
            if isinstance(error, TimeoutError):
                raise self._refusal(own=self._held[holder] > 0) from None
            raise

    def take_now(self, holder: Hashable) -> bool:
        """Take a slot if one is available to the holder at once; return whether it was."""
        if not self._may_have(holder):
            return False
        self.charge(holder)
        return True

    def charge(self, holder: Hashable) -> None:
        """Count a slot as held that was granted elsewhere by the same rules; ``give`` must
        follow."""
        self._free -= 1
        self._held[holder] += 1

    def give(self, holder: Hashable) -> None:
        """Release a slot."""
        self._free += 1
        self._held[holder] -= 1
        if not self._held[holder]:
            del self._held[holder]
        self._serve()

    def _may_have(self, holder: Hashable) -> bool:
        held = self._held[holder]
        if not held:
            return self._free > 0
        return held < self._most_each and self._free > self._spare

    def _serve(self) -> None:
        """Grant free slots to waiters, the fewest held first, then the longest waiting."""
        while self._free:
            fitting = [
                each
                for each in self._waiting
                if not each.slot.cancelled() and self._may_have(each.holder)
            ]
            if not fitting:
                return
            waiter = min(fitting, key=lambda each: self._held[each.holder])
            self._waiting.remove(waiter)
            self.take_now(waiter.holder)
            waiter.slot.set_result(None)

    def _refusal(self, *, own: bool) -> SlotsTaken:
        _refused.labels(self._kind, "own" if own else "others").inc()
        return SlotsTaken(self._kind, self._retry_seconds, own=own)
