"""Times of many connections with one task: a timer wheel.

An idle connection costs an entry here and no timer of its own. A time that is moved to later costs
nothing: when its turn comes, the entry says when to look again.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from typing import Protocol

import structlog

log = structlog.get_logger()

TICK_SECONDS = 0.25
"""How exact times are."""


class Timed(Protocol):
    """What has times."""

    def on_time(self, now: float) -> float | None:
        """Do what is due, and return the time at which to look again; None: never. Must not block.
        Times are of the wheel's clock."""
        ...


class TimerWheel:
    """Entries by the time of their turn."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._turns: dict[Timed, int] = {}
        self._slots: dict[int, set[Timed]] = {}
        self._next = self._slot_of(clock())
        self._has_some = asyncio.Event()

    def __len__(self) -> int:
        return len(self._turns)

    def look_at(self, entry: Timed, at: float) -> None:
        """Have the entry called at this time, or before."""
        slot = max(math.ceil(at / TICK_SECONDS), self._next)
        present = self._turns.get(entry)
        if present is not None:
            if present <= slot:
                return
            self._take_out(entry, present)
        self._turns[entry] = slot
        self._has_some.set()
        self._slots.setdefault(slot, set()).add(entry)

    def forget(self, entry: Timed) -> None:
        """Do not call the entry any more."""
        slot = self._turns.pop(entry, None)
        if slot is not None:
            self._take_out(entry, slot)

    async def run(self) -> None:
        """Turn forever, at rest while there are no entries; run as a supervised task."""
        while True:
            if not self._turns:
                self._has_some.clear()
                await self._has_some.wait()
            await asyncio.sleep(TICK_SECONDS)
            self.turn()

    def turn(self) -> None:
        """Call the entries whose turn has come."""
        now = self.clock()
        last = self._slot_of(now)
        if last - self._next > len(self._slots):  # the process was stopped for a while
            due = sorted(slot for slot in self._slots if slot <= last)
        else:
            due = list(range(self._next, last + 1))
        self._next = max(self._next, last + 1)
        for slot in due:
            for entry in self._slots.pop(slot, ()):
                if self._turns.pop(entry, None) is not None:  # none before it had it forgotten
                    self._call(entry, now)

    def _call(self, entry: Timed, now: float) -> None:
        try:
            again = entry.on_time(now)
        except Exception:
            log.exception("a connection's time could not be seen to")
            again = now + 60
        if again is not None:
            self.look_at(entry, again)

    def _take_out(self, entry: Timed, slot: int) -> None:
        entries = self._slots.get(slot)
        if entries is not None:
            entries.discard(entry)
            if not entries:
                del self._slots[slot]

    def _slot_of(self, now: float) -> int:
        return math.floor(now / TICK_SECONDS)
