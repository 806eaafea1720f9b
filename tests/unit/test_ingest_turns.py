"""When a process takes its next batch from a stream that others share (ADR 52)."""

from __future__ import annotations

import statistics

import pytest

from posthorn.adapters.nats.ingest_turns import Turns

SPACING = 0.06
RATE = 500.0
"""Messages a second."""


def test_a_process_alone_waits_no_longer_than_it_did() -> None:
    turns = Turns(lambda: 0.0)
    for _ in range(100):
        turns.taken()
        assert turns.next(5, 5, SPACING) is None
        assert turns.next(0, 0, SPACING) is None


def test_one_that_is_left_alone_stops_waiting_for_others() -> None:
    turns = Turns(lambda: 0.0)
    for _ in range(30):
        turns.taken()
        turns.next(5, 20, SPACING)
    assert turns.next(5, 20, SPACING) is not None
    assert [turns.next(5, 5, SPACING) for _ in range(30)][-1] is None


def test_no_turn_is_further_away_than_a_second_unless_the_spacing_is() -> None:
    for spacing, longest in ((SPACING, 1.0), (3.0, 3.0)):
        turns = Turns(lambda: 50.0)
        for _ in range(100):
            turns.taken()
            turn_at = turns.next(1, 100, spacing)
            assert turn_at is not None
            assert 50.0 + 0.8 * spacing <= turn_at <= 50.0 + longest


def test_a_turn_that_came_early_says_nothing() -> None:
    turns = Turns(lambda: 0.0)
    for _ in range(100):
        turns.taken()
        turns.interrupted()
        turn_at = turns.next(1, 100, SPACING)
        assert turn_at is not None and turn_at <= 1.2 * SPACING


@pytest.mark.parametrize("processes", [2, 4, 10])
def test_batches_of_all_processes_begin_about_as_far_apart_as_those_of_one(processes: int) -> None:
    """Each collects at its turn what has gathered since anybody's last one."""
    now = taken_at = 0.0
    handed_out = 0
    turns = [Turns(lambda: now) for _ in range(processes)]
    due = [0.001 * number for number in range(processes)]
    seen = [0] * processes
    gathered: list[float] = []
    while now < 120:
        now = min(due)
        number = due.index(now)
        here = int(RATE * (now - taken_at))
        if not here:
            due[number] = now + max(turns[number].seconds, 0.001)
            continue
        gathered.append(now - taken_at)
        taken_at, handed_out = now, handed_out + here
        turns[number].taken()
        turn_at = turns[number].next(here, handed_out - seen[number], SPACING)
        seen[number] = handed_out
        due[number] = now + SPACING if turn_at is None else turn_at
    settled = gathered[len(gathered) // 4 :]
    assert SPACING / 2 < statistics.mean(settled) < SPACING * 2
    assert statistics.quantiles(settled, n=100)[98] < SPACING * 6
