"""The timer wheel of IMAP connections, the spread of their ends, and range arithmetic of QRESYNC."""

from __future__ import annotations

import asyncio
from array import array

from hypothesis import given
from hypothesis import strategies as st

from posthorn.runtime.tasks import cancel_and_wait
from posthorn.runtime.timer_wheel import TICK_SECONDS, TimerWheel
from posthorn.wire.imap.sequence_set import ranges_of
from posthorn_imap.draining import Spread
from posthorn_imap.resync import intersect, without
from tests.support.clock import Clock
from tests.support.polling import timers_run, until


class Entry:
    """Notes when it was called; ``answers`` are the times to look again."""

    def __init__(self, *answers: float | None) -> None:
        self.calls: list[float] = []
        self.answers = list(answers)

    def on_time(self, now: float) -> float | None:
        self.calls.append(now)
        return self.answers.pop(0) if self.answers else None


def test_entries_are_called_at_their_time_and_say_when_to_look_again() -> None:
    clock = Clock(1000.1)
    wheel = TimerWheel(clock)
    late, soon, gone = Entry(None), Entry(1020.0, None), Entry()
    wheel.look_at(late, 1010.0)
    wheel.look_at(soon, 1050.0)
    wheel.look_at(soon, 1002.0)  # nearer
    wheel.look_at(late, 1030.0)  # later: nothing changes
    wheel.look_at(gone, 1002.0)
    wheel.forget(gone)
    for clock.now in (1001.9, 1002.3, 1009.9, 1010.1, 1019.0, 1020.3, 1060.0):
        wheel.turn()
    assert soon.calls == [1002.3, 1020.3]
    assert late.calls == [1010.1]
    assert gone.calls == []
    assert len(wheel) == 0


async def test_a_wheel_without_entries_rests_until_there_is_one() -> None:
    wheel, entry = TimerWheel(), Entry(None)
    turning = asyncio.create_task(wheel.run())
    try:
        with timers_run() as timers:
            await asyncio.sleep(2 * TICK_SECONDS)
        assert len(timers) == 1  # of this test
        wheel.look_at(entry, wheel.clock())
        await until(lambda: entry.calls)
    finally:
        await cancel_and_wait(turning)
    assert len(entry.calls) == 1


def test_a_stopped_process_calls_all_that_is_due_once() -> None:
    clock = Clock(1000.1)
    wheel = TimerWheel(clock)
    entries = [Entry() for _ in range(5)]
    for number, entry in enumerate(entries):
        wheel.look_at(entry, 1001.0 + number * 3600)
    clock.now += 1_000_000
    wheel.turn()
    assert all(len(entry.calls) == 1 for entry in entries)


def test_an_entry_that_fails_is_looked_at_again_and_hurts_no_other() -> None:
    class Failing(Entry):
        def on_time(self, now: float) -> float | None:
            super().on_time(now)
            raise RuntimeError

    clock = Clock(1000.1)
    wheel = TimerWheel(clock)
    bad, good = Failing(), Entry()
    wheel.look_at(bad, 1001.0)
    wheel.look_at(good, 1001.0)
    clock.now = 1002.0
    wheel.turn()
    assert good.calls == [1002.0]
    clock.now = 1100.0
    wheel.turn()
    assert bad.calls == [1002.0, 1100.0]


def test_ends_are_spread_over_most_of_the_grace_period_and_few_end_at_once() -> None:
    spread = Spread(20.0)
    delays = [spread.delay(10_000) for _ in range(10_000)]
    assert delays == sorted(delays)
    assert 15.9 < delays[-1] <= 16.0
    few = Spread(20.0)
    assert [few.delay(3) for _ in range(3)][-1] <= 0.01
    assert Spread(0.0).delay(10) == 0.0


_sets = st.sets(st.integers(1, 40))


@given(_sets, _sets)
def test_ranges_are_intersected_and_lose_uids_as_sets_do(left: set[int], right: set[int]) -> None:
    a, b = ranges_of(sorted(left)), ranges_of(sorted(right))
    assert {n for low, high in intersect(a, b) for n in range(low, high + 1)} == left & right
    found = without(a, array("I", sorted(right)))
    assert {n for low, high in found for n in range(low, high + 1)} == left - right
